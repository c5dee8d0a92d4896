"""`hubft lr-find`: a learning rate range test by the loop of a run, beside what the recipe chooses itself.

Smith 2017, https://arxiv.org/abs/1506.01186: the rate grows by equal factors from step to step until the loss runs
away. Everything else is as in the run that was asked for: its model, its head solved first, its batches, augmentation,
optimizer, and stages that learn at rates of their own; of rules that thaw later in the run, none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from hubft import engine
from hubft.base import bounds, draws
from hubft.base.console import Console
from hubft.base.errors import HubftError, JobError, Option
from hubft.job import Job
from hubft.rules import parse
from hubft.run import teaching
from hubft.run.data import Data
from hubft.run.folder import Run
from hubft.run.phases import phases
from hubft.run.plan import settle
from hubft.run.prepare import Prepared
from hubft.train import loader, loop, schedule

LEAST, MOST = 1e-7, 10.0  # rates of the first and of the last step
STEPS = 100
SMOOTHING = 0.9  # of the moving average of the loss: about ten steps, a decade less than one of rates
WARM = 10  # steps until that is an average of so many
AWAY = 4.0  # times the least smoothed loss, from which on it has run away
FLOOR = 0.05  # of what knowing nothing costs: a loss below that does not run away by a batch that is harder
DEVIATION = 1.4826  # standard deviations in a median of absolute ones, of normal noise
SHARE = 0.1  # of the largest rate that does no harm: what is suggested


@dataclass(frozen=True)
class Curve:
    """What a range test has shown."""

    rates: tuple[float, ...]
    """Of the head, a step each."""
    losses: tuple[float, ...]
    """Of the batch of each step, before it was done."""
    default: float
    """What the recipe chooses for this job."""
    ran_away: bool = False
    """Whether the loss ended the test."""

    @property
    def smoothed(self) -> list[float]:
        return list(smoothed(self.losses))

    @property
    def edge(self) -> float:
        """The largest rate at which the smoothed loss was no worse than its least, by two standard errors.

        What the average is of few steps is left out: it may be low by chance.
        """
        means, first = self.smoothed, min(WARM, len(self.losses) // 2)
        # the median: where the loss runs away, it is far from its average, and that is no noise
        apart = DEVIATION * median(abs(loss - mean) for loss, mean in zip(self.losses, means, strict=True))
        error = apart * math.sqrt((1 - SMOOTHING) / (1 + SMOOTHING))  # as of a mean of (1 + b) / (1 - b) values
        bound = min(means[first:]) + 2 * error
        return max(rate for rate, mean in zip(self.rates[first:], means[first:], strict=True) if mean <= bound)

    @property
    def suggestion(self) -> float:
        """A peak for a schedule that warms up and falls: a tenth of `edge`.

        Not where the loss falls most steeply, as is usual for a head that is drawn: from a head that was solved the
        loss hardly falls, and its slope is the noise of the batches. Where it begins to rise is seen all the same.
        """
        return float(f"{SHARE * self.edge:.2g}")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "suggestion": self.suggestion,
            "default": self.default,
            "edge": self.edge,
            "ran_away": self.ran_away,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": self.smoothed,
        }


def smoothed(losses: Sequence[float]) -> Iterator[float]:
    """Yield the moving average of the losses so far, which forgets its start (Kingma and Ba 2015, section 3)."""
    total = 0.0
    for number, loss in enumerate(losses, 1):
        total = SMOOTHING * total + (1 - SMOOTHING) * loss
        yield total / (1 - SMOOTHING**number)


def find(
    job: Job, console: Console | None = None, data: Data | None = None, *, steps: int = STEPS, trust: bool = False
) -> Curve:
    """Return the curve of a range test for the run of a job; nothing of it is kept.

    :param data: of the job, where it was read already.
    :param steps: of the test, at most.
    :raises HubftError: bad input; a job that trains nothing.
    """
    bounds.check_bounds("steps", steps, 10, 10_000)
    bounds.check(not job.recipe.lr, "lr", job.recipe.lr, "left out: it is what is looked for")
    if job.soup or not job.recipe.epochs:
        raise JobError("lr-find: a run of no epochs, or of a soup, has no rate to look for: leave out ",
                       Option("soup" if job.soup else "epochs"))  # fmt: skip
    console = console or Console(quiet=True)
    with draws.preserved(), TemporaryDirectory() as folder:
        prepared, *_ = settle(engine.ready(job, data, trust, console.counting), Run(Path(folder)), console)
        with prepared.runtime.using_threads():
            return _tested(prepared, steps, console)


def _tested(prepared: Prepared, steps: int, console: Console) -> Curve:
    default = prepared.job.recipe.lr
    prepared = _under_test(prepared, steps)
    recipe, task = prepared.job.recipe, prepared.data.task
    state = loop.start(prepared.loaded, recipe, prepared.runtime, task, teaching.lessons(prepared))
    seen = teaching.inputs(prepared, phases(prepared)[0], 0, console)
    rising = schedule.rising(LEAST / MOST, steps)
    rates, losses, away = list[float](), list[float](), False
    done = loop.fit(prepared.pm, state, recipe, seen.batches, prepared.runtime, seen.feed, rising)
    for step in console.counted(done, steps, "steps"):
        loss = float(step.loss)
        away = not math.isfinite(loss)
        if not away:
            rates.append(step.lr)
            losses.append(loss)
            means = list(smoothed(losses))
            away = means[-1] > AWAY * max(min(means), FLOOR * task.ignorance)
        if away or step.number == steps:
            break
    if len(losses) < 2:
        raise HubftError(
            f"lr-find: the loss is no number at a rate of {LEAST:g} already: look at the data and the model"
        )
    return Curve(tuple(rates), tuple(losses), default, away)


def _under_test(prepared: Prepared, steps: int) -> Prepared:
    """Return what was prepared, with a recipe that has as many steps, and trains what the run trains at its start."""
    recipe = prepared.job.recipe
    rules = [text.strip() for text in recipe.train.split(",")]
    early = [text for text, rule in zip(rules, parse(recipe.train), strict=True) if not rule.start]
    per_epoch = loader.steps_per_epoch(len(prepared.data.train), recipe.batch_size)
    recipe = replace(
        recipe, lr=MOST, train=",".join(early) or "head", epochs=math.ceil(steps / per_epoch), averaging=0.0
    )
    return replace(prepared, job=replace(prepared.job, recipe=recipe), training=prepared.training.under(recipe))
