"""The widths of a model's layers, as plain data: read from a model that was pruned, given to one that was not.

A record says which module has which widths, and of the tensors that lie in no layer (a class token, a layer scale)
which shape:

    {"kind": "widths",
     "channels": [4800, 2400], "parameters": [11176512, 2792752],
     "modules": {"layer1.0.conv1": {"in_channels": 32, "out_channels": 32}, "fc": {"in_features": 256}},
     "tensors": {"cls_token": [1, 1, 96]}}

The head stands there by its own name, whatever layers it is made of: its first one takes the features. What
`channels` and `parameters` count before and after is in `counts.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from hubft.base.errors import PackageError
from hubft.compress import counts, layers, ties
from hubft.compress.layers import Layer
from hubft.hookspecs import Loaded

KIND = "widths"
KEYS = {"kind", "modules", "tensors", *counts.NAMES}


def read(model: nn.Module) -> dict[str, Any]:
    """Return the widths of every layer by the name of its module, and the shapes of the tensors of no layer."""
    modules, tensors = {}, {}
    for name, module in model.named_modules():
        layer = layers.of(module)
        if layer is not None:
            modules[name] = {width: _number(getattr(module, width)) for width in layer.widths}
        known = layer.shapes(module) if layer else {}
        for own, tensor in _own(module):
            if own not in known:
                tensors[f"{name}.{own}".lstrip(".")] = list(tensor.shape)
    return {"modules": modules, "tensors": tensors}


def changed(whole: Loaded, loaded: Loaded) -> dict[str, Any]:
    """Return the record of what differs in a model from what it was before."""
    before, after = read(whole.model), read(loaded.model)
    size = counts.of(loaded)
    counted = {name: [number, size[name]] for name, number in counts.of(whole).items()}
    modules = {}
    for name, its in after["modules"].items():
        other = before["modules"][name]
        if differing := {width: number for width, number in its.items() if number != other[width]}:
            modules[_by_head(loaded, name)] = differing
    tensors = {name: shape for name, shape in after["tensors"].items() if shape != before["tensors"][name]}
    return {"kind": KIND, **counted, "modules": modules, "tensors": tensors}


def check(record: Mapping[str, Any]) -> None:
    """Check the form of a record, of which nothing is known.

    :raises PackageError: it is not of this form.
    """
    modules, tensors = record.get("modules"), record.get("tensors")
    if set(record) != KEYS or not isinstance(modules, dict) or not isinstance(tensors, dict):
        raise PackageError(f"a record of {KIND} has modules, tensors, channels and parameters, and nothing else")
    numbers: list[Any] = []
    for name, its in modules.items():
        if not isinstance(its, dict) or not its:
            raise PackageError(f"the widths of {name[:80]!r} must be an object of numbers")
        numbers += its.values()
    for name, shape in tensors.items():
        if not isinstance(shape, list | tuple) or not shape:
            raise PackageError(f"the shape of {name[:80]!r} must be a list of numbers")
        numbers += shape
    for key in counts.NAMES:
        if not isinstance(record[key], list | tuple) or len(record[key]) != 2:
            raise PackageError(f"{key} must be two numbers, before and after")
        numbers += record[key]
    if wrong := [number for number in numbers if type(number) is not int or not 1 <= number < 2**31]:
        raise PackageError(f"a width {str(wrong[0])[:80]!r} is no whole number above zero")


def give(loaded: Loaded, record: Mapping[str, Any]) -> None:
    """Give the layers of a model the widths of a record; none may be larger than before, so no memory is asked for.

    Tensors are cut to their new shapes: what they hold has no meaning until weights are filled in.

    :raises PackageError: the model has no such layer, or none with this width, or is not what the record counts.
    """
    modules, tied, before = dict(loaded.model.named_modules()), ties.found(loaded.model), counts.of(loaded)
    for name, its in record["modules"].items():
        module = _named(loaded, modules, name)
        layer = layers.of(module) if module is not None else None
        if module is None or layer is None:
            if module is not None and isinstance(module, nn.Identity):  # the place of a head, which has none yet
                continue
            raise PackageError(f"its structure gives widths to {name[:80]!r}, which is no layer of the model")
        try:
            _give(module, layer, its)
        except PackageError as error:
            raise PackageError(f"its structure gives {name[:80]!r} widths that it cannot have: {error}") from error
    for name, shape in record["tensors"].items():
        prefix, _, own = name.rpartition(".")
        if prefix not in modules or own not in dict(_own(modules[prefix])):
            raise PackageError(f"its structure gives a shape to {name[:80]!r}, which is no tensor of the model")
        _cut(modules[prefix], own, tuple(shape))
    ties.again(loaded.model, tied)
    follow(loaded.model)
    for key, after in counts.of(loaded).items():
        if list(record[key]) != [before[key], after]:
            raise PackageError(f"its structure counts {key} {list(record[key])}, the model {[before[key], after]}")


def follow(model: nn.Module) -> None:
    """Set what modules of timm and torchvision remember of the widths of the layers in them."""
    for module in model.modules():
        its: Any = module
        if isinstance(its, nn.MultiheadAttention):
            its.kdim = its.vdim = its.embed_dim
            its.head_dim = its.embed_dim // its.num_heads
        elif isinstance(qkv(its), nn.Linear):
            its.head_dim = its.qkv.out_features // (3 * its.num_heads)
            its.scale = its.head_dim**-0.5
            if hasattr(its, "attn_dim"):
                its.attn_dim = its.num_heads * its.head_dim
        elif isinstance(getattr(its, "conv_proj", None), nn.Conv2d) and hasattr(its, "hidden_dim"):
            its.hidden_dim = its.conv_proj.out_channels


def qkv(module: nn.Module) -> nn.Linear | None:
    """Return the layer that gives queries, keys and values, where a module is timm's attention."""
    numbers = [getattr(module, name, None) for name in ("num_heads", "head_dim")]
    layer = getattr(module, "qkv", None)
    return layer if isinstance(layer, nn.Linear) and all(type(number) is int for number in numbers) else None


