"""What looks wrong with answers that are names: no better than chance, names that are never said or are exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hubft.base.display import listed, quoted
from hubft.tasks.metrics import Metrics, number, proportion

ENOUGH = 3  # held-out samples of a name, of which a model that knows it should say it once
EXCHANGED = 0.5  # share of the samples that must be right once names are exchanged, for that to be an explanation
SHOWN = 4  # names in a line


def classes(metrics: Metrics, names: Sequence[str]) -> list[str]:
    """Return what looks wrong with one class a sample: no more is right than by the most frequent class, some classes
    are never said, or other names for the classes would explain the answers.

    :param metrics: with the confusion matrix that `classified.measure` gives.
    """
    matrix = numpy.asarray(metrics.details["confusion"])
    there, said = matrix.sum(1), matrix.sum(0)
    found = []
    if metrics.head.value <= there.max() / there.sum():
        most = quoted(names[int(there.argmax())])
        found.append(f"it gets no more right than a model that always says {most}, the most frequent class")
    if other := exchanged(matrix, names):
        return [other]  # it explains whatever else is odd
    return found + never("class", [names[i] for i in numpy.flatnonzero((there >= ENOUGH) & (said == 0)).tolist()])


def labels(metrics: Metrics, targets: Tensor, names: Sequence[str]) -> list[str]:
    """Return what looks wrong with several labels a sample: they are no better than chance, or some are never said.

    :param metrics: with what `multilabelled.measure` gives of each label.
    :param targets: float32 `[n, labels]`, NaN where unknown.
    """
    known, positives = (~targets.isnan()).sum(0), (targets == 1).sum(0)
    judged = (positives > 0) & (positives < known)
    chance = float((positives / known)[judged].mean()) if judged.any() else 0.0
    found = []
    if not metrics.head.value > chance:
        found.append(f"its mean average precision is not above that of labels given by chance, {chance:.3f}")
    pairs = zip(names, metrics.details["precision"], positives.tolist(), strict=True)
    return found + never("label", [name for name, precision, there in pairs if precision is None and there >= ENOUGH])


def never(word: str, names: Sequence[str]) -> list[str]:
    """Return the sentence on names that are never said, where there are some.

    :param word: what a name is: `class`, `label`.
    """
    if not names:
        return []
    which = f"the {word} {quoted(names[0])}" if len(names) == 1 else f"{len(names):,} names: {listed(names, SHOWN)}"
    of = "it" if len(names) == 1 else "them"
    return [f"it never says {which}; --class-weights balanced, or more training samples of {of}, may help"]


def exchanged(matrix: Any, names: Sequence[str]) -> str:
    """Return in a sentence that other names for the classes explain the answers, or nothing.

    It is the one-to-one naming with which most samples are right (Kuhn 1955, the Hungarian method), where that is at
    least half of them, and more than with the names as they are by more than both 95 % intervals.

    :param matrix: samples of class i that were taken for class j, int `[classes, classes]`.
    """
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    n = int(matrix.sum())
    now, then = (proportion(int(hits), n) for hits in (matrix.trace(), matrix[rows, columns].sum()))
    apart = now.high is not None and then.low is not None and then.low > now.high
    if then.value < EXCHANGED or not apart:
        return ""
    pairs = list(_moved(matrix, names, rows, columns))
    more = f" and {len(pairs) - SHOWN:,} more" if len(pairs) > SHOWN else ""
    return (
        f"the labels of the held-out samples look exchanged: {', '.join(pairs[:SHOWN])}{more}; with these "
        f"{number(then.value)} would be right, not {number(now.value)}: look at how they were made"
    )


def _moved(matrix: Any, names: Sequence[str], rows: Any, columns: Any) -> Iterator[str]:
    for true, said in zip(rows, columns, strict=True):
        if true != said and matrix[true, said]:
            yield f"what is labelled {quoted(names[true])} is answered {quoted(names[said])}"
