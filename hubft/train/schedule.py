"""The learning rate over the run: what `Recipe` says of it, as a function of the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from hubft.job import Recipe

THIRD, TENTH = 1 / 3, 0.1
"""`step`: after each third of the run, a tenth of the rate, as torchvision's reference training of ResNets has it with
30 of 90 epochs (https://github.com/pytorch/vision/tree/main/references/classification)."""


def set_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> float:
    """Set every group's learning rate for a step of `steps`, in one cycle its momentum too; return the head's rate."""
    factor = lr_factor(recipe, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
        if recipe.schedule == "one-cycle":
            momentum = one_cycle(recipe.warmup, step, steps)[1]
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = momentum
    head: float = optimizer.param_groups[0]["lr"]
    return head


def rising(least: float, steps: int) -> Callable[[torch.optim.Optimizer, Recipe, int, int], float]:
    """Return what sets the rates of a range test (Smith, https://arxiv.org/abs/1506.01186): by equal factors up to the
    peak, which is reached at the last of `steps`; the momentum stays.

    :param least: share of the peak at the first step.
    """

    def set_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, _: int) -> float:
        factor = least ** (1 - step / max(1, steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        head: float = optimizer.param_groups[0]["lr"]
        return head

    return set_rates


def lr_factor(recipe: Recipe, step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: a linear warm-up, then what the schedule says of the rest
    of the run; or `one_cycle`."""
    if recipe.schedule == "one-cycle":
        return one_cycle(recipe.warmup, step, steps)[0]
    rising = round(recipe.warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return falling(recipe, (step - rising) / max(1, steps - rising))


def falling(recipe: Recipe, at: float) -> float:
    """Return the share of the peak learning rate at a place in what follows the warm-up, from 0 to 1.

    `cosine`: half a cosine to zero (https://arxiv.org/abs/1608.03983, without restarts). `linear`: a line to zero.
    `polynomial`: (1 - at) to the power of `--power` (https://arxiv.org/abs/1606.00915). `step`: a tenth after each
    third. `constant`: all of it.
    """
    if recipe.schedule == "cosine":
        return _half_cosine(1, 0, at)
    if recipe.schedule == "linear":
        return 1 - at
    if recipe.schedule == "polynomial":
        return float((1 - at) ** recipe.power)
    if recipe.schedule == "step":
        return float(TENTH ** int(at / THIRD + 1e-9))
    return 1.0


def one_cycle(warmup: float, step: int, steps: int) -> tuple[float, float]:
    """Return the share of the peak learning rate, and the momentum (the first of `betas`), at a step of one cycle.

    Smith, https://arxiv.org/abs/1708.07120, with the values of torch's `OneCycleLR`: the rate from 1/25 of the peak
    to it and down to 1/250000, the momentum from 0.95 to 0.85 and back, by half cosines.
    """
    peak = warmup * steps - 1  # the step of the peak
    if step <= peak:
        at = step / peak if peak else 1.0
        return _half_cosine(1 / 25, 1, at), _half_cosine(0.95, 0.85, at)
    at = (step - peak) / (steps - 1 - peak)
    return _half_cosine(1, 1 / 25 / 1e4, at), _half_cosine(0.85, 0.95, at)


def _half_cosine(start: float, end: float, at: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * at))
