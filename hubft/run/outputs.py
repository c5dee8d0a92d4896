"""The outputs of a run's model: in the user's unit where it is packaged, standardised where it is trained further."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base.errors import FamilyError
from hubft.families import heads
from hubft.hookspecs import Loaded
from hubft.tasks.task import Task

Change = Callable[[Tensor, Tensor], Task]
"""(weight, bias) of a last layer, changed in place -> the task of the changed model."""


def fold(loaded: Loaded, task: Task) -> Task:
    """Return the task of a model that gives the user's unit, and have its last layers do so."""
    return _changed(loaded, task.folded)


def unfold(loaded: Loaded, task: Task) -> Task:
    """Undo `fold`: return the task of a model that is trained further."""
    return _changed(loaded, task.unfolded)


def check(loaded: Loaded, task: Task, inputs: Any) -> None:
    """Check that a model can give the user's unit: whatever its last layers give is what it gives.

    :param inputs: any that the model takes.
    :raises FamilyError: a function behind them changes it, as the ReLU of a SqueezeNet.
    """
    tried = replace(loaded, model=copy.deepcopy(loaded.model).eval())
    if fold(tried, task) == task:
        return
    tried = replace(loaded, model=copy.deepcopy(loaded.model).eval())
    with torch.no_grad():
        for head in _heads(tried):
            layer: Any = tried.model.get_submodule(head)
            layer.weight.zero_()
            layer.bias.fill_(-1.0)
        good = torch.allclose(tried.forward(tried.model, inputs), -torch.ones(()), atol=1e-4)
    if not good:
        raise FamilyError(
            f"{loaded.base.reference}: something behind its head changes what that gives, so it cannot give numbers "
            "of any sign: take another model for this task"
        )


@torch.no_grad()
def _changed(loaded: Loaded, change: Change) -> Task:
    tasks = []
    for head in _heads(loaded):
        layer: Any = loaded.model.get_submodule(head)
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        tasks.append(change(layer.weight, bias))
        if layer.bias is None and bias.any():
            raise FamilyError(f"{loaded.base.reference}: its head {head!r} has no bias, which the task needs")
    return tasks[0]


def _heads(loaded: Loaded) -> list[str]:
    """Return the layers that make the outputs: one, or some of which the model gives the mean.

    A head may hold more, as the embedding of the classes that a DETR learns to tell from noise.
    """
    modules = dict(loaded.model.named_modules())
    last = loaded.stages[list(loaded.stages)[-1]]
    layers = [heads.last(loaded.model, name) for name in last if name in modules and _linear(modules[name])]
    own = len(modules[heads.last(loaded.model, loaded.head)].weight)  # others of another width come before it
    return [name for name in layers if len(modules[name].weight) == own]


def _linear(module: nn.Module) -> bool:
    return any(isinstance(one, heads.LAYERS) for one in module.modules())
