"""The line that begins a run, from its job: what a command prints to be typed next."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from hubft.base.errors import Option
from hubft.job import Job
from hubft.reference import ANY

OWN = ("reference", "data", "outputs")  # what is typed without a flag, or never


def finetune(job: Job, trust: bool = False, always: Sequence[str] = ()) -> str:
    """Return the command that begins this run: its reference, its data, and all that is not as it is by default.

    :param always: options that are there also where they are.
    """
    options = [word for name, value in changed(job, always) for word in _flag(name, value)]
    return shlex.join(["hubft", "finetune", job.reference, str(job.data), *options, *(["--trust"] if trust else [])])


def changed(job: Job, always: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the options of a job that are not the default, by the names of their fields.

    :param always: those that are given also where they are.
    """
    yield from _changed(job, Job(ANY, "-"), always)


def _changed(part: Any, usual: Any, always: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(part):
        value, default = getattr(part, field.name), getattr(usual, field.name)
        if dataclasses.is_dataclass(value):
            yield from _changed(value, default, always)
        elif field.name not in OWN and (value != default or field.name in always):
            yield field.name, value


def _flag(name: str, value: Any) -> list[str]:
    flag = Option(name).flag
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, tuple):
        return [word for one in value for word in (flag, str(one))]
    return [flag, str(value)]
