"""Several columns of labels, the task of each found by itself. Without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.tasks import cells, found, naming, vocabulary
from hubft.tasks.kinds import named
from hubft.tasks.task import Column, Task

if TYPE_CHECKING:
    from hubft.job import Labels


def fitted(columns: Sequence[Column], labels: Labels) -> dict[str, Task]:
    """Return the task of each column by its name.

    :raises DataError: columns that no task can be made of, or two outputs of one name.
    """
    tasks: dict[str, Task] = {}
    for name, column in zip(vocabulary.headers(columns), columns, strict=True):
        there = any(labels.separator in text for text in cells.texts(column))
        own = replace(labels, task="auto", empty="", separator=labels.separator if there else "")
        kind, _ = found.kind([column], own)
        task = named(kind).fit([column], replace(own, empty=labels.empty))
        encoded = [task.encode((value,)) for value in column.values]
        tasks[name] = task.settled([target for target in encoded if target is not None])
    if labels.empty and not any(task.kind == "multilabel" for task in tasks.values()):
        raise DataError(f"--empty is for a column with several labels a cell, and {listed(tasks)} are none")
    names = [full for name, task in tasks.items() for full in naming.full_names(name, task)]
    if twins := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"two outputs would be called {quoted(twins[0])}: rename a column")
    return tasks
