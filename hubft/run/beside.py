"""What stands beside a model that had a teacher: the teacher, and the same model without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hubft.base.console import Console
from hubft.base.errors import Diverged, Stopped
from hubft.job import Job, Teaching
from hubft.run import training
from hubft.run.folder import Run
from hubft.run.prepare import Prepared
from hubft.run.training import Outcome
from hubft.tasks.metrics import Measured, Metrics, number, title
from hubft.tasks.paired import difference

WITHOUT = "without"  # the folder, in the run's own


@dataclass(frozen=True)
class Beside:
    """What a distilled model is compared with, on the validation images."""

    teacher: Metrics
    """As the student sees the images."""
    without: Metrics | None = None
    """Of the same model, of the same seed and recipe, that had no teacher."""
    difference: Measured | None = None
    """Of the distilled model's headline to that one's, on the same images (`paired.difference`)."""
    note: str = ""
    """Why there is no such model."""

    def plain(self, public: bool = False) -> dict[str, Any]:
        """Return it as JSON types.

        :param public: without what is of single samples, for a package.
        """
        found = {"teacher": self.teacher, "without": self.without}
        metrics = {name: one and (one.public() if public else one.plain()) for name, one in found.items()}
        return {**metrics, "difference": self.difference and asdict(self.difference), "note": self.note}

    def __str__(self) -> str:
        """Return what the teacher is worth, in a sentence."""
        if self.difference is None:
            return f"what the teacher is worth was not measured: {self.note}"
        worth, low, high = self.difference.value, self.difference.low or 0.0, self.difference.high or 0.0
        than = "higher" if worth >= 0 else "lower"
        tells = "" if self.difference.tells else ", which these samples do not tell from nothing"
        return (
            f"with its teacher the model's {title(self.teacher.headline)} is {number(abs(worth))} {than} than without, "
            f"95 % interval of the paired difference {number(low)} to {number(high)}, {self.difference.n} samples"
            f"{tells}"
        )


def folder(run: Run) -> Run:
    """Return the run of the model without a teacher, in the folder of the run that has one."""
    return Run(run.folder / WITHOUT)


def job(prepared: Prepared, asked: Job, run: Run) -> Job:
    """Return the job of the same model without a teacher: what the run settled by measuring is settled there too.

    :param asked: the run's own job, before anything was settled.
    """
    settled = prepared.job
    recipe = replace(settled.recipe, budget="")  # as many epochs, not as much time
    return replace(
        asked, recipe=recipe, compute=settled.compute, teaching=Teaching(), track=(), output=str(folder(run).folder)
    )


def trained(
    prepared: Prepared, run: Run, begin: Callable[[], object], go_on: Callable[[Path], object], console: Console
) -> Run | str:
    """Return the finished run of the model without a teacher, or why there is none.

    :param begin: trains it; `go_on` goes on with its folder, where it was begun.
    :raises Stopped: SIGTERM or Ctrl-C; the run that has a teacher is to be gone on with.
    """
    if not (prepared.teacher and prepared.job.teaching.baseline):
        return "--no-baseline"
    other = folder(run)
    if other.package.exists():  # the run was killed after that one had ended
        return other
    console.say(f"beside   the same model without a teacher -> {other.folder}")
    try:
        if other.job_file.exists():
            go_on(other.folder)
        else:
            begin()
    except Stopped as stopped:
        raise Stopped(stopped.signal, str(run.folder)) from stopped
    except Diverged as error:
        return f"without a teacher, {error}"
    return other


def compared(prepared: Prepared, teacher: Metrics, outcome: Outcome, without: nn.Module | str) -> Beside:
    """Return what a distilled model is compared with.

    :param outcome: what it gives for the validation images.
    :param without: the model that had no teacher, or why there is none.
    """
    if isinstance(without, str):
        return Beside(teacher, note=without)
    task, its = prepared.data.task, training.outcome(prepared, prepared.exact.place(without))
    return Beside(teacher, task.measure(*its), difference(task, outcome[0], *its))
