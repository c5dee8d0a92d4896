"""What a classifier reached on held-out images, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn


def proportion(hits: int, n: int) -> dict[str, float | int]:
    """Return value, low, high and n of a share, with the 95 % Wilson score interval (Wilson 1927,
    https://doi.org/10.1080/01621459.1927.10502953)."""
    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return {"value": hits / n, "low": float(interval.low), "high": float(interval.high), "n": n}


def classification(outputs: Tensor, targets: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Return accuracy, loss (mean cross entropy, nats), recall of each class and the confusion matrix as JSON types.

    :param outputs: logits float32 `[n, classes]`.
    :param targets: int64 `[n]`.
    `confusion[i][j]` counts images of class i that were taken for class j; `recall` is None for a class
    without images.
    """
    predicted = outputs.argmax(1)
    matrix = confusion_matrix(targets, predicted, labels=range(len(classes)))
    totals = matrix.sum(1)
    return {
        "accuracy": proportion(int(matrix.trace()), len(targets)),
        "loss": float(nn.functional.cross_entropy(outputs, targets)),
        "recall": [proportion(int(matrix[i, i]), int(n)) if n else None for i, n in enumerate(totals)],
        "confusion": matrix.tolist(),
    }
