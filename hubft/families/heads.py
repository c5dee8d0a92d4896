"""Where a model ends: the layers that make its outputs, or features on which a head is put. Found by running it.

A pass runs on noise: two images, so that a norm in training mode has a batch. Matrices of zeros, and parameters
without memory, get random values in it, because zeros would hide what follows them. The model is as before afterwards,
with its buffers and its modes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hubft.base.errors import FamilyError, reason
from hubft.families.stages import under

LAYERS = (nn.Linear, nn.Conv2d)
AVERAGED = 4  # heads at the most whose mean a model gives
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(1),
    "log-softmax": lambda logits: logits.log_softmax(1),
    "sigmoid": lambda logits: logits.sigmoid(),
}


@dataclass
class Seen:
    """What one forward pass showed."""

    outputs: Any = None
    order: dict[str, int] = field(default_factory=dict)
    """Place of each module that the pass entered."""
    layers: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """What each Linear was given and made, where that is `[batch, width]`; of other layers, and of convolutions that
    look at one position, the last only: the rest would fill the memory."""
    around: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """The same of all other modules from `[batch, width]` to `[batch, width]`."""
    positions: int = 0
    """How many positions the first convolution gives: of a transformer, its patches."""
    given: Any = None
    """What the module that was watched was given."""
    failed: str = ""
    """Why the pass did not come to its end."""

    def enter(self, name: str, watched: str, _: nn.Module, args: tuple[Any, ...]) -> None:
        self.order.setdefault(name, len(self.order))
        if name == watched:
            self.given = args[0] if args else None

    def leave(self, name: str, module: nn.Module, args: tuple[Any, ...], made: Any) -> None:
        given = args[0] if args else None
        if not (isinstance(given, Tensor) and isinstance(made, Tensor)):
            return
        if isinstance(module, nn.Conv2d) and not self.positions:
            self.positions = made[0, 0].numel()
        flat = given.ndim == made.ndim == 2
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and set(module.kernel_size) == {1}):
            self.layers.pop(name, None)
            if not flat:
                self.layers = {n: pair for n, pair in self.layers.items() if pair[1].ndim == 2}
            self.layers[name] = given, made
        elif flat:
            self.around.pop(name, None)
            self.around[name] = given, made

    def made_by(self, heads: Sequence[str]) -> bool:
        """Tell whether the outputs are what these layers made: one as it is, several their mean, a map its mean."""
        if not isinstance(self.outputs, Tensor) or not heads or not set(heads) <= set(self.layers):
            return False
        layers = [self.layers[head][1] for head in heads]
        if len({layer.shape for layer in layers}) > 1:
            return False
        mean = torch.stack(layers).mean(0)
        ways = [mean.mean((2, 3)), mean.relu().mean((2, 3))] if mean.ndim == 4 else [mean]
        return any(same(way.reshape(len(way), -1), self.outputs) for way in ways)


@torch.no_grad()
def run(
    model: nn.Module, shape: tuple[int, int, int], watched: str = "?", training: bool = False, alone: str | None = None
) -> Seen:
    """Return what a pass on noise of this shape, channels, height and width, shows.

    :param watched: dotted name of a module whose input is kept.
    :param training: in training mode; then a pass that fails shows how far it came.
    :param alone: dotted name of a module that is in eval mode by itself while what lies in it trains.
    """
    seen, handles = Seen(), []
    modes = [(module, module.training) for module in model.modules()]
    tensors = _tensors(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noise = torch.randn(2, *shape)
        try:
            for name, module in model.named_modules():
                handles.append(module.register_forward_pre_hook(partial(seen.enter, name, watched)))
                handles.append(module.register_forward_hook(partial(seen.leave, name)))
            model.train(training)
            if alone is not None:
                model.get_submodule(alone).training = False
            seen.outputs = functional_call(model, tensors, noise)
        except Exception as error:  # the model is anyone's code
            if not training:
                raise
            seen.failed = reason(error)
        finally:
            for handle in handles:
                handle.remove()
            for module, mode in modes:
                module.training = mode
    if isinstance(seen.outputs, Tensor) and not seen.outputs.isfinite().all():
        raise RuntimeError("its outputs on noise are not finite")  # those of a constructor's own values may be
    return seen


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what stands for the model's tensors in a pass: copies of buffers, and values for what has none."""
    random = torch.Generator().manual_seed(0)
    found = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for name, module in model.named_modules():
        if isinstance(module, LAYERS) and not module.weight.is_meta and not module.weight.any():
            found[f"{name}.weight".lstrip(".")] = module.weight.to("meta")
    found |= {name: parameter for name, parameter in model.named_parameters() if parameter.is_meta}
    return {name: drawn(name, tensor, random) if tensor.is_meta else tensor for name, tensor in found.items()}


