"""What a language model reached on documents: how well it says the tokens that follow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy
from numpy.typing import NDArray

from hubft.tasks.metrics import Measured, Metrics, Statistic, affordable, bootstraps

HEADLINE, CHOSEN = "perplexity", "choice_accuracy"
SHORT = 32  # tokens of a completion, of most documents: up to that it is said to the letter, or not at all
SHOWN = 2_000  # documents of which the picture shows the loss

Array = NDArray[Any]


def score(kept: Array) -> Metrics:
    """Return loss and perplexity without an interval.

    :param kept: float64 `[n, 4]`, as `hubft.tasks.following.KEPT` names it.
    """
    loss = _loss(kept.sum(0))
    return Metrics(HEADLINE, {HEADLINE: Measured(_perplexity(loss), n=len(kept), better="lower")}, loss)


def measure(kept: Array) -> Metrics:
    """Return perplexity, loss per token in nats, the share of tokens that are the likeliest, and `further`.

    Intervals are bootstraps over documents: tokens of one document depend on each other.
    """
    whole = further(kept)

    def statistics(counts: Array) -> Array:
        sums = counts @ kept
        loss = _loss(sums)
        right = sums[2] / sums[1] if sums[1] else math.nan
        return numpy.array([_perplexity(loss), loss, right, *(share(counts) for share in whole.values())])

    found = bootstraps(statistics, len(kept), resamples=affordable(kept.size))
    names = (HEADLINE, "loss_per_token", "token_accuracy", *whole)
    values = {name: _directed(name, one) for name, one in zip(names, found, strict=True) if math.isfinite(one.value)}
    if CHOSEN in values:
        values[CHOSEN] = replace(values[CHOSEN], n=int((kept[:, 3] >= 0).sum()))
    there = kept[kept[:, 1] > 0]
    losses = (there[:, 0] / there[:, 1])[:SHOWN].tolist()
    return Metrics(HEADLINE, values, _loss(kept.sum(0)), {"tokens": int(kept[:, 1].sum()), "points": losses})


def further(kept: Array) -> dict[str, Statistic]:
    """Return the shares of documents that are right as a whole: where most completions are short, of those that greedy
    writing gives to the letter; and where documents choose among answers, of those of which the right one is the
    likeliest."""
    exact = numpy.where(kept[:, 1] > 0, kept[:, 2] == kept[:, 1], numpy.nan)
    chosen = numpy.where(kept[:, 3] >= 0, kept[:, 3], numpy.nan)
    short = numpy.median(kept[:, 1]) <= SHORT
    found = ({"exact_match": _share(exact)} if short else {}) | {CHOSEN: _share(chosen)}
    return {name: share for name, share in found.items() if math.isfinite(share(numpy.ones(len(kept))))}


def _share(right: Array) -> Statistic:
    """Return what gives the mean of 1 and 0, `[n]`, NaN where there is nothing to be right in."""
    known = ~numpy.isnan(right)

    def share(counts: Array) -> float:
        number = counts[known].sum()
        return float(right[known] @ counts[known] / number) if number else math.nan

    return share


def _directed(name: str, one: Measured) -> Measured:
    better: Any = "lower" if name in (HEADLINE, "loss_per_token") else "higher"
    return Measured(one.value, one.low, one.high, one.n, better)


def _loss(sums: Array) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # above it there is no such number
