"""What a model that tags words reached: how many spans are right to the word, or how many words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy
from numpy.typing import NDArray

from hubft.tasks import spans
from hubft.tasks.metrics import Measured, Metrics, Statistic, affordable, bootstraps

HEADLINE = "f1"

Array = NDArray[Any]
Tags = Sequence[Sequence[int]]
"""Numbers of tags, word by word, of each sentence."""


class Counted:
    """Of each sentence how many spans of each label are right, are said, and are there, and how many words are right.

    Where tags state spans, one is right if its label, its first and its last word are: the definition of
    CoNLL-2000 (https://aclanthology.org/W00-0726). Else each word is one of its tag, O too.
    """

    def __init__(self, true: Tags, said: Tags, names: Sequence[str]) -> None:
        self.spanned = spans.are(names)
        labels = [spans.label(name) for name in names if name != spans.OUTSIDE]
        self.labels = list(dict.fromkeys(labels)) if self.spanned else list(names)
        """What is counted."""
        places = {name: place for place, name in enumerate(self.labels)}
        self.cells = numpy.zeros((len(true), 3, len(self.labels)))
        """Right, said, there: `[n, 3, labels]`."""
        self.words = numpy.zeros((len(true), 2))
        """Right, there: `[n, 2]`."""
        for i, (wanted, given) in enumerate(zip(true, said, strict=True)):
            sides = [self._found([names[tag] for tag in tags]) for tags in (given, wanted)]
            for row, its in enumerate((sides[0] & sides[1], *sides)):
                for one, *_ in its:
                    self.cells[i, row, places[one]] += 1
            self.words[i] = sum(a == b for a, b in zip(wanted, given, strict=True)), len(wanted)

    def _found(self, tags: Sequence[str]) -> set[spans.Span]:
        return set(spans.of(tags)) if self.spanned else {(tag, place, place + 1) for place, tag in enumerate(tags)}

    def rates(self, counts: Array) -> Array:
        """Return F1, precision and recall where sentences count so often: of spans over all labels, of words the means
        over the tags that are there or are said."""
        right, said, there = numpy.tensordot(counts, self.cells, 1)
        if self.spanned:
            right, said, there = (side.sum(keepdims=True) for side in (right, said, there))
        known = said + there > 0
        found = numpy.array([_shares(2 * right, said + there), _shares(right, said), _shares(right, there)])
        return found[:, known].mean(1) if known.any() else numpy.zeros(3)

    def headline(self) -> Statistic:
        """Return F1 as a function of how often each sentence counts."""
        return lambda counts: float(self.rates(counts)[0])


def score(counted: Counted, loss: float) -> Metrics:
    """Return the loss that is given and F1, without an interval."""
    n = len(counted.words)
    return Metrics(HEADLINE, {HEADLINE: Measured(counted.headline()(numpy.ones(n)), n=n)}, loss)


def measure(counted: Counted, loss: float) -> Metrics:
    """Return F1, precision, recall and the share of words that are right; and the first three of each label, with how
    many spans have it, or words.

    Intervals are bootstraps over sentences: words of one sentence depend on each other.
    """
    n, labels = len(counted.words), len(counted.labels)

    def statistics(counts: Array) -> Array:
        right, said, there = numpy.tensordot(counts, counted.cells, 1)
        hits, words = counts @ counted.words
        accuracy = hits / words if words else 0.0
        each = [_shares(2 * right, said + there), _shares(right, said), _shares(right, there)]
        return numpy.concatenate([counted.rates(counts), [accuracy], *each])

    found = bootstraps(statistics, n, resamples=affordable(counted.cells.size))
    values = dict(zip((HEADLINE, "precision", "recall", "token_accuracy"), found, strict=False))
    _, said, there = counted.cells.sum(0)
    shown = (said + there > 0, said > 0, there > 0)
    details: dict[str, Any] = {"labels": counted.labels, "found": there.astype(int).tolist()}
    for place, (name, known) in enumerate(zip((HEADLINE, "precision", "recall"), shown, strict=True)):
        its = found[4 + place * labels :][:labels]
        details[f"{name}_of_labels"] = [asdict(one) if good else None for one, good in zip(its, known, strict=True)]
    return Metrics(HEADLINE, values, loss, details)


def _shares(some: Array, of: Array) -> Array:
    """Return some / of, 0 where there is none."""
    shares: Array = numpy.divide(some, of, out=numpy.zeros_like(some, float), where=of > 0)
    return shares
