"""The kinds of tasks: found by name, here alone; and a task as plain data."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from hubft.base.errors import PackageError, suggest
from hubft.base.serialize import from_dict, to_dict
from hubft.tasks.task import Task

KINDS = {
    "classification": "Classification",
    "generation": "Generation",
    "multilabel": "Multilabel",
    "regression": "Regression",
    "several": "Several",
    "boxes": "Boxes",
    "tokens": "Tokens",
}
"""Kind of a task -> its class, in the file of that name. A new task is a file and a line here."""


def plain(task: Task) -> dict[str, Any]:
    """Return a task as JSON types; `read` is the reverse."""
    return {"kind": task.kind, **to_dict(task)}


def named(kind: str) -> type[Task]:
    """Return the class of a kind of task.

    :raises PackageError: there is none.
    """
    if kind not in KINDS:
        raise PackageError(f"task {kind!r} is none of {', '.join(KINDS)}.{suggest(kind, KINDS)}")
    found: type[Task] = getattr(importlib.import_module(f"hubft.tasks.{kind}"), KINDS[kind])
    return found


def read(data: Any) -> Task:
    """Return the task that plain data states.

    :raises PackageError: it states none.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise PackageError("a task must be an object with a kind")
    facts = {key: value for key, value in data.items() if key != "kind"}
    return from_dict(named(data["kind"]), facts, "task")
