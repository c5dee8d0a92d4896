"""The difference of two models on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from hubft.base.batches import count, take
from hubft.tasks.metrics import RESAMPLES, Measured, Statistic, bootstrap, number, resampled
from hubft.tasks.task import Task

MANY = 2000
"""Resamples of a p-value: of one that shall bear the correction for some tens of comparisons."""
CELLS = 200_000_000
"""Numbers that may be gone through for it: seconds, not minutes."""


def difference(task: Task, outputs: Tensor, others: Tensor, targets: Any, other_task: Task | None = None) -> Measured:
    """Return the headline of `outputs` minus that of `others`, with its 95 % interval.

    The interval is a paired bootstrap's (Efron and Tibshirani 1993, chapter 13): a sample is drawn with what both
    models gave for it, so that what is hard for both does not widen it.

    :param outputs: float32 `[n, outputs]`, as `others`.
    :param targets: as the task collates them.
    :param other_task: of `others`, where thresholds or units are not the same.
    """
    better = task.score(outputs, targets).head.better
    return bootstrap(_apart(task, outputs, others, targets, other_task or task), count(outputs), better=better)


def chance(task: Task, outputs: Tensor, others: Tensor, targets: Any, other_task: Task | None = None) -> float:
    """Return the two-sided p-value of that difference: twice the share of its resamples, of `MANY` that are paired in
    the same way, that lie on the other side of zero, or on it.

    It is never zero, but one of the resamples at the least (Davison and Hinkley 1997, section 4.2.5). Parameters as of
    `difference`.
    """
    resamples = max(RESAMPLES, min(MANY, CELLS // max(1, outputs.numel())))
    drawn = resampled(_apart(task, outputs, others, targets, other_task or task), count(outputs), resamples)
    known = drawn[numpy.isfinite(drawn)]
    beyond = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(known)))


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values of several comparisons, corrected so that all that are below 0.05 hold together with 95 %
    (Holm 1979, https://www.jstor.org/stable/4615733)."""
    found, least = [1.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        found[place] = least
    return found


def _apart(task: Task, outputs: Tensor, others: Tensor, targets: Any, other_task: Task) -> Statistic:
    """Return what gives the difference of two headlines where samples count so often."""
    new, old = task.statistic(outputs, targets), other_task.statistic(others, targets)

    def statistic(counts: Any) -> float:
        if new and old:
            return new(counts) - old(counts)
        index = torch.repeat_interleave(torch.from_numpy(counts).long())
        ours, theirs, its = take((outputs, others, targets), index)
        return task.score(ours, its).head.value - other_task.score(theirs, its).head.value

    return statistic


def further(task: Task, outputs: Tensor, others: Tensor, targets: Any) -> dict[str, Measured]:
    """Return the same of the other numbers in which models are compared (`Task.further`), by name."""
    new, old = task.further(outputs, targets), task.further(others, targets)

    def apart(name: str) -> Statistic:
        return lambda counts: new[name](counts) - old[name](counts)

    return {name: bootstrap(apart(name), count(outputs)) for name in new if name in old}


def told(change: Measured) -> str:
    """Return a difference in words: how large, with its interval, and whether that tells it from nothing."""
    low, high = change.low or 0.0, change.high or 0.0
    tells = "" if change.tells else ", which does not tell it from nothing"
    return (
        f"{'+' if change.value > 0 else ''}{number(change.value)}, 95 % interval {number(low)} to {number(high)}{tells}"
    )


def lost(change: Measured, before: Measured) -> float:
    """Return what a headline has lost, in points: hundredths, or where less is better, percent of what it was."""
    if change.better == "higher":
        return -100 * change.value
    return 100 * change.value / before.value if before.value else float("inf") if change.value > 0 else 0.0
