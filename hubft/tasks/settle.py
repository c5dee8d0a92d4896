"""From the columns of a table to its task. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hubft.base.errors import JobError, Option, suggest
from hubft.tasks import found
from hubft.tasks.kinds import KINDS, named
from hubft.tasks.task import Column, Task

if TYPE_CHECKING:
    from hubft.job import Labels


def fit(columns: Sequence[Column], labels: Labels) -> tuple[Task, str]:
    """Return the task that columns state, and a sentence of how they were taken where that may surprise.

    :raises DataError: they state none; says why, and what to type.
    """
    if labels.task not in ("auto", *KINDS):
        known = ", ".join(("auto", *KINDS))
        raise JobError(Option("task"), f" {labels.task!r} is none of {known}.{suggest(labels.task, KINDS)}")
    kind, note = found.kind(columns, labels)
    return named(kind).fit(columns, labels), note
