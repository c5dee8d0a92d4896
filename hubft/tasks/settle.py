"""From the columns of a table to its task. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hubft.tasks import found
from hubft.tasks.kinds import named
from hubft.tasks.task import Column, Task

if TYPE_CHECKING:
    from hubft.job import Labels


def fit(columns: Sequence[Column], labels: Labels) -> tuple[Task, str]:
    """Return the task that columns state, and a sentence of how they were taken where that may surprise.

    :raises DataError: they state none; says why, and what to type.
    """
    kind, note = found.kind(columns, labels)
    return named(kind).fit(columns, labels), note
