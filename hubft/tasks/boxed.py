"""What a detector reached. Regions of a crowd count neither way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hubft.tasks import pictures
from hubft.tasks.matched import IOUS, Boxes, Precision, Said, Truth
from hubft.tasks.metrics import Measured, Metrics, Statistic, affordable, bootstraps

HEADLINE = "map"
AT = 0.5  # IoU of the curves and of the confusion
NAMES = (HEADLINE, "map_50", "map_75", "mar_100")
THRESHOLD = 0.5  # score from which on a box is said, unless a task knows a better one

Array = NDArray[Any]


def score(said: Sequence[Said], truth: Sequence[Truth], classes: int, loss: float) -> Metrics:
    """Return the loss that is given and the mean average precision at IoU 50:95, without an interval."""
    boxes = Boxes(said, truth, classes)
    found = boxes.evaluated(IOUS).eval["precision"]
    known = found[found > -1]
    return Metrics(HEADLINE, {HEADLINE: Measured(float(known.mean()) if len(known) else 0.0, n=len(truth))}, loss)


def measure(
    said: Sequence[Said], truth: Sequence[Truth], names: Sequence[str], loss: float, threshold: float = THRESHOLD
) -> Metrics:
    """Return what `score` does with its interval, average precision at IoU 0.5 and 0.75, the recall of a hundred boxes;
    of each class average precision and how many objects and images it has; the confusion of classes, and curves.

    The bootstrap draws images. Means are over the classes of which there is an object; what is of a class without one
    is None. `confusion[i][j]` counts objects of class i that were said to be j, at IoU 0.5 and from the threshold on;
    its last column is what was missed, its last row what was said where nothing is. `curves[i]` is the precision of a
    class at the recalls 0, 0.01, ..., 1.

    :param names: of the classes.
    :param threshold: score from which on a box counts in the confusion.
    """
    n, classes = len(truth), len(names)
    boxes = Boxes(said, truth, classes)
    precision = Precision(boxes)

    def statistics(counts: Array) -> Array:
        found, reached = precision.at(counts)
        areas = found.mean(2)
        means = areas, areas[0], areas[5], reached
        return numpy.concatenate([[*map(_mean, means)], areas.mean(0), areas[0]])  # a class is at all IoUs, or at none

    cells = len(boxes.score) + len(precision.right) + 1010 * classes
    found = bootstraps(statistics, n, resamples=affordable(cells))
    values = dict(zip(NAMES, (_finite(one) for one in found[:4]), strict=True))
    curves, _ = precision.at(numpy.ones(n))
    objects = precision.objects.sum(0).astype(int)
    details = {
        "average_precision": _each(found[4 : 4 + classes], objects),
        "average_precision_50": _each(found[4 + classes :], objects),
        "objects": objects.tolist(),
        "images": (precision.objects > 0).sum(0).tolist(),
        "threshold": threshold,
        "confusion": confusion(boxes, threshold).tolist(),
        "curves": [[round(float(one), 4) for one in row] if numpy.isfinite(row[0]) else None for row in curves[0]],
    }
    return Metrics(HEADLINE, values, loss, details)


def figures(metrics: Metrics, names: Sequence[str], nothing: str) -> dict[str, Figure]:
    """Return the pictures of what `measure` gave, by the names of their files.

    :param nothing: what the confusion calls an object that was missed, and a place where none is.
    """
    found = metrics.details
    return {
        "classes.png": pictures.bars(found["average_precision"], names, found["objects"]),
        "precision.png": pictures.curves(found["curves"], names),
        "confusion.png": pictures.confusion(found["confusion"], (*names, nothing)),
    }


def headline(said: Sequence[Said], truth: Sequence[Truth], classes: int) -> Statistic:
    """Return what gives the headline where images count so often, float64 `[images]`: for a comparison of two models on
    the same resamples. It takes one match, and is 0 where there is no object."""
    precision = Precision(Boxes(said, truth, classes))

    def statistic(counts: Array) -> float:
        found = _mean(precision.at(counts)[0].mean(2))
        return found if numpy.isfinite(found) else 0.0

    return statistic


def confusion(boxes: Boxes, threshold: float) -> Array:
    """Return how often which class was taken for which, int64 `[classes + 1, classes + 1]`, as `measure` says.

    Boxes are matched whatever their class, those of higher scores first.
    """
    chosen, classes = boxes.score >= threshold, boxes.classes
    which, true = boxes.pairs(AT, chosen, by_class=False)
    crowd = boxes.crowd[true]
    missed, wrong = ~boxes.crowd, chosen.copy()
    missed[true], wrong[which] = False, False
    pairs = boxes.true_label[true[~crowd]] * (classes + 1) + boxes.label[which[~crowd]]
    alone = boxes.true_label[missed] * (classes + 1) + classes
    nothing = classes * (classes + 1) + boxes.label[wrong]
    counts = numpy.bincount(numpy.concatenate([pairs, alone, nothing]), minlength=(classes + 1) ** 2)
    return counts.reshape(classes + 1, classes + 1)


def threshold(said: Sequence[Said], truth: Sequence[Truth], classes: int) -> float:
    """Return the score from which on to say a box, so that F1 over all classes at IoU 0.5 is highest.

    It lies half-way between two scores that are there; it is THRESHOLD where there is nothing to find, or no box that
    is right.
    """
    boxes = Boxes(said, truth, classes)
    which, true = boxes.pairs(AT)
    right, counted = numpy.zeros(len(boxes.score), dtype=bool), numpy.ones(len(boxes.score), dtype=bool)
    crowd = boxes.crowd[true]
    right[which[~crowd]], counted[which[crowd]] = True, False
    if not right.any():
        return THRESHOLD
    order = numpy.argsort(-boxes.score[counted], kind="stable")
    scores, right = boxes.score[counted][order], numpy.cumsum(right[counted][order])
    f1 = 2 * right / (numpy.arange(1, len(scores) + 1) + (~boxes.crowd).sum())
    below = numpy.append(scores[1:], 0.0)
    f1[scores == below] = -1  # no threshold lies between two that are equal
    best = int(f1.argmax())
    return float((scores[best] + below[best]) / 2)


def _mean(values: Array) -> float:
    known = values[numpy.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _finite(found: Measured) -> Measured:
    """Return a headline; 0 where there is no object at all: it must be a number."""
    return found if numpy.isfinite(found.value) else Measured(0.0, n=found.n)


def _each(found: Sequence[Measured], objects: Array) -> list[dict[str, Any] | None]:
    pairs = zip(found, objects, strict=True)
    return [asdict(replace(one, n=int(n))) if numpy.isfinite(one.value) else None for one, n in pairs]
