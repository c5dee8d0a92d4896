"""int8 that is computed with: torchao's kernels for the `Linear` layers of a model that is mostly made of such.

`int8wo` multiplies by weights of a byte; `int8dq` also rounds what comes in, each row by its own largest value
(TorchAO, Or et al. 2025, https://arxiv.org/abs/2507.16099; https://docs.pytorch.org/ao/stable/). The weights are
rounded as those of `int8` (`hubft/compress/int8.py`), not by torchao: what that rounded once, it rounds to something
else the second time. So a package stores plain numbers in a byte each, and a record says which layers torchao computes:

    {"kind": "torchao", "method": "int8wo", "layers": ["blocks.0.attn.qkv", "head"]}

Whoever loads the package fills in the weights and then gives these layers torchao's tensors, with the very same bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base.batches import rows
from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError, Option, PackageError, reason, suggest
from hubft.base.layers import mostly_linear
from hubft.base.quiet import quiet
from hubft.compress import int8
from hubft.compress.work import Work
from hubft.hookspecs import Compressed, Loaded

KIND = "torchao"
CONFIGS = {"int8wo": "Int8WeightOnlyConfig", "int8dq": "Int8DynamicActivationInt8WeightConfig"}
"""What is computed so -> the name of torchao's configuration of it."""


def check_argument(argument: str) -> None:
    """Check what stands behind the colon of `torchao:METHOD`.

    :raises JobError: it is none of CONFIGS.
    """
    if argument not in CONFIGS:
        known, near = " and ".join(CONFIGS), suggest(argument, CONFIGS)
        asked = f"torchao:{argument}" if argument else "torchao"
        raise JobError(Option("compress"), f" {asked!r}: METHOD is one of {known}, as in torchao:int8wo.{near}")


def quantized(work: Work) -> Compressed:
    """Return the model with weights in int8, its `Linear` layers computed by torchao. It is changed in place.

    :raises JobError: torchao is not installed, most weights lie in convolutions, or the model does not run so.
    """
    loaded, name = work.loaded, work.loaded.base.reference
    if not mostly_linear(loaded.model):
        why = "most weights of it lie in convolutions, which torchao does not compute in int8; write int8"
        raise JobError(Option("compress"), f" torchao: {name}: {why}")
    int8.rounded(loaded.model)
    found = [one for one, module in loaded.model.named_modules() if _takes(module)]
    record = {"kind": KIND, "method": work.argument, "layers": found}
    plain = copy.deepcopy(loaded.model)
    try:
        finish(loaded, record)
    except PackageError as error:
        raise JobError(Option("compress"), f" torchao: {error}") from error
    if problem := _unlike(replace(loaded, model=plain), loaded, record, rows(next(iter(work.batches))[0], 0, 1)):
        raise JobError(Option("compress"), f" torchao: {name} cannot be computed so: {problem}")
    return Compressed(loaded.model, (record,))


@torch.no_grad()
def _unlike(plain: Loaded, ready: Loaded, record: Mapping[str, Any], inputs: Any) -> str:
    """Return why the model does not run, or why what a package would load gives other bits; else nothing."""
    try:
        given = ready.forward(ready.model.eval(), inputs)
        finish(plain, record)
        again = plain.forward(plain.model.eval(), inputs)
    except Exception as error:  # whatever foreign code does to a tensor that it does not know
        return reason(error)
    return "" if torch.equal(given, again) else "its package would give other numbers"


def check(record: Mapping[str, Any]) -> None:
    """Check the form of a record, of which nothing is known.

    :raises PackageError: it is not of this form.
    """
    names = record.get("layers")
    listed = isinstance(names, list | tuple) and bool(names) and all(isinstance(name, str) for name in names)
    if set(record) != {"kind", "method", "layers"} or not listed or len(set(names or ())) < len(names or ()):
        raise PackageError(f"a record of {KIND} has a method, a list of layers, each once, and nothing else")
    if not isinstance(record["method"], str) or record["method"] not in CONFIGS:
        raise PackageError(f"torchao's {str(record['method'])[:80]!r} is not known here: update hubft")


def finish(loaded: Loaded, record: Mapping[str, Any]) -> None:
    """Give the layers of a record torchao's tensors, with the bytes that their weights stand for.

    :raises PackageError: torchao is not installed, or gives other numbers; the model has no such layer; or its weights
        are not what `int8` rounds to.
    """
    modules, layers = dict(loaded.model.named_modules()), frozenset(record["layers"])
    for name in record["layers"]:
        if name not in modules or not _takes(modules[name]):
            raise PackageError(f"its structure has torchao compute {name[:80]!r}, no Linear layer of the model")
    wanted = {name: int8.quantized(modules[name].get_parameter("weight")) for name in record["layers"]}
    for name, (q, scale) in wanted.items():
        if not torch.equal(int8.widened(q, scale), modules[name].get_parameter("weight")):
            raise PackageError(f"its structure has torchao compute {name[:80]!r}, whose weights are not int8")
    with quiet():
        _quantize(loaded.model, record["method"], layers)
    for name, (q, scale) in wanted.items():
        weight: Any = modules[name].weight
        weight.qdata, weight.scale = q, scale.float().reshape(weight.scale.shape)
        if not torch.equal(_values(weight), int8.widened(q, scale)):
            raise PackageError(f"the torchao that is installed gives other numbers for {name[:80]!r}: update it")


def _quantize(model: nn.Module, method: str, layers: frozenset[str]) -> None:
    try:
        from torchao import quantization  # not at the top: it is an extra
    except ImportError as error:
        raise PackageError(f"computing its layers in int8 {missing('torchao', installs('torchao'))}") from error
    # Its settings of inductor are the whole process's: tuning that whoever compiles another model did not ask for.
    config = getattr(quantization, CONFIGS[method])(set_inductor_config=False)
    quantization.quantize_(model, config, lambda _, name: name in layers)


def plain(model: nn.Module) -> nn.Module:
    """Return the model, in place, computed by PyTorch alone again: from the numbers that its weights stand for."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if _is_quantized(parameter):
                setattr(module, name, nn.Parameter(_values(parameter), requires_grad=False))
    return model


def state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state in plain tensors, as packages store it."""
    return {name: _values(tensor) if _is_quantized(tensor) else tensor for name, tensor in model.state_dict().items()}


def _takes(module: nn.Module) -> bool:
    """Tell whether a module is a layer that torchao computes: that of PyTorch's own attention is read by other code."""
    special = nn.modules.linear.NonDynamicallyQuantizableLinear
    if not isinstance(module, nn.Linear) or isinstance(module, special):
        return False
    return int8.takes(module.weight) and not _is_quantized(module.weight)


def _is_quantized(tensor: Tensor) -> bool:
    return hasattr(tensor, "qdata")


def _values(tensor: Any) -> Tensor:
    """Return the numbers that one of torchao's tensors stands for, float32 of its shape."""
    values: Tensor = tensor.dequantize()
    return values
