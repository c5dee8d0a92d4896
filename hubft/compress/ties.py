"""Parameters that have several names: one tensor for two layers, which must stay one whatever is done to the layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from hubft.base.errors import PackageError


def found(model: nn.Module) -> dict[str, str]:
    """Return the further names of parameters that have several, each with the first name."""
    first: dict[int, str] = {}
    names = ((name, first.setdefault(id(p), name)) for name, p in model.named_parameters(remove_duplicate=False))
    return {name: its for name, its in names if name != its}


def again(model: nn.Module, ties: Mapping[str, str]) -> None:
    """Make the parameters of these names one again, that of the first name; nothing compares what they hold.

    :param ties: as `found` gives them.
    :raises PackageError: two differ in shape.
    """
    for name, first in ties.items():
        module, _, own = name.rpartition(".")
        its, one = model.get_parameter(name), model.get_parameter(first)
        if its.shape != one.shape:
            shapes = f"{list(its.shape)} and {list(one.shape)}"
            raise PackageError(f"{name} and {first} are one tensor of the model, and its structure makes them {shapes}")
        model.get_submodule(module).register_parameter(own, one)


def parted(model: nn.Module, ties: Mapping[str, str]) -> str:
    """Return the first of these names whose parameter holds other numbers than that of its first name; else nothing."""
    pairs = ((name, model.get_parameter(name), model.get_parameter(first)) for name, first in ties.items())
    return next((name for name, its, one in pairs if not torch.equal(its, one)), "")
