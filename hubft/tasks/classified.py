"""What a classifier reached."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, confusion_matrix
from torch import Tensor
from torch.nn.functional import cross_entropy

from hubft.tasks.metrics import Measured, Metrics, Statistic, bootstrap, proportion

MANY = 10  # classes above which the top five are counted
BINS = 15  # of the calibration error
RANKED = 100  # classes up to which the area under the ROC curve is computed

Array = NDArray[Any]


def score(outputs: Tensor, targets: Tensor) -> Metrics:
    """Return accuracy and mean cross entropy, nats.

    :param outputs: logits float32 `[n, classes]`.
    :param targets: int64 `[n]`.
    """
    right = int((outputs.argmax(1) == targets).sum())
    values = {"accuracy": proportion(right, len(targets))}
    return Metrics("accuracy", values, float(cross_entropy(outputs, targets)))


def measure(outputs: Tensor, targets: Tensor, classes: int) -> Metrics:
    """Return what `score` does and balanced accuracy, macro F1, areas under curves, calibration error; of each class
    recall and precision; and the confusion matrix.

    `confusion[i][j]` counts samples of class i that were taken for class j; `recall` is None for a class without
    samples, `precision` for one that was never named.
    """
    quick, n = score(outputs, targets), len(targets)
    true, said, shares = targets.numpy(), outputs.argmax(1).numpy(), outputs.softmax(1).numpy()
    matrix = confusion_matrix(true, said, labels=range(classes))
    values = dict(quick.values)
    values["balanced_accuracy"] = bootstrap(_of_matrix(true, said, classes, _balanced), n)
    values["f1_macro"] = bootstrap(_of_matrix(true, said, classes, _macro_f1), n)
    if classes > MANY:
        values["top_5"] = proportion(int((outputs.topk(5).indices == targets[:, None]).any(1).sum()), n)
    if numpy.isfinite(shares).all():
        values |= _by_shares(true, shares)
    rows = zip(matrix.diagonal(), matrix.sum(1), matrix.sum(0), strict=True)
    shares_of = [(_share(hits, there), _share(hits, named)) for hits, there, named in rows]
    details = {
        "recall": [recall for recall, _ in shares_of],
        "precision": [precision for _, precision in shares_of],
        "confusion": matrix.tolist(),
    }
    return Metrics("accuracy", values, quick.loss, details)


def _by_shares(true: Array, shares: Array) -> dict[str, Measured]:
    """Return what depends on the probabilities; where there are two classes, of the second one."""
    n, classes = shares.shape
    found = {}
    if classes == 2 and 0 < true.sum() < n:
        found["auroc"] = auroc(true[:, None], shares[:, 1:])
        found["average_precision"] = bootstrap(lambda counts: average_precision(true, shares[:, 1], counts), n)
    elif 2 < classes <= RANKED and len(set(true)) > 1:
        found["auroc"] = auroc(numpy.eye(classes)[true], shares)
    found["calibration_error"] = bootstrap(_calibration(shares, true), n, better="lower")
    return found


def _share(hits: int, n: int) -> dict[str, Any] | None:
    return asdict(proportion(int(hits), int(n))) if n else None


def _of_matrix(true: Array, said: Array, classes: int, statistic: Any) -> Statistic:
    """Return a statistic of the confusion matrix as one of how often each sample counts."""
    cells = true * classes + said
    return lambda counts: float(statistic(numpy.bincount(cells, counts, classes**2).reshape(classes, classes)))


def _balanced(matrix: Array) -> float:
    there = matrix.sum(1)
    return float((matrix.diagonal()[there > 0] / there[there > 0]).mean())


def _macro_f1(matrix: Array) -> float:
    both = matrix.sum(0) + matrix.sum(1)
    return float((2 * matrix.diagonal()[both > 0] / both[both > 0]).mean())


def average_precision(true: Array, scores: Array, counts: Array) -> float:
    """Return the average precision where samples count so often; NaN where none is positive."""
    if not counts[true > 0].sum():
        return float("nan")
    return float(average_precision_score(true, scores, sample_weight=counts))


def auroc(true: Array, scores: Array) -> Measured:
    """Return the mean over labels of the area under the ROC curve, with the interval of DeLong et al. (1988,
    https://doi.org/10.2307/2531595) by the influence of each sample.

    :param true: 0 or 1, NaN for a gap, `[n, labels]`; a label that all known samples have, or none, does not count,
        and one must.
    :param scores: `[n, labels]`.
    """
    n = len(true)
    areas, influence = [], numpy.zeros(n)
    for label, column in zip(true.T, scores.T, strict=True):
        known = ~numpy.isnan(label)
        positive, score = label[known] > 0, column[known]
        p, negatives = int(positive.sum()), int((~positive).sum())
        if not p or not negatives:
            continue
        ranks = rankdata(score)
        below = numpy.where(
            positive,
            (ranks - _within(score, positive)) / negatives,  # of a positive: the share of negatives below it
            1 - (ranks - _within(score, ~positive)) / p,  # of a negative: the share of positives above it
        )
        area = float(below[positive].mean())
        areas.append(area)
        influence[known] += (below - area) * n / numpy.where(positive, p, negatives)
    area = float(numpy.mean(areas))
    error = 1.959964 * float(influence.std() / len(areas) / n**0.5)
    return Measured(area, max(0.0, area - error), min(1.0, area + error), n)


def _within(score: Array, group: Array) -> Array:
    """Return the rank of each sample among those of its group, 0 for the others."""
    ranks = numpy.zeros(len(score))
    ranks[group] = rankdata(score[group])
    return ranks


def _calibration(shares: Array, true: Array) -> Statistic:
    """Return the expected calibration error (https://arxiv.org/abs/1706.04599, equation 3), in fifteen bins."""
    sure, right = shares.max(1), shares.argmax(1) == true
    bins = numpy.minimum((sure * BINS).astype(int), BINS - 1)
    return lambda counts: float(abs(numpy.bincount(bins, counts * (right - sure), BINS)).sum() / counts.sum())
