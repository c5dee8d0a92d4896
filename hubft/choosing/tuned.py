"""The trials of a sweep under Ray Tune: which is next, which is given up, and what a process of the cluster does.

Ray Tune starts the processes, and starts a trial again whose process died. It decides nothing: each next point is
asked of the sweep's own study (`Points`), which hears of each epoch and gives up what is behind (`Judge`); what a trial
leaves in its folder is what it leaves without Ray. So table, page, and how a sweep goes on are the same, and no second
copy of them is kept. Only the process where the line was typed opens the study; the others see the folder and the data.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.search import Searcher

from hubft.base.errors import HubftError
from hubft.choosing import trial
from hubft.choosing.space import Space, put
from hubft.choosing.trial import Done, GivenUp, Told
from hubft.job import Job
from hubft.run.data import Data
from hubft.run.folder import StopRequest
from hubft.tasks.metrics import Measured

if TYPE_CHECKING:
    from hubft.choosing.study import Study, Taken
    from hubft.choosing.sweep import Sweep

AGAINS = 2  # how often a trial is begun again whose process died


@dataclass
class Task:
    """A trial that a process of the cluster is at."""

    taken: Taken
    folder: Path
    watched: Told
    why: str = ""
    """It was given up."""


class Points(Searcher):  # type: ignore[misc]
    """What Ray Tune asks for the next trial, and tells of each that is over."""

    def __init__(
        self, sweep: Sweep, study: Study, base: Job, trials: int, count: Callable[[], object], request: StopRequest
    ) -> None:
        super().__init__()
        self.sweep, self.study, self.base, self.trials, self.count = sweep, study, base, trials, count
        self.request, self.at = request, dict[str, Task]()
        self.broken: Exception | None = None
        """What ended a trial, after which none is begun."""

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial, as `tried` takes it; or that there is none."""
        if self.broken or self.request.signal or not (taken := self.sweep.next(self.study, self.trials)):
            return Searcher.FINISHED
        job, folder = put(self.sweep.space, self.base, taken.point), self.study.place(taken.number).resolve()
        self.at[trial_id] = Task(taken, folder, self.sweep.watch(self.study, taken, job.recipe.epochs))
        return {"number": taken.number, "point": dict(taken.point), "folder": str(folder)}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Write down what became of a trial."""
        if self.request.signal:  # all are stopped: the next call goes on
            return
        task = self.at.pop(trial_id)
        if task.why and trial.known(task.folder) is None:  # its process was ended before it wrote this
            seconds = (result or {}).get("time_total_s", 0.0)
            trial.end(task.folder, Done(None, (result or {}).get("epoch", 0), seconds, task.why))
        done = trial.known(task.folder)
        if done is None:
            its = f"the process of trial {task.taken.number} died {AGAINS + 1} times: see the logs of Ray"
            died = HubftError(f"{its}, or whether all nodes see {self.study.folder}; then type the same line again")
            fault = (result or {}).get("fault", "")
            self.broken = RuntimeError(f"in the process of trial {task.taken.number}:\n{fault}") if fault else died
        else:
            self.sweep.over(self.study, task.taken, done)
            self.count()
        task.taken.lock.release()

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Keep nothing: the study does."""


class Judge(tune.Stopper):  # type: ignore[misc]
    """What Ray Tune asks after each epoch: whether that was the last."""

    def __init__(self, points: Points) -> None:
        self.points = points

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray Tune keeps it while it is at it, and goes on from it never."""
        return {}

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Tell whether a trial is given up."""
        task = self.points.at.get(trial_id)
        if task is None or "headline" not in result:
            return False
        try:
            task.watched(result["epoch"], Measured(**result["headline"]))
        except GivenUp as error:
            task.why = str(error)
        return bool(task.why)

    def stop_all(self) -> bool:
        """Tell whether all end now."""
        return self.points.request.signal is not None


def tried(config: Mapping[str, Any], base: Job, space: Space, held: Data, trust: bool, here: str) -> None:
    """Have a trial trained, or what is left of it, in a process of the cluster."""
    os.chdir(here)  # paths of the data may be relative

    def told(epoch: int, headline: Measured) -> None:
        tune.report({"epoch": epoch, "headline": asdict(headline)})  # does not return where it is given up

    try:
        trial.attempted(put(space, base, config["point"]), held, Path(config["folder"]), trust, told)
    except Exception:  # of hubft or of a library: to train it again would not help
        tune.report({"fault": traceback.format_exc()})


def by_number(its: Any) -> str:
    """Return the name of what Ray Tune calls a trial."""
    return f"{its.config['number']:04d}"
