"""One trial of a sweep: a run's own training, measured on training samples that were held out, up to its report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubft import engine
from hubft.base import draws
from hubft.base.console import Console
from hubft.base.errors import DataError, HubftError, TrainingError
from hubft.base.files import marked, write_json
from hubft.base.serialize import from_dict, to_dict
from hubft.choosing.kept import read_outcome, write_outcome
from hubft.choosing.rows import Outcome
from hubft.data.split import split
from hubft.job import Job
from hubft.run import keeping
from hubft.run.data import Data
from hubft.run.fitting import fit
from hubft.run.folder import Run
from hubft.run.journal import Journal
from hubft.run.plan import settle
from hubft.tasks.metrics import Measured

SHARE = 0.2  # of the training samples: on them the trials are measured
FILE, OUTCOME = "trial.json", "outcome.safetensors"

Told = Callable[[int, Measured], None]
"""Gets each epoch's number, from 1, and headline as it is measured; what it raises ends the training."""


def unheard(epoch: int, headline: Measured) -> None:
    """Hear of the epochs of the recipe as it is, which is not given up."""


class GivenUp(Exception):
    """A trial that is not worth its other epochs; its text says why."""


@dataclass(frozen=True)
class Done:
    """What became of a trial."""

    score: Measured | None = None
    """Its headline on the samples held out, after its last epoch; None where it did not come there."""
    epochs: int = 0
    """That were done."""
    seconds: float = 0.0
    """That it took, since it was gone on with last."""
    why: str = ""
    """It did not come to its end."""
    refused: bool = False
    """Whether that is because no run can be made of its options."""
    job: Job | None = None
    """Where it came to its end: its job as it was settled, with nothing left to choose."""


class Watched(Journal):
    """The numbers of a trial; each epoch is told as it is written down. Trackers are told of the winner alone."""

    def __init__(self, run: Run, console: Console, headline: str, told: Told) -> None:
        super().__init__(run, console)
        self.headline, self.told = headline, told

    def begin(self, job: Job) -> None:
        """Start no tracker."""

    def epoch(self, line: dict[str, Any]) -> None:
        """Append an epoch's line to metrics.jsonl, and tell it."""
        super().epoch(line)
        self.told(line["epoch"], Measured(**line[self.headline]))


def apart(data: Data, seed: int) -> Data:
    """Return the data of trials: of the training samples alone, of which a part is held out to measure them on.

    :raises DataError: there are too few.
    """
    task = data.task
    stay, held = split(data.train, lambda sample: task.strata(sample.target), SHARE, seed, "sweep")
    if not held:
        raise DataError(f"of {len(data.train):,} training {data.word}s none can be held out to measure trials on")
    task = task.settled([sample.target for sample in stay])
    return replace(data, task=task, train=tuple(stay), val=tuple(held), test=())


def trained(
    job: Job,
    data: Data,
    folder: Path,
    trust: bool,
    told: Told,
    quiet: Console | None = None,
    heads: dict[object, Any] | None = None,
) -> Done:
    """Return what became of the trial of a job, begun now or gone on with; its folder keeps it (`known`).

    :param data: as `apart` gives it.
    :param quiet: shows how far it is, and says nothing.
    :param heads: that trials on this data solved before (`Prepared.heads`); what this one solves is put there.
    :raises HubftError: no run can be made of the job.
    :raises Stopped: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    began, quiet = time.perf_counter(), quiet or Console(quiet=True)
    with draws.preserved():
        prepared = engine.ready(job, data, trust, quiet.counting)
        prepared = prepared if heads is None else replace(prepared, heads=heads)
        run = Run(marked(folder))
        journal = Watched(run, quiet, prepared.data.task.headline, told)
        try:
            prepared, plan, _ = settle(prepared, run, quiet)
            with prepared.runtime.using_threads():
                prepared, (outputs, targets), *_ = fit(prepared, journal, plan, quiet)
        except (TrainingError, GivenUp) as error:
            why = error.typed() if isinstance(error, TrainingError) else str(error)
            done = Done(None, _epochs(run), time.perf_counter() - began, why)
        else:
            task = prepared.data.task
            write_outcome(folder / OUTCOME, Outcome(outputs, task))
            score = task.measure(outputs, targets).head
            done = Done(score, _epochs(run), time.perf_counter() - began, job=plan.job)
    return end(folder, done)


def attempted(job: Job, data: Data, folder: Path, trust: bool, told: Told, *shared: Any) -> Done:
    """Return what became of the trial of a job, as `trained`; also where no run can be made of it.

    :param shared: with other trials of this process, as `trained` takes it.
    :raises Stopped: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    try:
        return known(folder) or trained(job, data, folder, trust, told, *shared)
    except HubftError as error:
        return end(folder, Done(why=error.typed(), refused=True))


def end(folder: Path, done: Done) -> Done:
    """Keep what became of a trial, and nothing by which it could go on."""
    write_json(folder / FILE, to_dict(done))
    shutil.rmtree(Run(folder).checkpoints, ignore_errors=True)
    (folder / keeping.FILE).unlink(missing_ok=True)
    return done


def finished(job: Job, data: Data, trust: bool, quiet: Console | None = None) -> None:
    """Have the run of a job trained, or what is left of it."""
    if (run := Run(Path(job.output))).job_file.exists():
        engine.resume(run.folder, quiet, data)
    else:
        engine.finetune(job, quiet, data, trust=trust)


def known(folder: Path) -> Done | None:
    """Return what became of the trial of a folder, if it is over."""
    try:
        return from_dict(Done, json.loads((folder / FILE).read_text(encoding="utf-8")), "trial")
    except (OSError, ValueError):
        return None


def outcome(folder: Path) -> Outcome | None:
    """Return what its model gave for the samples held out, if it came to its end."""
    return read_outcome(folder / OUTCOME)


def _epochs(run: Run) -> int:
    history = run.history()
    return int(history[-1]["epoch"]) if history else 0