def _give(module: nn.Module, layer: Layer, its: Mapping[str, int]) -> None:
    for width, number in its.items():
        if width not in layer.widths:
            raise PackageError(f"{width[:80]!r} is none of {', '.join(layer.widths)}")
        now = getattr(module, width)
        most = _number(now)
        if not isinstance(most, int) or number > most:
            raise PackageError(f"{width} {number} is more than {most}")
        setattr(module, width, number if isinstance(now, int) else (number,))
    for own, shape in layer.shapes(module).items():
        _cut(module, own, shape)


def _cut(module: nn.Module, own: str, shape: tuple[int, ...]) -> None:
    tensor = dict(_own(module)).get(own)
    if tensor is None:  # a layer without bias
        return
    if len(shape) != tensor.ndim or any(new > old for new, old in zip(shape, tensor.shape, strict=True)):
        raise PackageError(f"{own} of shape {list(shape)}, where it has {list(tensor.shape)}")
    part = tensor.detach()[tuple(slice(size) for size in shape)].clone()
    if own in module._parameters:
        setattr(module, own, nn.Parameter(part, requires_grad=tensor.requires_grad))
    else:
        setattr(module, own, part)


def _named(loaded: Loaded, modules: Mapping[str, nn.Module], name: str) -> nn.Module | None:
    """Return the module of a name; for that of a head, its first layer."""
    module = modules.get(name)
    return _first(module) or module if module is not None and name in _heads(loaded) else module


def _by_head(loaded: Loaded, name: str) -> str:
    """Return the name of the head of which this is the first layer; else the layer's own."""
    modules = dict(loaded.model.named_modules())
    return next((head for head in _heads(loaded) if head in modules and _first(modules[head]) is modules[name]), name)


def _heads(loaded: Loaded) -> tuple[str, ...]:
    return loaded.stages[list(loaded.stages)[-1]]


def _first(head: nn.Module) -> nn.Module | None:
    return next((one for one in head.modules() if layers.of(one) is not None), None)


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for own in (module._parameters, module._buffers):
        yield from ((name, tensor) for name, tensor in own.items() if tensor is not None)


def _number(width: Any) -> Any:
    """Return a width as a number; a tuple of one, as a LayerNorm has it, is that one."""
    return width[0] if isinstance(width, tuple) and len(width) == 1 else width
