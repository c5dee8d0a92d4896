"""`hubft sweep`, as a table of contents: the recipe as it is, trials of other options beside it, and the best of them.

Trials are measured on training samples that are held out. The validation part is used once, for the best, which is
trained on all training samples as a run of its own.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from hubft import engine
from hubft.base.console import Console
from hubft.base.errors import HubftError, Stopped
from hubft.base.files import marked, read_json, write_json, writing
from hubft.base.serialize import to_dict
from hubft.choosing import luck, swept, trial
from hubft.choosing.asked import TRIALS, over, place
from hubft.choosing.kept import found, options
from hubft.choosing.space import Space, put
from hubft.choosing.swept import RECIPE, TABLE, Row, Swept
from hubft.choosing.trial import Done, GivenUp
from hubft.job import Job
from hubft.run import typed
from hubft.run.data import Data, read
from hubft.run.folder import RESULTS_FILE, Run
from hubft.tasks import metrics
from hubft.tasks.metrics import Measured

if TYPE_CHECKING:
    from hubft.choosing.study import Study, Taken

AGAIN = "type the same line again, with --output of this sweep: what was done is kept"
BEST = "best"  # folder of the runs of what won


def sweep(
    job: Job,
    texts: Sequence[str],
    trials: int = TRIALS,
    console: Console | None = None,
    data: Data | None = None,
    *,
    trust: bool = False,
) -> Swept:
    """Return what trials of other options came to, the best of them measured on the validation part.

    What an earlier call with the same folder, data and options did is kept. Several processes may go through one
    folder; the last of them trains the best.

    :param job: of the trials, but for these options. Its budget is that of all trials of this call: none begins after
        it, and the one that is under way is given up, but for the first. Its output is the folder.
    :param texts: as `--over` takes them.
    :param trials: how many there are to be in the end, those of other calls counted.
    :param data: of the job, where it was read already.
    :raises HubftError: bad input; a recipe that cannot be trained as it is.
    :raises Stopped: SIGTERM or Ctrl-C; the next call goes on.
    """
    space = over(texts, trials, job)
    console = console or Console(quiet=True)
    its = Sweep(job, space, data or read(job, counting=console.counting), trust, console)
    with writing(its.folder, "make room, or name another --output, and type it again"):
        return its.run(trials)


@dataclass(frozen=True)
class Budget:
    """The time for trials."""

    until: float
    """On the clock of `perf_counter`; infinite where there is no budget."""

    @classmethod
    def of(cls, job: Job) -> Budget:
        return cls(time.perf_counter() + job.recipe.seconds if job.recipe.budget else float("inf"))

    @property
    def spent(self) -> bool:
        return time.perf_counter() >= self.until


class Sweep:
    """A sweep that goes on from what its folder holds."""

    def __init__(self, job: Job, space: Space, data: Data, trust: bool, console: Console) -> None:
        """:raises JobError: the folder holds something else.
        :raises DataError: there are too few training samples to hold some out."""
        self.folder, self.budget = place("sweep", job, job.output), Budget.of(job)
        self.base = replace(job, output="", recipe=replace(job.recipe, budget=""))
        self.space, self.data, self.trust, self.console = space, data, trust, console
        self.held, self.heads = trial.apart(data, job.recipe.seed), dict[object, Any]()
        its = {axis.name: axis.plain() for axis in space}
        asked = {"reference": job.reference, "data": data.fingerprint(), "options": options(job), "over": its}
        self.asked = json.loads(json.dumps(asked))
        self.new = found(self.folder, TABLE, "sweep", self.asked) is None

    def run(self, trials: int) -> Swept:
        """Go through the trials; return what they came to, when the best was trained or others are still at it."""
        from hubft.choosing.study import joined  # not at the top: it is an extra

        recipe = self._recipe()
        assert recipe.score
        with joined(self.folder, self.space, self.base.recipe.seed, recipe.score.better) as study:
            with self.console.counting("trials", trials) as count:
                for _ in range(len(study.seen())):
                    count()
                while not (self.budget.spent and study.seen()) and (taken := study.take(trials)):
                    try:
                        self._once(study, taken, recipe)
                    finally:
                        taken.lock.release()
                    count()
            with study.lock:
                made = self._written(study, recipe)
            if others := study.elsewhere():
                self.console.say(f"waits    {others} trials are at other processes: the last of them trains the best")
                return made
        with FileLock(self.folder / "best.lock"):
            return self._best(made)

    def _recipe(self) -> Done:
        """Return what became of the recipe as it is, trained now or before."""
        if self.new:
            write_json(marked(self.folder) / TABLE, {"asked": self.asked})
        own = marked(self.folder / RECIPE)
        try:
            with FileLock(own / "lock"):  # another process may be at it
                done = trial.known(own) or self._trained(self.base, own, lambda *_: None)
            if done.score is None:
                raise HubftError(f"the recipe as it is cannot be trained, so nothing compares with it: {done.why}")
        except Stopped as stopped:
            raise Stopped(stopped.signal, str(self.folder), AGAIN) from stopped
        except HubftError:
            if self.new:  # nothing that could go on
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.console.say(f"recipe   as it is: {self._reached(done)}")
        return done

    def _once(self, study: Study, taken: Taken, recipe: Done) -> None:
        """Have a trial trained, or what is left of it, and write down what became of it."""
        job, own = put(self.space, self._settled(recipe), taken.point), study.place(taken.number)
        watched, spoken = study.watch(taken, job.recipe.epochs), f"trial {taken.number:<3}"

        def told(epoch: int, headline: Measured) -> None:
            watched(epoch, headline)
            if self.budget.spent and any(one.state == "complete" for one in study.seen()):
                raise GivenUp(f"the budget was spent after epoch {epoch}")

        if taken.resumed:
            self.console.say(f"{spoken}goes on: a process left it")
        try:
            done = trial.known(own) or self._trained(job, own, told)
        except Stopped as stopped:
            raise Stopped(stopped.signal, str(self.folder), AGAIN) from stopped
        except HubftError as error:
            done = Done(why=error.typed(), refused=True)
            write_json(own / trial.FILE, to_dict(done))
        study.tell(taken, done)
        values = ", ".join(f"{axis.name} {axis.text(taken.point[axis.name])}" for axis in self.space)
        self.console.say(f"{spoken}{values}: {self._reached(done)}")

    def _settled(self, recipe: Done) -> Job:
        """Return the job with what the recipe as it is has settled: no trial looks for that again."""
        its = recipe.job or self.base
        return replace(self.base, compute=its.compute, recipe=replace(self.base.recipe, augment=its.recipe.augment))

    def _trained(self, job: Job, own: Path, told: trial.Told) -> Done:
        return trial.trained(job, self.held, own, self.trust, told, self.heads, self.console.hushed())

    def _reached(self, done: Done) -> str:
        if done.score is None:
            return done.why
        return f"{metrics.title(self.data.task.headline)} {done.score}, {done.epochs} epochs in {done.seconds:.1f} s"

    def _written(self, study: Study, recipe: Done) -> Swept:
        """Return what is known now; table and page are written."""
        rows = [Row(None, {}, "complete", recipe)]
        for one in study.seen():
            point = {axis.name: axis.text(one.point[axis.name]) for axis in self.space if axis.name in one.point}
            rows.append(Row(one.number, point, one.state, trial.known(study.place(one.number)) or Done()))
        ended = [row for row in rows if row.done.score]
        places = [self.folder / RECIPE if row.number is None else study.place(row.number) for row in ended]
        outcomes = [gave for own in places if (gave := trial.outcome(own))]
        targets = self.held.task.collate([sample.target for sample in self.held.val])
        best = swept.ordered(ended)[0]
        job = self._won(best)
        made = Swept(
            tuple(swept.ordered(rows)), study.importance(), luck.judged(outcomes, targets), self._facts(), self.space,
            self.asked, self.folder, typed.finetune(job, self.trust),
        )  # fmt: skip
        swept.write(made)
        return made

    def _won(self, best: Row) -> Job:
        job = self.base
        for axis in self.space if best.number is not None else ():
            job = axis.put(job, axis.meant(best.options[axis.name]))
        return job

    def _best(self, made: Swept) -> Swept:
        """Have the best trained on all training samples, and measured on the validation part."""
        best, quiet = made.best, self.console.hushed()
        run = Run(self.folder / BEST / best.name)
        self.console.say(f"best     {best.title}: it is trained on all training {self.data.word}s now")
        try:
            if not run.package.exists():
                if run.job_file.exists():
                    engine.resume(run.folder, quiet, self.data)
                else:
                    job = replace(self._won(best), output=str(run.folder))
                    engine.finetune(job, quiet, self.data, trust=self.trust)
        except Stopped as stopped:
            raise Stopped(stopped.signal, str(self.folder), AGAIN) from stopped
        results = read_json(run.report / RESULTS_FILE)
        made = replace(made, package=run.package, validation=metrics.read(results["metrics"]))
        swept.write(made)
        return made

    def _facts(self) -> dict[str, Any]:
        held = self.held
        return {
            "reference": self.base.reference,
            "data": str(self.base.data),
            "headline": held.task.headline,
            "held out": len(held.val),
            "trained on": len(held.train),
            "word": held.word,
            "sampler": "TPE of Optuna, seeded by the number of the trial",
            "pruner": "median of the trials that came to their end",
            "correction": "bootstrap bias correction, Tsamardinos et al. 2018",
        }


__all__ = ["Swept", "sweep"]
