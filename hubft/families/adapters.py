"""Adapters while they train: which layers get one, peft's own layers in their places, and plain ones again.

The model stays the class of its library. peft puts its layer where a layer was, and the old one into it, as
`base_layer`; a new head is left as it is, and trains in full. A head that is the base's own, as that of a language
model, is neither adapted nor trained: peft's `all-linear` leaves it out as well, and in full it would be most of a
package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from hubft.adapting import Adapting
from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError, Option
from hubft.base.quiet import quiet
from hubft.compress import lora, ties
from hubft.families import quantized, stages
from hubft.families.quantized import Quantized
from hubft.families.stages import under
from hubft.hookspecs import Loaded, hookimpl
from hubft.rules import Rule, parse

NAME = "default"  # by which peft calls an adapter
CPU = torch.device("cpu")
NOTHING: Mapping[str, nn.Module] = MappingProxyType({})


@dataclass(frozen=True)
class Adapted:
    """A model whose layers have adapters."""

    record: dict[str, Any]
    """Of `hubft.compress.lora`."""
    config: bytes
    """peft's own file of it."""
    live: frozenset[str]
    """Names of the parameters of the adapters."""
    libraries: tuple[str, ...] = ("peft",)
    """Distributions that a result depends on."""
    contiguous: bool = False
    """Whether peft computes them in the contiguous memory format alone, as DoRA of convolutions."""
    note: str = ""
    """Which layers have none, and why, in one line."""
    quantized: Quantized | None = None
    """The layers of the base that are in few bits, where there are any."""

    @hookimpl(wrapper=True)
    def freeze(self) -> Generator[None, frozenset[str], frozenset[str]]:
        """Hold whatever is neither of an adapter nor of the head, whichever family says what trains."""
        names = yield
        return frozenset(name for name in names if name in self.live or self.of_head(name))

    def of_head(self, name: str) -> bool:
        """Tell whether a module or a tensor is of the head."""
        return any(under(name, head) for head in self.record["head"])


def give(loaded: Loaded, asked: Adapting, inputs: Any, own: bool = False, device: torch.device = CPU) -> Adapted:
    """Return what is known of the adapters that the layers of a model have now, and of its base in few bits.

    :param inputs: any that the model takes.
    :param own: the head is the base's own: of a model that says which token follows.
    :param device: that will train it.
    :raises JobError: peft or bitsandbytes is not installed, or layers are asked for that can have none.
    """
    try:
        with quiet():  # it tells of libraries that it would like to have
            import peft  # not at the top: it is an extra
    except ImportError as error:
        raise JobError(Option("adapter"), f" {asked.adapter} {missing('peft', installs('peft'))}") from error
    heads = [] if own else _heads(loaded)
    reasons = _reasons(loaded, heads, inputs)
    layers = _chosen(loaded, asked.adapter_layers, reasons)
    full = max(lora.full_rank(loaded.model.get_parameter(f"{name}.weight")) for name in layers)
    if asked.rank > full:
        raise JobError(Option("rank"), f" {asked.rank}: no weight that it is for has a rank above {full}: 8 is usual")
    names = [name for name, _ in loaded.model.named_modules()]
    whole = sum(p.numel() for p in loaded.model.parameters())
    config = peft.LoraConfig(
        r=asked.rank,
        lora_alpha=asked.scale,
        target_modules=_targets(layers, names),
        modules_to_save=heads or None,
        task_type=peft.TaskType.CAUSAL_LM if own else None,
        use_rslora=asked.rslora,
        use_dora=asked.dora,
    )
    stated = _stated(config, loaded)
    config.modules_to_save = None  # the head is no copy of a head: it trains where it is
    fit = [name for name, why in reasons.items() if not why]
    narrow = quantized.give(loaded.model, asked.quantize_base, fit, device) if asked.quantized else None
    with quiet(), quantized.told(loaded.model, asked.quantize_base):
        peft.inject_adapter_in_model(config, loaded.model, NAME)
    live = frozenset(name for name, p in loaded.model.named_parameters() if p.requires_grad)
    sizes = {name: p.numel() for name, p in loaded.model.named_parameters()}
    trained = sum(n for name, n in sizes.items() if name in live or any(under(name, head) for head in heads))
    how = {"rank": asked.rank, "alpha": asked.scale, "rslora": asked.rslora, "dora": asked.dora}
    record = {"kind": lora.KIND, **how, "layers": layers, "head": heads, "trained": [trained, whole]}
    spatial = any(p.ndim > 2 for name, p in loaded.model.named_parameters() if name in live)
    note = _note({name: why for name, why in reasons.items() if why})
    libraries = ("peft", quantized.LIBRARY) if narrow else ("peft",)
    return Adapted(record, stated, live, libraries, asked.dora and spatial, note, narrow)


@torch.no_grad()
def fold(model: nn.Module, record: Mapping[str, Any], base: Mapping[str, nn.Module] = NOTHING) -> dict[str, Tensor]:
    """Make the model plain again, in place, its adapters in its weights; return these weights as they were before,
    with the tensors of the adapters, by their names in a package.

    :param base: layers that were in few bits, as they are in the base, by name.
    """
    apart: dict[str, Tensor] = {}
    for name in base.keys() - set(record["layers"]):
        model.set_submodule(name, base[name])
    for name in record["layers"]:
        layer: Any = model.get_submodule(name)
        plain: Any = base[name] if name in base else getattr(layer, stages.ADAPTED)
        beside = {lora.A: layer.lora_A[NAME].weight, lora.B: layer.lora_B[NAME].weight}
        if record["dora"]:
            beside[lora.MAGNITUDE] = layer.lora_magnitude_vector[NAME].weight
        apart |= {f"{name}.{own}": tensor.detach().cpu().contiguous() for own, tensor in beside.items()}
        apart[f"{name}.weight"] = plain.weight.detach().cpu().clone(memory_format=torch.contiguous_format)
        plain.weight.copy_(lora.folded(record, plain.weight, beside))
        model.set_submodule(name, plain)
    vars(model).pop("peft_config", None)
    return apart


