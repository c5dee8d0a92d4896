"""`hubft sweep`, as a table of contents: the recipe as it is, trials of other options beside it, and the best of them.

Trials are measured on training samples that are held out. The validation part is used once, for the best, which is
trained on all training samples as a run of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from hubft.base.console import Console
from hubft.base.errors import HubftError, Stopped
from hubft.base.files import marked, read_json, write_json, writing
from hubft.choosing import luck, swept, trial
from hubft.choosing.asked import AGAIN, TRIALS, Budget, over, place, where
from hubft.choosing.kept import found, options
from hubft.choosing.space import Space, put
from hubft.choosing.swept import RECIPE, TABLE, Row, Swept
from hubft.choosing.trial import Done, GivenUp, Told
from hubft.job import Job
from hubft.run import typed
from hubft.run.data import Data, read
from hubft.run.folder import RESULTS_FILE, Run
from hubft.tasks import metrics
from hubft.tasks.metrics import Measured

if TYPE_CHECKING:
    from hubft.choosing.cluster import Cluster
    from hubft.choosing.study import Study, Taken

BEST = "best"  # folder of the runs of what won


def sweep(
    job: Job,
    texts: Sequence[str],
    trials: int = TRIALS,
    console: Console | None = None,
    data: Data | None = None,
    *,
    on: str = "",
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
    :param on: ray, where trials run in processes of a Ray cluster; empty is this process.
    :raises HubftError: bad input; a recipe that cannot be trained as it is.
    :raises Stopped: SIGTERM or Ctrl-C; the next call goes on.
    """
    space = over(texts, trials, job)
    where(on, job)
    console = console or Console(quiet=True)
    its = Sweep(job, space, data or read(job, counting=console.counting), trust, console)
    with writing(its.folder, "make room, or name another --output, and type it again"):
        if not on:
            return its.run(trials)
        from hubft.choosing import cluster  # not at the top: it is an extra

        with cluster.joined(its.folder, job) as ray:
            return its.run(trials, ray)


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

    def run(self, trials: int, ray: Cluster | None = None) -> Swept:
        """Go through the trials; return what they came to, when the best was trained or others are still at it.

        :param ray: where the trials run, if not here.
        """
        from hubft.choosing.study import joined  # not at the top: it is an extra

        recipe = self._recipe(ray)
        assert recipe.score
        settled = self._settled(recipe)
        with joined(self.folder, self.space, self.base.recipe.seed, recipe.score.better) as study:
            with self.console.counting("trials", trials) as count:
                for _ in range(len(study.seen())):
                    count()
                if ray:
                    ray.go(self, study, settled, trials, count)
                while not ray and (taken := self.next(study, trials)):
                    try:
                        self._once(study, taken, settled)
                    finally:
                        taken.lock.release()
                    count()
            with study.lock:
                made = self._written(study, recipe)
            if others := study.elsewhere():
                self.console.say(f"waits    {others} trials are at other processes: the last of them trains the best")
                return made
        with FileLock(self.folder / "best.lock"):
            return self._best(made, ray)

    def _recipe(self, ray: Cluster | None) -> Done:
        """Return what became of the recipe as it is, trained now or before."""
        if self.new:
            write_json(marked(self.folder) / TABLE, {"asked": self.asked})
        own, base = marked(self.folder / RECIPE), replace(self.base, compute=ray.compute) if ray else self.base
        try:
            with FileLock(own / "lock"):  # another process may be at it
                its = (self.held, own, self.trust, trial.unheard, *self._here(ray))
                done = trial.known(own) or _called(ray, trial.trained, base, *its)
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

    def next(self, study: Study, trials: int) -> Taken | None:
        """Return the trial that is to be trained next; None where there are as many as that, or no time is left."""
        taken = None if self.budget.spent and study.seen() else study.take(trials)
        if taken and taken.resumed:
            self.console.say(f"trial {taken.number:<3}goes on: a process left it")
        return taken

    def watch(self, study: Study, taken: Taken, epochs: int) -> Told:
        """Return what hears of each epoch of a trial: it gives up what is behind, or what there is no time for."""
        watched = study.watch(taken, epochs)

        def told(epoch: int, headline: Measured) -> None:
            watched(epoch, headline)
            if self.budget.spent and any(one.state == "complete" for one in study.seen()):
                raise GivenUp(f"the budget was spent after epoch {epoch}")

        return told

    def over(self, study: Study, taken: Taken, done: Done) -> None:
        """Write down what became of a trial."""
        study.tell(taken, done)
        values = ", ".join(f"{axis.name} {axis.text(taken.point[axis.name])}" for axis in self.space)
        self.console.say(f"trial {taken.number:<3}{values}: {self._reached(done)}")

    def _once(self, study: Study, taken: Taken, settled: Job) -> None:
        """Have a trial trained, or what is left of it, and write down what became of it."""
        job, own = put(self.space, settled, taken.point), study.place(taken.number)
        told = self.watch(study, taken, job.recipe.epochs)
        try:
            self.over(study, taken, trial.attempted(job, self.held, own, self.trust, told, *self._here(None)))
        except Stopped as stopped:
            raise Stopped(stopped.signal, str(self.folder), AGAIN) from stopped

    def _settled(self, recipe: Done) -> Job:
        """Return the job with what the recipe as it is has settled: no trial looks for that again."""
        its = recipe.job or self.base
        return replace(self.base, compute=its.compute, recipe=replace(self.base.recipe, augment=its.recipe.augment))

    def _here(self, ray: Cluster | None) -> tuple[Console | None, dict[object, Any] | None]:
        """Return the console and the heads that trials share in this process; those of a cluster share none."""
        return (None, None) if ray else (self.console.hushed(), self.heads)

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

    def _best(self, made: Swept, ray: Cluster | None) -> Swept:
        """Have the best trained on all training samples, and measured on the validation part."""
        best = made.best
        run = Run(self.folder / BEST / best.name)
        self.console.say(f"best     {best.title}: it is trained on all training {self.data.word}s now")
        try:
            if not run.package.exists():
                job, (quiet, _) = replace(self._won(best), output=str(run.folder)), self._here(ray)
                _called(ray, trial.finished, job, self.data, self.trust, quiet)
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


def _called(ray: Cluster | None, function: Callable[..., Any], job: Job, *given: Any) -> Any:
    """Return what a function of a job returns, called in a process of the cluster if there is one."""
    return ray.call(job.compute, function, job, *given) if ray else function(job, *given)


__all__ = ["Swept", "sweep"]
