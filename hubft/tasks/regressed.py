"""What a model of numbers reached, in the user's unit. A gap counts nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from hubft.tasks.metrics import Measured, Metrics, affordable, bootstraps

NAMES = ("r2", "rmse", "mae", "spearman")  # of what is measured of a column, in the order of `of_column`
POINTS = 2_000  # pairs of truth and prediction that are kept for the picture, over all columns

Array = NDArray[Any]


def score(truth: Array, said: Array, loss: float) -> Metrics:
    """Return the loss that is given and R2, the mean over columns, without an interval.

    :param truth: float64 `[n, columns]`, NaN for a gap.
    :param said: float64 `[n, columns]`.
    """
    ones = numpy.ones(len(truth))
    found = [of_column(*known)(ones)[0] for known in _known(truth, said)]
    return Metrics("r2", {"r2": Measured(_mean(found), n=len(truth))}, loss)


def measure(truth: Array, said: Array, loss: float, columns: Sequence[str]) -> Metrics:
    """Return what `score` does with its interval, the Spearman correlation and, of one column, RMSE and MAE.

    Several columns have units of their own, so that the mean of their errors would say nothing: RMSE and MAE are in
    the details, with all that is of each column. There are a few points of each, too.
    """
    n, width = len(truth), len(NAMES)
    each = [of_column(*known) for known in _known(truth, said)]

    def statistics(counts: Array) -> Array:
        found = numpy.array([statistic(counts) for statistic in each])
        return numpy.concatenate([[_mean(found[:, 0]), _mean(found[:, 3])], found.ravel()])

    found = bootstraps(statistics, n, resamples=affordable(2 * truth.size))
    values = {"r2": found[0]}
    by_column = []
    for place, name in enumerate(columns):
        counted = int((~numpy.isnan(truth[:, place])).sum())
        part = found[2 + width * place : 2 + width * (place + 1)]
        of_one = {metric: _directed(metric, one, counted) for metric, one in zip(NAMES, part, strict=True)}
        by_column.append(
            {"column": name, "known": counted} | {metric: one and asdict(one) for metric, one in of_one.items()}
        )
        if len(columns) == 1:
            values |= {metric: one for metric, one in of_one.items() if one and metric != "r2"}
    if len(columns) > 1 and numpy.isfinite(found[1].value):
        values["spearman"] = found[1]
    points = [_points(truth[:, place], said[:, place], POINTS // len(columns)) for place in range(len(columns))]
    return Metrics("r2", values, loss, {"by_column": by_column, "points": points})


def of_column(truth: Array, said: Array, rows: Array) -> Callable[[Array], Array]:
    """Return what gives R2, RMSE, MAE and the Spearman correlation where samples count so often; NaN where undefined.

    None is defined for a model that ran away, of which a prediction is not finite.
    Where the truth is one number, R2 is 1 for a model that says it, else 0, as in scikit-learn.

    :param truth: the numbers that are known, `[k]`, of the samples `rows`.
    """
    if not numpy.isfinite(said).all():
        return lambda counts: numpy.full(len(NAMES), numpy.nan)
    centre = truth.mean() if len(truth) else 0.0
    scale = truth.std() if len(truth) and truth.std() > 0 else 1.0
    y, error = (truth - centre) / scale, (said - truth) / scale
    squares = numpy.stack([numpy.ones(len(y)), y, y * y, error * error, abs(error)])
    ranked = ranks(truth), ranks(said)

    def statistics(counts: Array) -> Array:
        counts = counts[rows]
        total, sum_y, sum_yy, squared, absolute = squares @ counts
        if not total:
            return numpy.full(len(NAMES), numpy.nan)
        spread = sum_yy - sum_y * sum_y / total
        r2 = 1 - squared / spread if spread > 1e-12 * total else float(squared == 0)
        return numpy.array(
            [r2, scale * (squared / total) ** 0.5, scale * absolute / total, _correlation(ranked, counts)]
        )

    return statistics


def ranks(values: Array) -> Callable[[Array], Array]:
    """Return what gives the rank of each value where it counts so often; equal ones have the mean of their ranks."""
    _, place = numpy.unique(values, return_inverse=True)
    different = int(place.max()) + 1 if len(place) else 0

    def weighted(counts: Array) -> Array:
        there = numpy.bincount(place, counts, different)
        return (numpy.cumsum(there) - there / 2 + 0.5)[place]

    return weighted


def _correlation(ranked: tuple[Callable[[Array], Array], ...], counts: Array) -> float:
    total = counts.sum()
    x, y = (one - (one * counts).sum() / total for one in (rank(counts) for rank in ranked))
    spread = (counts * x * x).sum() * (counts * y * y).sum()
    return float((counts * x * y).sum() / spread**0.5) if spread > 0 else float("nan")


def _known(truth: Array, said: Array) -> list[tuple[Array, Array, Array]]:
    rows = [numpy.flatnonzero(~numpy.isnan(column)) for column in truth.T]
    return [(truth[known, place], said[known, place], known) for place, known in enumerate(rows)]


def _mean(found: Any) -> float:
    """Return the mean of those that are defined; NaN where none is."""
    known = numpy.asarray(found)[~numpy.isnan(found)]
    return float(known.mean()) if len(known) else float("nan")


def _directed(metric: str, one: Measured, n: int) -> Measured | None:
    if not numpy.isfinite(one.value):
        return None
    return replace(one, n=n, better="lower" if metric in ("rmse", "mae") else "higher")


def _points(truth: Array, said: Array, most: int) -> list[list[float]]:
    """Return pairs of truth and prediction, in six digits: so many at most, drawn by chance, the same each time."""
    rows = numpy.flatnonzero(numpy.isfinite(truth) & numpy.isfinite(said))
    if len(rows) > most:
        rows = numpy.sort(numpy.random.default_rng(0).choice(rows, most, replace=False))
    return [[float(f"{truth[row]:.6g}"), float(f"{said[row]:.6g}")] for row in rows]


def write(tensor: Tensor, values: Tensor) -> None:
    """Put values into a weight, which may be a parameter, and on a device without double precision."""
    with torch.no_grad():
        tensor.copy_(values.to(tensor.dtype))


def rows(scale: Tensor, weight: Tensor) -> Tensor:
    """Return the scale of each output, so that the rows of a weight can be multiplied with it."""
    return scale.view(-1, *[1] * (weight.ndim - 1))
