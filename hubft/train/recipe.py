"""Optimizer, learning rate and averaging: what `Recipe` means, as functions of the step alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hubft.hookspecs import Loaded
from hubft.job import Recipe
from hubft.train import stages


def optimizer(loaded: Loaded, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW (https://arxiv.org/abs/1711.05101) over every parameter, frozen ones included.

    A frozen parameter has no gradient, and AdamW skips what has none: no decay, no momentum. So nothing is
    rebuilt when a stage thaws. Biases and norms (fewer than two dimensions) are not decayed.
    """
    head = list(loaded.stages)[-1]
    stage = stages.stage_of(loaded)
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in loaded.model.named_parameters():
        groups.setdefault((stage[name] == head, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak_lr": recipe.lr * (1.0 if in_head else recipe.body_lr),
                "weight_decay": recipe.weight_decay if decayed else 0.0,
            }
            for (in_head, decayed), parameters in groups.items()
        ],
        lr=recipe.lr,
    )


def set_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> float:
    """Set every group's learning rate for a step of `steps`; return the head's."""
    factor = lr_factor(recipe.warmup, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    return recipe.lr * factor


def lr_factor(warmup: float, step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then half a cosine to zero
    (https://arxiv.org/abs/1608.03983, without restarts)."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


class Average:
    """Exponential moving average of a model's floating tensors, buffers included.

    The decay is warmed up, min(decay, (1 + step) / (10 + step)), so that the start is forgotten soon.
    torch.optim.swa_utils.AveragedModel is not used: with buffers it also averages integers, and rounding
    would move the counters of frozen norms.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = {name: t for name, t in model.state_dict().items() if t.is_floating_point()}
        self.tensors = {name: t.clone() for name, t in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights, after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.tensors.values()), list(self.live.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the model carry the averaged weights for the time of a `with`."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep(self) -> None:
        """Have the model carry the averaged weights from now on."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, live in self.live.items():
            kept = live.clone()
            live.copy_(self.tensors[name])
            self.tensors[name].copy_(kept)
