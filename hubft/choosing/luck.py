"""How much of what the best of many trials gains is the luck of having chosen the best.

The best of many scores is too good: it was chosen for its noise too. Bootstrap bias correction (Tsamardinos et al.
2018, https://doi.org/10.1007/s10994-018-5714-4) does the choice again on resamples of the samples, and measures what
was chosen on those that the resample left out: they had no say in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy
import torch

from hubft.base.batches import count, take
from hubft.choosing.rows import Outcome
from hubft.tasks.metrics import Measured, Statistic, affordable, number, title


@dataclass(frozen=True)
class Luck:
    """What the best gains over the recipe as it is, and how much of that is luck."""

    gain: float
    """Its headline minus that of the recipe, on the samples that it was chosen by."""
    corrected: Measured
    """What is left of it where the choice is measured on samples that had no say in it, with a 95 % interval."""
    chosen_of: int
    """How many were chosen from, the recipe among them."""

    @property
    def luck(self) -> float:
        """What of the gain is the luck of the choice."""
        lost = self.gain - self.corrected.value
        return lost if lost * self.gain > 0 else 0.0

    @property
    def tells(self) -> bool:
        """Whether what is left is told from nothing."""
        return self.corrected.tells

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**asdict(self), "luck": self.luck, "tells": self.tells}

    def words(self, headline: str, many: str) -> str:
        """Return it as a sentence.

        :param many: what the samples are called.
        """
        its, of = self.corrected, f"{title(headline)} on {self.corrected.n:,} training {many} held out"
        if not self.gain:
            return f"none of {self.chosen_of - 1} trials gains anything over the recipe as it is, {of}"
        left = f"{number(its.value)} is left, 95 % interval {number(its.low or 0.0)} to {number(its.high or 0.0)}"
        verdict = "more than chance" if self.tells else "which does not tell it from nothing"
        return (
            f"the best of {self.chosen_of} gains {self.gain:+.3g} {of}; {number(self.luck)} of that is the luck of "
            f"having chosen the best, {left}: {verdict}"
        )


def judged(outcomes: Sequence[Outcome], targets: Any) -> Luck:
    """Return how much of what the best of these gains over the first is luck.

    :param outcomes: of the recipe as it is, and of each trial that came to its end.
    :param targets: of the samples, as the task collates them.
    """
    statistics = [_statistic(one, targets) for one in outcomes]
    samples = count(outcomes[0].outputs)
    better = outcomes[0].task.score(outcomes[0].outputs, targets).head.better
    sign = 1.0 if better == "higher" else -1.0

    def scores(counts: Any) -> Any:
        return numpy.array([sign * statistic(counts) for statistic in statistics])

    every = scores(numpy.ones(samples))
    drawn = numpy.random.default_rng(0)
    left = []
    for _ in range(affordable(len(outcomes) * outcomes[0].outputs.numel())):
        counts = drawn.multinomial(samples, numpy.full(samples, 1 / samples)).astype(float)
        out = (counts == 0).astype(float)
        inside = scores(counts)
        if not out.any() or not numpy.isfinite(inside).any():
            continue
        chosen = int(numpy.nanargmax(inside))
        gain = sign * (statistics[chosen](out) - statistics[0](out)) if chosen else 0.0
        left += [gain] if numpy.isfinite(gain) else []
    gain = float(numpy.nanmax(every) - every[0])
    value = float(numpy.mean(left)) if left else 0.0
    low, high = (float(end) for end in numpy.quantile(left, (0.025, 0.975))) if left else (0.0, 0.0)
    low, high = sorted((sign * low, sign * high))
    return Luck(sign * gain, Measured(sign * value, low, high, samples, better), len(outcomes))


def _statistic(one: Outcome, targets: Any) -> Statistic:
    """Return what gives the headline of a model where samples count so often."""
    if found := one.task.statistic(one.outputs, targets):
        return found

    def anew(counts: Any) -> float:
        index = torch.repeat_interleave(torch.from_numpy(counts).long())
        outputs, its = take((one.outputs, targets), index)
        return float(one.task.score(outputs, its).head.value)

    return anew
