"""`hubft lr-find`, as a table of contents: a range test, and the folder that it leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hubft.base.console import Console
from hubft.base.files import marked, write_json, writing
from hubft.choosing import curve as curves
from hubft.choosing import rates
from hubft.choosing.rates import STEPS, Curve
from hubft.families import plugins
from hubft.job import Job
from hubft.report import figures
from hubft.run import folder, tracked, typed
from hubft.run.data import Data

NUMBERS, PICTURE = "lr-find.json", "lr-find.png"


@dataclass(frozen=True)
class Rate:
    """What a range test found."""

    curve: Curve
    """Rate and loss of each step, and what follows from them."""
    folder: Path
    """With lr-find.json and lr-find.png."""
    next: str
    """The line to type next: the run with the rate that is suggested."""

    @property
    def suggestion(self) -> float:
        """The rate that is suggested, as `lr` of a run takes it."""
        return self.curve.suggestion


def find(
    job: Job, console: Console | None = None, data: Data | None = None, *, steps: int = STEPS, trust: bool = False
) -> Rate:
    """Return what a range test for the run of a job found; numbers and picture are written.

    :param job: its output is the folder of both; without one it is runs/MODEL-DATA, numbered if that exists.
    :param data: of the job, where it was read already.
    :param steps: of the test, at most.
    :raises HubftError: bad input; a folder that is taken; a job that trains nothing.
    """
    plugins.find(job.family, typed=True)
    tracked.refuse(job, "a range test")
    place = folder.free(job)
    curve = rates.find(job, console, data, steps=steps, trust=trust)
    with writing(place, "name another --output"):
        marked(place)
        write_json(place / NUMBERS, curve.plain())
        figures.draw(curves.picture(curve), place / PICTURE)
    found = replace(job, recipe=replace(job.recipe, lr=curve.suggestion), output="")
    return Rate(curve, place, typed.finetune(found, trust))