def drawn(name: str, like: Tensor, random: torch.Generator | None = None) -> Tensor:
    """Return values that such a tensor may have: a matrix keeps the size of what it gets, a scale is near one."""
    if not like.is_floating_point():
        return torch.zeros_like(like, device="cpu")
    if like.ndim > 1:
        scale: float = (2 / like[0].numel()) ** 0.5
        return torch.randn(like.shape, generator=random) * scale
    noise = torch.rand(like.shape, generator=random).mul(0.1)
    return noise.add(float(name.endswith(("var", "weight"))))


def same(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors agree, but for rounding."""
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-5 * other.abs().max())


def find(model: nn.Module, shape: tuple[int, int, int]) -> tuple[tuple[str, ...], Seen]:
    """Return the names of the layers that make the outputs in eval mode, none where it gives features; and the pass.

    Several, where the model gives their mean. An activation behind the last Linear is taken off the model, where it
    is a module, or part of one that holds this Linear alone: the outputs are logits then.

    :raises FamilyError: an activation that cannot be taken off.
    """
    seen = run(model, shape)
    names = list(seen.layers)
    several = [names[-number:] for number in range(2, min(AVERAGED, len(names)) + 1)]
    for heads in (*([name] for name in reversed(names)), *several):
        if seen.made_by(heads):
            return tuple(heads), seen
    for kind, activation in ACTIVATIONS.items():
        for name, (_, made) in seen.layers.items():
            if made.ndim == 2 and isinstance(seen.outputs, Tensor) and same(activation(made), seen.outputs):
                if not _bared(model, name, seen):
                    raise FamilyError(
                        f"in eval mode a {kind} follows its last Linear, {name!r}, and it is written into a forward "
                        "method, where it cannot be taken off: hubft needs the logits"
                    )
                return find(model, shape)
    return (), seen


def _bared(model: nn.Module, head: str, seen: Seen) -> bool:
    """Take off what follows the last Linear; tell whether that could be done."""
    layer = model.get_submodule(head)
    features, logits = seen.layers[head]
    for name, (given, made) in reversed(seen.around.items()):
        module = model.get_submodule(name)
        if not same(made, seen.outputs):
            continue
        if next(module.parameters(), None) is None and same(given, logits):
            model.set_submodule(name, nn.Identity())
            return True
        if under(head, name) and same(given, features) and set(module.parameters()) == set(layer.parameters()):
            model.set_submodule(name, layer)
            return True
    return False


def last(model: nn.Module, head: str) -> str:
    """Return the name of the layer in a head that makes its outputs.

    :raises FamilyError: there is none.
    """
    layers = [name for name, module in model.get_submodule(head).named_modules() if isinstance(module, LAYERS)]
    if not layers:
        raise FamilyError(f"the head {head!r} has no Linear or Conv2d that makes its outputs")
    return f"{head}.{layers[-1]}".rstrip(".")


def in_training(
    model: nn.Module, shape: tuple[int, int, int], heads: Sequence[str], body: str = ""
) -> tuple[str, ...] | None:
    """Return None where the model gives in training mode what it gives in eval mode; else what must be held.

    A model with auxiliary outputs, or with heads that are averaged, often gives a tuple in training mode. Where it
    gives its main output as soon as the module `body` alone is in eval mode, while all in it trains, that is how it
    is trained, and the modules that only the other way enters are held.

    :param heads: of `find`; none for features, which may be of any kind, but of the same in both modes.
    :raises FamilyError: it gives something else either way.
    """
    wanted = "what its heads make" if heads else described(run(model, shape).outputs)

    def agrees(seen: Seen) -> bool:
        return seen.made_by(heads) if heads else described(seen.outputs) == wanted

    plain = run(model, shape, training=True)
    if agrees(plain):
        return None
    seen = run(model, shape, training=True, alone=body)
    if not agrees(seen):
        gives = f"fails ({plain.failed})" if plain.failed else f"gives {described(plain.outputs)}"
        raise FamilyError(
            f"in training mode it {gives}, not {wanted}, as in eval mode: hubft could not train what it evaluates"
        )
    extra = [name for name in plain.order if name not in seen.order]
    return tuple(name for name in extra if not any(name != other and under(name, other) for other in extra))


def described(outputs: Any) -> str:
    """Return in a phrase what a model gave."""
    if isinstance(outputs, Tensor):
        return f"a tensor {list(outputs.shape)}"
    if isinstance(outputs, dict):
        return f"a {type(outputs).__name__} of {', '.join(map(str, list(outputs)[:8])) or 'nothing'}"
    if isinstance(outputs, tuple | list):
        return f"a {type(outputs).__name__} of {len(outputs)}"
    return f"a {type(outputs).__name__}"
