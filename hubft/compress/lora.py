"""LoRA as plain data: which layers have an adapter and of which rank, and weights that have it folded in.

Beside a layer of weight W train A `[rank, in]` and B `[out, rank]`, and the layer computes with W + scale B A
(Hu et al. 2021, https://arxiv.org/abs/2106.09685). The scale is alpha / rank, of rsLoRA alpha / sqrt(rank)
(Kalajdzievski 2023, https://arxiv.org/abs/2312.03732). DoRA brings each row of that to a length that trains, too
(Liu et al. 2024, https://arxiv.org/abs/2402.09353). Of a convolution A is one of the same kernel to `rank` channels,
and B one of 1x1. While it trains, peft's own layers compute it (`hubft/families/adapters.py`); a package holds A, B and
the head in peft's own two files, over the base, and a record:

    {"kind": "lora", "rank": 8, "alpha": 16, "rslora": false, "dora": false,
     "layers": ["blocks.0.attn.qkv", "blocks.0.attn.proj"], "head": ["head"],
     "trained": [19970, 5526338]}

`head` names the modules that trained in full; it is empty where the head is the base's own and stayed as it was, as
that of a language model. `trained` counts the parameters that trained, of all. Whoever loads the package folds the
adapter into the weights, by the operations with which peft does it and to the same bits: the model is plain, and peft
is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hubft.adapting import HIGHEST
from hubft.base.errors import PackageError
from hubft.compress.form import Form, Reading

KIND = "lora"
FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."  # of every tensor in peft's file
A, B, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
KEYS = {"kind", "rank", "alpha", "rslora", "dora", "layers", "head", "trained"}


def check(record: Mapping[str, Any]) -> None:
    """Check the form of a record, of which nothing is known.

    :raises PackageError: it is not of this form.
    """
    if set(record) != KEYS:
        raise PackageError(f"a record of {KIND} has {', '.join(sorted(KEYS))}, and nothing else")
    for key, most in (("rank", HIGHEST), ("alpha", 2**20)):
        if type(record[key]) is not int or not 1 <= record[key] <= most:
            raise PackageError(f"the {key} of an adapter is {str(record[key])[:80]!r}, not within 1..{most}")
    if type(record["rslora"]) is not bool or type(record["dora"]) is not bool:
        raise PackageError("rslora and dora of an adapter are true or false")
    for key in ("layers", "head"):
        names = record[key]
        listed = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        if not listed or len(set(names)) < len(names) or (key == "layers" and not names):
            raise PackageError(f"{key} of an adapter is a list of names, each once")
    numbers = record["trained"]
    if not isinstance(numbers, list | tuple) or len(numbers) != 2 or not all(type(n) is int and n > 0 for n in numbers):
        raise PackageError("trained of an adapter is two numbers, of parameters that trained and of all")


def words(record: Mapping[str, Any]) -> str:
    """Return how much an adapter is, in words."""
    trained, whole = record["trained"]
    kind = "".join(f", {name}" for name, key in (("rsLoRA", "rslora"), ("DoRA", "dora")) if record[key])
    head = "with the head " if record["head"] else ""
    return (
        f"rank {record['rank']}, alpha {record['alpha']}{kind}, on {len(record['layers']):,} layers; {head}"
        f"{trained:,} parameters trained, {trained / whole:.2%} of all"
    )


def shapes(record: Mapping[str, Any], weight: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors beside a layer, by their names below its own.

    :param weight: of the layer.
    :raises PackageError: it is that of no layer that can have an adapter.
    """
    if weight.ndim not in (2, 4) or weight.dtype != torch.float32:
        raise PackageError(f"a weight {list(weight.shape)} of {weight.dtype} has no adapter")
    (out, *rest), rank = weight.shape, record["rank"]
    found = {A: (rank, *rest), B: (out, rank, *(1 for _ in rest[1:]))}
    if record["dora"]:
        found[MAGNITUDE] = (out,) if weight.ndim == 2 else (1, out, 1, 1)
    return found


def full_rank(weight: Tensor) -> int:
    """Return the largest rank that what is added to a weight can have: no adapter of a higher one says more."""
    return min(weight.shape[0], math.prod(weight.shape[1:]))


def folded(record: Mapping[str, Any], weight: Tensor, beside: Mapping[str, Tensor]) -> Tensor:
    """Return a layer's weight with its adapter in it: float32, on the CPU.

    :param beside: tensors of `shapes`.
    """
    weight, a, b = (tensor.detach().cpu().contiguous() for tensor in (weight, beside[A], beside[B]))
    scale = record["alpha"] / (math.sqrt(record["rank"]) if record["rslora"] else record["rank"])
    changed: Tensor = weight + _product(a, b) * scale
    if not record["dora"]:
        return changed
    if weight.ndim == 2:
        length = torch.linalg.norm(changed, dim=1)
    else:
        length = changed.norm(p=2, dim=(1, 2, 3), keepdim=True).transpose(1, 0)
    factor: Tensor = beside[MAGNITUDE].detach().cpu() / length
    return factor.view(-1, *(1 for _ in weight.shape[1:])) * changed


def _product(a: Tensor, b: Tensor) -> Tensor:
    if a.ndim == 2:
        return b @ a
    if a.shape[2:] == (1, 1):
        return (b[:, :, 0, 0] @ a[:, :, 0, 0])[:, :, None, None]
    found: Tensor = functional.conv2d(a.transpose(0, 1), b).transpose(0, 1)
    return found


def form(record: Mapping[str, Any]) -> Form:
    """Return the form of the file of weights of an adapter: peft's own."""
    return Form(FILE, tuple(record["head"]), partial(packed, record), partial(unpacked, record))


def packed(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an adapter and of the head by the names of peft's file.

    :param tensors: all that is not the base's, by name.
    :raises PackageError: something else moved, which that file does not hold.
    """
    inside = tuple(f"{head}." for head in record["head"])
    own = {f"{layer}.{name}" for layer in record["layers"] for name in (A, B, MAGNITUDE)}
    if other := [name for name in tensors if name not in own and not name.startswith(inside)]:
        raise PackageError(f"{other[0]!r} is neither the base's nor of the adapter or the head: write merge=True")
    return {PREFIX + name: tensor for name, tensor in tensors.items()}


def unpacked(
    record: Mapping[str, Any], read: Reading, missing: Mapping[str, Tensor], base: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a model that its base does not have: the head's, and the weights with their adapters in.

    Nothing is allocated for a layer before the file is known to hold as much for it.

    :param missing: what the base does not give, by name.
    :param base: what it gives, verified.
    :raises PackageError: the record or the file does not fit the model.
    """
    like, parts = {PREFIX + name: tensor for name, tensor in missing.items()}, {}
    for layer in record["layers"]:
        weight = base.get(f"{layer}.weight")
        if weight is None:
            raise PackageError(f"its adapter is for {layer[:80]!r}, which is no layer of the base")
        parts[layer] = shapes(record, weight)
        for name, shape in parts[layer].items():
            like[f"{PREFIX}{layer}.{name}"] = torch.empty(shape, device="meta")
    found = read(like)
    own = {name: found[PREFIX + name] for name in missing}
    for layer, its in parts.items():
        beside = {name: found[f"{PREFIX}{layer}.{name}"] for name in its}
        own[f"{layer}.weight"] = folded(record, base[f"{layer}.weight"], beside)
    return own
