"""The difference of two models on the same samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hubft.base.batches import count, take
from hubft.tasks.metrics import Measured, Statistic, bootstrap
from hubft.tasks.task import Task


def difference(task: Task, outputs: Tensor, others: Tensor, targets: Any, other_task: Task | None = None) -> Measured:
    """Return the headline of `outputs` minus that of `others`, with its 95 % interval.

    The interval is a paired bootstrap's (Efron and Tibshirani 1993, chapter 13): a sample is drawn with what both
    models gave for it, so that what is hard for both does not widen it.

    :param outputs: float32 `[n, outputs]`, as `others`.
    :param targets: as the task collates them.
    :param other_task: of `others`, where thresholds or units are not the same.
    """

    new, old = task.statistic(outputs, targets), (other_task or task).statistic(others, targets)

    def one(index: Tensor | None) -> float:
        picked = (outputs, others, targets) if index is None else take((outputs, others, targets), index)
        ours, theirs = task.score(picked[0], picked[2]), (other_task or task).score(picked[1], picked[2])
        return ours.head.value - theirs.head.value

    def resampled(counts: Any) -> float:
        if new and old:
            return new(counts) - old(counts)
        return one(torch.repeat_interleave(torch.from_numpy(counts).long()))

    n = count(outputs)
    better = task.score(outputs, targets).head.better
    return bootstrap(resampled, n, better=better)


def further(task: Task, outputs: Tensor, others: Tensor, targets: Any) -> dict[str, Measured]:
    """Return the same of the other numbers in which models are compared (`Task.further`), by name."""
    new, old = task.further(outputs, targets), task.further(others, targets)

    def apart(name: str) -> Statistic:
        return lambda counts: new[name](counts) - old[name](counts)

    return {name: bootstrap(apart(name), count(outputs)) for name in new if name in old}


def lost(change: Measured, before: Measured) -> float:
    """Return what a headline has lost, in points: hundredths, or where less is better, percent of what it was."""
    if change.better == "higher":
        return -100 * change.value
    return 100 * change.value / before.value if before.value else float("inf") if change.value > 0 else 0.0