def _heads(loaded: Loaded) -> list[str]:
    """Return the modules that make the head.

    :raises JobError: peft's file cannot hold one.
    """
    modules, tied = dict(loaded.model.named_modules()), ties.found(loaded.model)
    heads = list(loaded.stages[list(loaded.stages)[-1]])
    where = f" does not work for {loaded.base.reference}: "
    for head in heads:
        if head not in modules:
            why = f"its head {head!r} is no module, and peft stores modules"
            raise JobError(Option("adapter"), where, why)
    for name, first in tied.items():
        if any(under(name, head) != under(first, head) for head in heads):
            why = f"{name} of its head is {first} of its body, so the body would train with it"
            raise JobError(Option("adapter"), where, why)
    return heads


def _reasons(loaded: Loaded, heads: list[str], inputs: Any) -> dict[str, str]:
    """Return for every layer with a matrix, before the head, why it can have no adapter; nothing where it can."""
    model, tied = loaded.model, ties.found(loaded.model)
    shared = {name.rpartition(".")[0] for pair in tied.items() for name in pair}
    shares = [prefix for its in loaded.stages.values() for prefix in its]
    kept = () if heads else loaded.stages[list(loaded.stages)[-1]]
    called = _called(loaded, inputs)
    found = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2 or any(under(name, head) for head in heads):
            continue
        if name in shared:
            found[name] = "its weight is that of another layer, too"
        elif any(under(name, head) for head in kept):
            found[name] = "the head of the base, which stays as it is"
        elif any(re.match(rf"(^|.*\.){head}($|\..*)", name) for head in heads):
            found[name] = "peft would take it for the head, by its name"
        elif any(under(prefix, name) and prefix != name for prefix in shares):
            found[name] = "its parameters are of several stages"
        elif name not in called:
            found[name] = "the model reads its weight and does not call it"
        else:
            found[name] = _unfit(module)
    return found


def _unfit(module: nn.Module) -> str:
    """Return why peft has no adapter for such a layer, or one that could not be folded into it."""
    its: Any = module
    if type(its).forward is nn.Linear.forward:
        return ""
    if type(its) is not nn.Conv2d:
        return f"a {type(its).__name__} is neither a plain Linear nor a plain Conv2d"
    if its.groups > 1:
        return "a convolution in groups"
    plain = its.padding_mode == "zeros" and set(its.dilation) == {1}
    return "" if plain else "a convolution with dilation, or with other padding than zeros"


@torch.no_grad()
def _called(loaded: Loaded, inputs: Any) -> set[str]:
    """Return the modules that a forward pass calls."""
    called: set[str] = set()

    def note(name: str, *_: object) -> None:
        called.add(name)

    hooks = [m.register_forward_hook(partial(note, name)) for name, m in loaded.model.named_modules()]
    try:
        loaded.forward(loaded.model.eval(), inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return called


def _chosen(loaded: Loaded, text: str, reasons: Mapping[str, str]) -> list[str]:
    """Return the layers that rules select, in the model's order.

    :raises JobError: a rule that selects none which can have an adapter, or rules that leave none.
    """
    of, option = stages.stage_of(loaded), Option("adapter_layers")
    plus: set[str] = set()
    minus: set[str] = set()
    for rule in parse(text, option):
        names = set(stages.select(rule, loaded, of))
        if not names:
            raise JobError(option, f": {stages.selects_nothing(rule, loaded)}")
        layers = {name for name in reasons if f"{name}.weight" in names}
        fitting = {name for name in layers if not reasons[name]}
        if not fitting and not rule.minus:
            why = next((f"{name}: {reasons[name]}" for name in reasons if name in layers), "it has no matrix")
            kinds = sorted({type(loaded.model.get_submodule(n)).__name__ for n, bad in reasons.items() if not bad})
            known = f"adapters go to {' and '.join(kinds)} before the head" if kinds else "no layer of it can have one"
            raise JobError(option, f": nothing that {_written(rule)!r} selects can have an adapter ({why}); {known}")
        (minus if rule.minus else plus).update(fitting)
    found = [name for name in reasons if name in plus - minus]
    if not found:
        raise JobError(option, f" {text!r}: leaves no layer: write all, or a stage of {', '.join(loaded.stages)}")
    return found


def _written(rule: Rule) -> str:
    return rule.value if rule.kind == "name" else f"{rule.kind}:{rule.value}".rstrip(":")


def _targets(layers: list[str], names: list[str]) -> list[str] | str:
    """Return the layers as peft's config names them: as a list, by the ends of names, where that means no other layer;
    else as a pattern of whole names."""
    meant = [name for name in names if any(name == layer or name.endswith(f".{layer}") for layer in layers)]
    return layers if set(meant) == set(layers) else "|".join(map(re.escape, layers))


def _stated(config: Any, loaded: Loaded) -> bytes:
    """Return the text of adapter_config.json, which says nothing of this machine."""
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    plain |= {"base_model_name_or_path": loaded.base.hub or None, "inference_mode": True}
    plain["revision"] = loaded.base.revision or None if loaded.base.hub else None
    return (json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _note(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    name, why = next(iter(left_out.items()))
    more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    return f"without an adapter: {name} ({why}){more}"
