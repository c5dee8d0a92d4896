"""A run told to trackers after it: what was lost on the way, or a tool that nobody thought of when it began."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from hubft.base.errors import JobError, Option
from hubft.job import Job, Tracker
from hubft.run.folder import Run
from hubft.tracking import table


def refuse(job: Job, what: str) -> None:
    """Refuse trackers of what is no run, of which they would be told nothing.

    :raises JobError: there are some.
    """
    if job.track:
        raise JobError(Option("track"), f" {job.track[0]}: of {what} nothing is told; leave it out")


def asked(run: Run, to: Sequence[str]) -> Job:
    """Return the job of a run in which nothing is left to choose, with the trackers that are to have all of it.

    :param to: their names; without them, those which the run had.
    :raises CheckpointError: the folder is no run, or one that has not begun to train.
    :raises JobError: no tracker, an unknown one, or one whose library is missing.
    """
    job = run.settled()
    names = tuple(to) or job.track
    if not names:
        example = f"hubft track {shlex.quote(str(run.folder))} --to {next(iter(table.TRACKERS))}"
        raise JobError(Option("to"), f": the run had no trackers; name one of {', '.join(table.TRACKERS)}: {example}")
    job = replace(job, track=cast(tuple[Tracker, ...], names))
    table.require(job.track)
    return job
