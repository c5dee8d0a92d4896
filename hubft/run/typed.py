"""The line that begins a run, from its job: what a command prints to be typed next."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from hubft.base.errors import Option
from hubft.job import Job

OWN = ("reference", "data", "outputs")  # what is typed without a flag, or never


def finetune(job: Job, trust: bool = False) -> str:
    """Return the command that begins this run: its reference, its data, and all that is not as it is by default."""
    words = ["hubft", "finetune", job.reference, str(job.data), *_words(job, Job("any:any", "-"))]
    return shlex.join([*words, *(["--trust"] if trust else [])])


def _words(part: Any, usual: Any) -> Iterator[str]:
    """Yield the flags of a part of a job where it differs from the usual one."""
    for field in dataclasses.fields(part):
        value, default = getattr(part, field.name), getattr(usual, field.name)
        flag = Option(field.name).flag
        if dataclasses.is_dataclass(value):
            yield from _words(value, default)
        elif field.name in OWN or value == default:
            continue
        elif isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
        elif isinstance(value, tuple):
            for one in value:
                yield from (flag, str(one))
        else:
            yield from (flag, f"{value:g}" if isinstance(value, float) else str(value))
