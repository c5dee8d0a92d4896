"""A budget of time spent on the backbones that promise most: successive halving.

Jamieson and Talwalkar 2016 (https://arxiv.org/abs/1502.07943), the inner loop of Hyperband (Li et al. 2018,
https://arxiv.org/abs/1603.06560): every round has the same time, shared evenly among those that are left, and the
better half goes on. Three things are of our own. The probes are a round before the first, which costs the budget
nothing: the better half of them is fine-tuned, at least two, and beside it those that have no probe. As many of them
begin as have time for about an epoch each: less than that says again what the probe said. And a longer fine-tune begins
anew, as its learning rate falls over the whole of it: what the shorter one learned is not built on.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hubft import engine
from hubft.base.console import Console
from hubft.base.display import listed
from hubft.base.errors import Diverged, HubftError, Stopped
from hubft.choosing.kept import Kept
from hubft.choosing.rows import Outcome, Row, Standing, Tuned, standing, worth
from hubft.deploy.export.samples import Samples
from hubft.job import Job
from hubft.report import outcomes
from hubft.run.data import Data
from hubft.run.folder import Run
from hubft.share import load
from hubft.tasks.metrics import Measured

FEWEST = 2  # that are fine-tuned, if there are as many
PASSES = 5
"""What a fine-tune of one epoch takes, in passes forward over all samples, of which features take one: backward is two
more, and the rest of a run, as the package that is proved, took 1.4 to 2.5 (five backbones at 128 pixels, a CPU)."""
RUNS = "runs"  # in the folder of the rank
AGAIN = "type the same line again, with --output of this rank: what was done is kept"


def planned(rows: Sequence[Row], seconds: float) -> tuple[list[str], list[tuple[int, float]]]:
    """Return the backbones that are fine-tuned, and of each round how many of them, and for how many seconds each.

    They are the most that have time for an epoch each; none, where the time is too short to compare two.
    """
    for arms in fields(rows):
        if needed(arms) <= seconds:
            return [row.reference for row in arms], rounds(len(arms), seconds)
    return [], []


def fields(rows: Sequence[Row]) -> list[list[Row]]:
    """Return which backbones may begin, from the most to the fewest: the better half by their probes, or less of it;
    and always those that have no probe."""
    probed = sorted((row for row in rows if row.probe), key=lambda row: worth(row.probe.score), reverse=True)  # type: ignore[union-attr]
    unprobed = [row for row in rows if not row.probe]
    half = min(len(probed), max(FEWEST, math.ceil(len(probed) / 2)))
    every = [[*probed[:number], *unprobed] for number in range(half, min(half, 1) - 1, -1)]
    return [arms for arms in every if len(arms) >= min(FEWEST, len(rows))]


def needed(arms: Sequence[Row]) -> float:
    """Return about how many seconds give each of these an epoch in the first round; 0 where nobody knows."""
    return len(rounds(len(arms), 0.0)) * len(arms) * max(PASSES * (row.features or 0.0) for row in arms)


def rounds(arms: int, seconds: float) -> list[tuple[int, float]]:
    """Return of each round how many are fine-tuned, and for how many seconds each."""
    number = max(1, math.ceil(math.log2(arms)))
    sizes = [math.ceil(arms / 2**place) for place in range(number)]
    return [(size, seconds / number / size) for size in sizes]


class Halving:
    """The rounds of a rank, one after the other; what was kept of them is not done again."""

    def __init__(
        self, kept: Kept, job: Job, data_of: Callable[[Job], Data], targets: Any, trust: bool, console: Console
    ) -> None:
        """:param job: of the fine-tunes, whatever its reference.
        :param data_of: reads the data of a job.
        :param targets: of the validation samples, as the task collates them.
        """
        self.kept, self.job, self.data_of, self.targets = kept, job, data_of, targets
        self.trust, self.console = trust, console

    def run(self, references: Sequence[str], seconds: float) -> None:
        """Spend so many seconds on these backbones, whose rows are kept."""
        rows = [self.kept.rows[reference] for reference in references]
        left, its = planned(rows, seconds)
        self._forget({(number, each) for number, (_, each) in enumerate(its, 1)})
        if not left:
            arms = fields(rows)[-1]
            why = f"{seconds:.0f} s are too few to fine-tune {listed([row.reference for row in arms])} for an epoch"
            self.console.say(f"note: {why}: ranked by the probes; --budget {math.ceil(needed(arms))}s has time for it")
        for number, (size, each) in enumerate(its, 1):
            left = left[:size]
            self.console.say(f"round {number}  {len(left)} fine-tuned, {each:.1f} s each")
            for reference in self.console.counted(left, len(left), "fine-tuned"):
                self._once(reference, number, each)
            left = self._judged(left, number)

    def _forget(self, planned: set[tuple[int, float]]) -> None:
        """Leave out of the rows what was fine-tuned for another budget."""
        for row in list(self.kept.rows.values()):
            same = tuple(one for one in row.rounds if (one.round, one.budget) in planned)
            if same != row.rounds:
                self.kept.put(replace(row, rounds=same))

    def _once(self, reference: str, number: int, seconds: float) -> None:
        """Have a backbone fine-tuned in this round, where it was not yet."""
        row = self.kept.rows[reference]
        there = next((one for one in row.rounds if (one.round, one.budget) == (number, seconds)), None)
        if there and (there.failure or self.kept.outcome(reference, _stage(number))):
            return
        before = [one for one in row.rounds if one.round < number]
        if before and before[-1].whole and (outcome := self.kept.outcome(reference, _stage(number - 1))):
            self.kept.put_outcome(reference, _stage(number), outcome)
            done = replace(before[-1], round=number, budget=seconds, seconds=0.0)
        else:
            done = self._tuned(reference, number, seconds)
        self.kept.put(replace(row, rounds=(*before, done)))
        said = f"{done.stands.score}, {done.epochs} epochs in {done.seconds:.1f} s" if done.stands else done.failure
        self.console.say(f"tuned    {reference}: {said}")

    def _tuned(self, reference: str, number: int, seconds: float) -> Tuned:
        """Return the fine-tune of a backbone, trained now or gone on with; what it gave is kept."""
        folder = self.kept.folder / RUNS / f"{re.sub(r'[^A-Za-z0-9.]+', '-', reference)}-{seconds:.3f}s"
        recipe = replace(self.job.recipe, budget=f"{seconds:.3f}s")
        job = replace(self.job, reference=reference, recipe=recipe, output=str(folder))
        began, run, quiet = time.perf_counter(), Run(folder), self.console.hushed()
        try:
            data = self.data_of(job)
            if not run.package.exists():
                if run.job_file.exists():
                    engine.resume(folder, quiet, data)
                else:
                    engine.finetune(job, quiet, data, trust=self.trust)
            score = self._asked(reference, number, run, data)
        except Stopped as stopped:
            raise Stopped(stopped.signal, str(folder), AGAIN) from stopped
        except (HubftError, Diverged) as error:
            return Tuned(number, seconds, time.perf_counter() - began, failure=error.typed())
        plan = json.loads(run.plan_file.read_text(encoding="utf-8"))
        epochs = int(plan["job"]["recipe"]["epochs"])
        whole = epochs == self.job.recipe.epochs and not plan["rows"]
        took = time.perf_counter() - began
        return Tuned(number, seconds, took, epochs, whole, str(run.package), Standing(score))

    def _asked(self, reference: str, number: int, run: Run, data: Data) -> Measured:
        """Return what the package of a run reaches on the validation samples, and keep what it gives for them."""
        if known := outcomes.read(run.report):
            task, outputs, targets = known.task, known.outputs, known.targets
        else:  # they were too large to be kept
            opened = load.opened(load.package(str(run.package)), trust=True)  # the user named its base
            task = opened.manifest.task
            outputs, targets = Samples(opened.manifest, data).told(opened)
        self.kept.put_outcome(reference, _stage(number), Outcome(outputs, task))
        return task.measure(outputs, targets).head

    def _judged(self, references: Sequence[str], number: int) -> list[str]:
        """Have the rows say how the fine-tunes of a round stand; return the backbones from the best down."""
        last = {reference: self.kept.rows[reference].rounds[-1] for reference in references}
        scores = {reference: one.stands.score for reference, one in last.items() if one.stands}
        outcomes = {one: found for one in scores if (found := self.kept.outcome(one, _stage(number)))}
        stands = standing(scores, outcomes, self.targets) if scores else {}
        for reference, its in stands.items():
            row = self.kept.rows[reference]
            self.kept.put(replace(row, rounds=(*row.rounds[:-1], replace(last[reference], stands=its))))
        return sorted(scores, key=lambda one: worth(scores[one]), reverse=True)


def _stage(number: int) -> str:
    return f"round-{number}"
