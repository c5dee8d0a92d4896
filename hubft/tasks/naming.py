"""What the outputs and files of several heads are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from hubft.tasks.columns import Column
from hubft.tasks.task import Task


def alone(name: str, task: Task) -> bool:
    """Tell whether the one output of a head is called as the head is: that of a number."""
    return task.names == (name,)


def full_names(name: str, task: Task) -> tuple[str, ...]:
    """Return the names of a head's outputs among those of all heads."""
    return (name,) if alone(name, task) else tuple(f"{name}: {one}" for one in task.names)


def ordered(columns: Sequence[Column], order: Sequence[str]) -> list[Column]:
    """Return columns that say their classes in the order of the outputs of a task that was made of them."""
    if len(columns) == 1:
        return [replace(columns[0], names=tuple(order))]
    found = []
    for column in columns:
        before = f"{column.name}: "  # as in `full_names`
        names = tuple(full.removeprefix(before) for full in order if full.startswith(before))
        found.append(replace(column, names=names))
    return found


def file_prefix(place: int, name: str) -> str:
    """Return what the files of a head begin with, `2-colour`: its place, and of its name what any system takes."""
    return f"{place + 1}-{re.sub('[^A-Za-z0-9_]+', '-', name)[:40].strip('-')}"
