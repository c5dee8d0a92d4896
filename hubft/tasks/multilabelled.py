"""What a model of several labels reached. A gap counts nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from hubft.tasks.classified import RANKED, auroc
from hubft.tasks.metrics import Measured, Metrics, affordable, bootstraps, proportion

HEADLINE = "mean_average_precision"
ENOUGH = 5  # positives from which on a label's threshold is chosen: of fewer it would be that of chance

Array = NDArray[Any]


def score(outputs: Tensor, targets: Tensor, loss: float) -> Metrics:
    """Return the loss that is given and the mean average precision, without an interval.

    :param outputs: logits float32 `[n, labels]`.
    :param targets: 1, 0, or NaN for a gap, float32 `[n, labels]`.
    """
    precisions = Ranking(targets.numpy(), _ranked(outputs)).average_precision(numpy.ones(len(targets)))
    return Metrics(HEADLINE, {HEADLINE: _head(Measured(_mean(precisions), n=len(targets)))}, loss)


def measure(outputs: Tensor, targets: Tensor, loss: float, thresholds: Sequence[float]) -> Metrics:
    """Return what `score` does with its interval, F1 by label, by sample and over all, the area under the ROC curve;
    and of each label average precision, F1, precision, recall, how many samples have it and of how many it is known.

    What is of a label is None where it is not defined: average precision needs a positive and a negative. The mean is
    over the labels for which it is. A sample that has no label and of which none is said is right: its F1 is 1.

    :param thresholds: of the probability of each label, above which it is said.
    """
    true, scores, n = targets.numpy(), _ranked(outputs), len(targets)
    said = outputs.sigmoid().double().numpy() > numpy.asarray(thresholds)
    positive, negative = true == 1, true == 0
    hits = numpy.concatenate([positive & said, negative & said, positive & ~said], 1).astype(numpy.float32)
    labels = true.shape[1]
    ranking, of_sample = Ranking(true, scores), _f1_of_samples(hits, positive | negative)

    def statistics(counts: Array) -> Array:
        precisions = ranking.average_precision(counts)
        right, wrong, missed = (counts.astype(numpy.float32) @ hits).reshape(3, labels).astype(float)
        of_label = _f1(right, wrong, missed)
        micro = _f1(right.sum(), wrong.sum(), missed.sum())
        known = counts * ~numpy.isnan(of_sample)
        samples = (known * numpy.nan_to_num(of_sample)).sum() / known.sum() if known.any() else numpy.nan
        means = _mean(precisions), _mean(of_label), micro, samples
        return numpy.concatenate([means, precisions, of_label])

    found = bootstraps(statistics, n, resamples=affordable(n * labels))
    values = {HEADLINE: _head(found[0])}
    named = zip(("f1_macro", "f1_micro", "f1_samples"), found[1:4], strict=True)
    values |= {name: one for name, one in named if numpy.isfinite(one.value)}
    if labels <= RANKED and ranking.defined.any():
        values["auroc"] = auroc(true, scores)
    known = (positive | negative).sum(0)
    right, wrong, missed = hits.sum(0, dtype=float).reshape(3, labels)
    details = {
        "average_precision": _each(found[4 : 4 + labels], known),
        "f1": _each(found[4 + labels :], known),
        "precision": [_share(hit, hit + other) for hit, other in zip(right, wrong, strict=True)],
        "recall": [_share(hit, hit + other) for hit, other in zip(right, missed, strict=True)],
        "positives": positive.sum(0).tolist(),
        "known": known.tolist(),
        "thresholds": [float(one) for one in thresholds],
    }
    return Metrics(HEADLINE, values, loss, details)


def thresholds(outputs: Tensor, targets: Tensor) -> tuple[float, ...]:
    """Return for each label the probability above which to say it, so that its F1 on these samples is highest.

    It lies half-way between two probabilities that are there. It is 0.5 for a label of fewer positives than ENOUGH.
    """
    shares = outputs.sigmoid().double().numpy()  # single precision, as they are compared: there some are equal
    return tuple(map(_threshold, shares.T, targets.numpy().T))


def _threshold(shares: Array, true: Array) -> float:
    known = ~numpy.isnan(true) & numpy.isfinite(shares)
    shares, positive = shares[known], true[known] == 1
    if positive.sum() < ENOUGH or positive.all():
        return 0.5
    order = numpy.argsort(-shares, kind="stable")
    shares, right = shares[order], numpy.cumsum(positive[order])
    f1 = 2 * right / (numpy.arange(1, len(shares) + 1) + positive.sum())
    below = numpy.append(shares[1:], 0.0)
    f1[shares == below] = -1  # no threshold lies between two that are equal
    best = int(f1.argmax())
    return float((shares[best] + below[best]) / 2)


class Ranking:
    """The samples of each label by score, once: average precision can then be had for any counts of the samples."""

    def __init__(self, true: Array, scores: Array) -> None:
        """:param true: 1, 0 or NaN for a gap, `[n, labels]`.
        :param scores: finite, `[n, labels]`."""
        keys = numpy.where(numpy.isnan(true), numpy.inf, -scores.astype(float)).T  # gaps come last
        self.order = numpy.argsort(keys, axis=1, kind="stable")
        keys = numpy.take_along_axis(keys, self.order, 1)
        self.labels, n = keys.shape
        places = numpy.where(keys[:, 1:] != keys[:, :-1], numpy.arange(n - 1), n - 1)
        places = numpy.concatenate([places, numpy.full((self.labels, 1), n - 1)], 1)
        ends = numpy.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]  # of the equal scores that each is among
        self.label, place = numpy.nonzero(numpy.take_along_axis(true.T, self.order, 1) == 1)
        self.sample = self.order[self.label, place]
        self.end = ends[self.label, place]
        tied = self.label * n + self.end
        self.last = numpy.searchsorted(tied, tied, side="right") - 1  # positive of equal score
        self.start = numpy.searchsorted(self.label, self.label)  # first positive of the label
        self.defined = (true == 1).any(0) & (true == 0).any(0)

    def average_precision(self, counts: Array) -> Array:
        """Return it for each label, where samples count so often; NaN where it is not defined.

        As scikit-learn does: the precision at each score, weighted by the recall that is won there.
        """
        weights = counts[self.sample]
        sums = numpy.concatenate([[0.0], numpy.cumsum(weights)])
        right = sums[self.last + 1] - sums[self.start]
        above = numpy.cumsum(counts[self.order], axis=1)[self.label, self.end]
        precision = weights * right / numpy.maximum(above, 1)
        total = numpy.bincount(self.label, weights, self.labels)
        there = self.defined & (total > 0)
        areas = numpy.bincount(self.label, precision, self.labels)
        return numpy.where(there, areas / numpy.maximum(total, 1), numpy.nan)


def _ranked(outputs: Tensor) -> Array:
    """Return outputs by which samples can be put in order, also those of a model that ran away."""
    return outputs.nan_to_num(nan=-3e38).numpy()


def _mean(values: Array) -> float:
    known = values[numpy.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _head(found: Measured) -> Measured:
    """Return the headline; 0 where no label has both a positive and a negative: it must be a number."""
    return found if numpy.isfinite(found.value) else Measured(0.0, n=found.n)


def _f1(right: Array, wrong: Array, missed: Array) -> Array:
    """Return F1, NaN where there is none to find and none was said."""
    both = 2 * right + wrong + missed
    return numpy.where(both > 0, 2 * right / numpy.maximum(both, 1), numpy.nan)


def _f1_of_samples(hits: Array, known: Array) -> Array:
    """Return F1 of each sample, 1 where there is none to find and none was said, NaN where nothing is known."""
    right, wrong, missed = hits.reshape(len(hits), 3, known.shape[1]).sum(2).T
    return numpy.where(known.any(1), numpy.nan_to_num(_f1(right, wrong, missed), nan=1.0), numpy.nan)


def _each(found: Sequence[Measured], known: Array) -> list[dict[str, Any] | None]:
    pairs = zip(found, known, strict=True)
    return [asdict(replace(one, n=int(n))) if numpy.isfinite(one.value) else None for one, n in pairs]


def _share(hits: float, n: float) -> dict[str, Any] | None:
    return asdict(proportion(round(hits), round(n))) if n else None


def ratio(positives: Sequence[int], known: Sequence[int], most: float) -> Tensor:
    """Return the root of negatives over positives of each label, from 1 to `most`, float32 `[labels]`."""
    found, every = torch.tensor(positives or [1]).clamp(min=1), torch.tensor(known or [2])
    return ((every - found) / found).clamp(min=0).sqrt().clamp(1, most)
