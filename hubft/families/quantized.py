"""A base in few bits while adapters train over it (QLoRA): layers of bitsandbytes in the places of `Linear` layers.

nf4 keeps a weight in 4 bits, blocks of 64 with a scale each (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314);
int8 in 8 bits, with a scale a row, and rounds what comes in too, but for its outliers (LLM.int8(), Dettmers et al.
2022, https://arxiv.org/abs/2208.07339). Both are made plain again for the moment of a product, so that training keeps
no wide copy. Such a weight is no part of `state_dict`: it is made from the base, again after a resume, to the same
bits. Its scales are a buffer, `scale`, so that they move with the model, and the proof of what is frozen sees them.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError, Option, reason
from hubft.base.quiet import quiet

LIBRARY, OPTION = "bitsandbytes", Option("quantize_base")
SCALE = "scale"
OUTLIER = 6.0  # what comes in and is larger is not rounded: the paper's, and transformers' default


@dataclass(frozen=True)
class Quantized:
    """A base whose layers are in few bits."""

    how: str
    layers: tuple[str, ...]
    """Their names, before any has an adapter."""
    before: int
    """Bytes of all weights and buffers, as they were."""
    after: int

    @property
    def words(self) -> str:
        """What was done, and what it saves."""
        sizes = f"{self.before / 1e6:,.2f} MB of weights, now {self.after / 1e6:,.2f} MB"
        return f"{len(self.layers):,} Linear layers in {self.how} by {LIBRARY} {version(LIBRARY)}; {sizes}"


def give(model: nn.Module, how: str, fit: Iterable[str], device: torch.device) -> Quantized:
    """Return what is known of the layers of a model that are in few bits now, in place.

    :param how: a key of MAKE.
    :param fit: names of plain layers, on the CPU; the `Linear` ones become such.
    :param device: that will compute them: the first is tried there.
    :raises JobError: bitsandbytes is not installed, or cannot do it on this machine; or there is no layer to quantize.
    """
    layers = [name for name in fit if isinstance(model.get_submodule(name), nn.Linear)]
    if not layers:
        raise JobError(OPTION, f" {how}: this model has no plain Linear layer before its head: leave it out")
    try:
        with quiet():
            import bitsandbytes  # noqa: F401 -- not at the top: it is an extra
    except ImportError as error:
        raise JobError(OPTION, f" {how} {missing(LIBRARY, installs(LIBRARY))}") from error
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # a warning a layer and a step
    before = _bytes(model)
    try:
        with quiet():
            _try(MAKE[how](model.get_submodule(layers[0])), device)
            for name in layers:
                model.set_submodule(name, _kept(MAKE[how](model.get_submodule(name))))
    except Exception as error:  # whatever a library says that lacks the kernels for a processor
        raise JobError(OPTION, f" {how}: {LIBRARY} cannot do it here, on {device}: {reason(error)}") from error
    return Quantized(how, tuple(layers), before, _bytes(model))


@contextmanager
def told(model: nn.Module, how: str) -> Iterator[None]:
    """Tell peft, for the time of a `with`, how layers are quantized: it looks at the model, as transformers has it."""
    flag = {"int8": "is_loaded_in_8bit", "nf4": "is_loaded_in_4bit"}.get(how)
    before = dict(vars(model))
    if flag:
        vars(model)[flag] = True
    try:
        yield
    finally:
        if flag:
            vars(model).pop(flag)
            vars(model).update({flag: before[flag]} if flag in before else {})


def _nf4(plain: Any) -> Any:
    from bitsandbytes.nn import Linear4bit, Params4bit

    made = _bare(partial(Linear4bit, quant_type="nf4", compress_statistics=False), plain)
    made.weight = Params4bit(plain.weight.detach(), quant_type="nf4", compress_statistics=False, module=made).to("cpu")
    made.support_avx512bf16_for_cpu = False  # in eval mode it would lay weights out anew, round to bf16, lose gradients
    made.register_buffer(SCALE, made.weight.quant_state.absmax, persistent=False)
    made.register_forward_pre_hook(_ready_nf4)
    return made


def _int8(plain: Any) -> Any:
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    made = _bare(partial(Linear8bitLt, has_fp16_weights=False, threshold=OUTLIER), plain)
    made.weight = Int8Params(plain.weight.detach(), requires_grad=False, has_fp16_weights=False).to("cpu")
    made.init_8bit_state()
    made.register_buffer(SCALE, made.state.SCB, persistent=False)
    made.register_forward_pre_hook(_ready_int8)
    return made


MAKE: dict[str, Callable[[Any], Any]] = {"int8": _int8, "nf4": _nf4}
"""How to quantize -> what makes of a plain layer one in few bits."""


def _bare(kind: Callable[..., Any], plain: nn.Linear) -> Any:
    """Return a layer of bitsandbytes that has no weight yet, and the bias of another one."""
    made = kind(plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta")
    made.bias = plain.bias
    return made.train(plain.training)


def _ready_nf4(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    layer.weight.quant_state.absmax = layer.scale
    return _wide(inputs)


def _ready_int8(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    layer.state.CB, layer.state.SCB = layer.weight.data, layer.scale
    return _wide(inputs)


def _wide(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return inputs in float32: for others bitsandbytes rounds the frozen bias, and leaves it so."""
    return inputs[0].float(), *inputs[1:]


def _try(layer: nn.Module, device: torch.device) -> None:
    """Compute with a layer, forwards and backwards, on a device."""
    there: Any = copy.deepcopy(layer).to(device)
    inputs = torch.ones(2, there.in_features, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(there(inputs).sum(), inputs)
    if not gradient.isfinite().all():
        raise ValueError("it gives no finite gradient")


def _kept(layer: nn.Module) -> nn.Module:
    """Return a layer whose weight is no part of what `state_dict` gives and `load_state_dict` wants."""
    layer.requires_grad_(False)
    layer.register_state_dict_post_hook(_left_out)
    layer.register_load_state_dict_post_hook(_not_missed)
    return layer


def _left_out(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    for name in [name for name in state if name.startswith(prefix) and name != f"{prefix}bias"]:
        del state[name]


def _not_missed(layer: nn.Module, keys: Any) -> None:
    """Take out of what is missing the name that was just asked for, the last: hooks go module by module."""
    if keys.missing_keys and keys.missing_keys[-1].rpartition(".")[2] == "weight":
        keys.missing_keys.pop()


def _bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
