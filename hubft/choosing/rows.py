"""What is known of backbones: a row each, and how they stand to the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from hubft.deploy.latency import Latency
from hubft.tasks.metrics import Measured
from hubft.tasks.paired import chance, difference, holm
from hubft.tasks.task import Task

LEVEL = 0.05  # of a corrected p-value, below which a backbone is behind by more than chance


@dataclass(frozen=True)
class Standing:
    """A score on the validation samples, and how it stands to the best of those it is compared with."""

    score: Measured
    difference: Measured | None = None
    """To the best, on the same samples, with a 95 % interval (`paired.difference`); None for the best itself."""
    chance: float | None = None
    """The p-value of that difference, corrected for as many comparisons as there are (`paired.holm`)."""
    behind: bool = False
    """Whether it is behind the best by more than chance."""


@dataclass(frozen=True)
class Tuned:
    """A fine-tune in a round of the bandit."""

    round: int
    """From 1 on."""
    budget: float
    """Seconds that it had."""
    seconds: float = 0.0
    """That it took, its report and its package included."""
    epochs: int = 0
    whole: bool = False
    """Whether it did all the epochs of the recipe, on all samples: a longer one would do the same."""
    package: str = ""
    stands: Standing | None = None
    """To the best of its round."""
    failure: str = ""


@dataclass(frozen=True)
class Row:
    """A backbone as it was measured."""

    reference: str
    parameters: int = 0
    """Its new head counted."""
    features: float | None = None
    """Seconds to compute the features of all samples; None where some of them were in the cache already."""
    latency: Latency | None = None
    """Of one sample."""
    probe: Standing | None = None
    unprobed: str = ""
    """Why there is no probe."""
    rounds: tuple[Tuned, ...] = ()
    failure: str = ""
    """Why it could not be had at all."""

    @property
    def stands(self) -> Standing | None:
        """How it stands by what was found out last: its longest fine-tune, or its probe."""
        return next((one.stands for one in reversed(self.rounds) if one.stands), self.probe)

    @property
    def reason(self) -> str:
        """Why something of it is missing, in a phrase; nothing where all is there."""
        last = self.rounds[-1] if self.rounds else None
        tuned = f"its fine-tune: {last.failure}" if last and last.failure else ""
        probed = f"no probe: {self.unprobed}" if self.unprobed else ""
        return self.failure or "; ".join(filter(None, (probed, tuned)))


@dataclass(frozen=True)
class Outcome:
    """What a model gave for the validation samples."""

    outputs: Tensor
    """float32 `[n, outputs]`, on the CPU."""
    task: Task
    """By which they are read: its units are the model's own."""


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Return the rows from the best down: whoever came further in the bandit first, then by score."""

    def place(row: Row) -> tuple[int, float]:
        reached = [one.round for one in row.rounds if one.stands]
        return (max(reached, default=0), worth(row.stands.score) if row.stands else float("-inf"))

    return sorted(rows, key=place, reverse=True)


def worth(score: Measured) -> float:
    """Return a score as a number of which more is better."""
    value = score.value if score.better == "higher" else -score.value
    return value if value == value else float("-inf")  # NaN is no score


def standing(scores: Mapping[str, Measured], outcomes: Mapping[str, Outcome], targets: Any) -> dict[str, Standing]:
    """Return how models stand to the best of them, on the same samples.

    :param scores: of each, by name.
    :param outcomes: of each.
    :param targets: of the samples, as the task collates them.
    """
    best, *others = sorted(scores, key=lambda name: worth(scores[name]), reverse=True)
    its, found = outcomes[best], {best: Standing(scores[best])}
    chances = []
    for name in others:
        one = outcomes[name]
        what = (one.task, one.outputs, its.outputs, targets, its.task)
        found[name] = Standing(scores[name], difference(*what))
        chances.append(chance(*what))
    for name, corrected in zip(others, holm(chances), strict=True):
        found[name] = replace(found[name], chance=corrected, behind=corrected < LEVEL)
    return found
