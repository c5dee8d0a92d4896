"""What a language model reached on documents: how well it says the tokens that follow."""

from __future__ import annotations

import math
from typing import Any

import numpy
from numpy.typing import NDArray

from hubft.tasks.metrics import Measured, Metrics, affordable, bootstraps

HEADLINE = "perplexity"
SHORT = 32  # tokens of a completion, of most documents: up to that it is said to the letter, or not at all
SHOWN = 2_000  # documents of which the picture shows the loss

Array = NDArray[Any]


def score(kept: Array) -> Metrics:
    """Return loss and perplexity without an interval.

    :param kept: float64 `[n, 3]`, as `hubft.tasks.following.KEPT` names it.
    """
    loss = _loss(kept.sum(0))
    return Metrics(HEADLINE, {HEADLINE: Measured(_perplexity(loss), n=len(kept), better="lower")}, loss)


def measure(kept: Array) -> Metrics:
    """Return perplexity, loss per token in nats, the share of tokens that are the likeliest, and where most
    completions are short, the share of documents of which all are: those that greedy writing gives to the letter.

    Intervals are bootstraps over documents: tokens of one document depend on each other.
    """
    exact = numpy.where(kept[:, 1] > 0, kept[:, 2] == kept[:, 1], numpy.nan)

    def statistics(counts: Array) -> Array:
        sums = counts @ kept
        loss = _loss(sums)
        right = sums[2] / sums[1] if sums[1] else math.nan
        known = ~numpy.isnan(exact)
        whole = (exact[known] @ counts[known]) / counts[known].sum() if counts[known].any() else math.nan
        return numpy.array([_perplexity(loss), loss, right, whole])

    found = bootstraps(statistics, len(kept), resamples=affordable(kept.size))
    names = (HEADLINE, "loss_per_token", "token_accuracy", "exact_match")
    values = {name: _directed(name, one) for name, one in zip(names, found, strict=True) if math.isfinite(one.value)}
    if numpy.median(kept[:, 1]) > SHORT:
        values.pop("exact_match", None)
    there = kept[kept[:, 1] > 0]
    losses = (there[:, 0] / there[:, 1])[:SHOWN].tolist()
    return Metrics(HEADLINE, values, _loss(kept.sum(0)), {"tokens": int(kept[:, 1].sum()), "points": losses})


def _directed(name: str, one: Measured) -> Measured:
    better: Any = "lower" if name in (HEADLINE, "loss_per_token") else "higher"
    return Measured(one.value, one.low, one.high, one.n, better)


def _loss(sums: Array) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # above it there is no such number
