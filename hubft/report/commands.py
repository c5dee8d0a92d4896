"""What to type to use a run, and to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hubft import modality
from hubft.base.errors import Option
from hubft.job import Job
from hubft.publish import lines
from hubft.publish.package import Package
from hubft.run.folder import Run

OWN = ("reference", "data", "outputs", "output", "keep_anyway")  # fields that are no option of their own here


def reproduce(job: Job) -> str:
    """Return the command that trains the same again."""
    options = [word for name, value in changed(job) for word in _flag(name, value)]
    return shlex.join(["hubft", "finetune", job.reference, str(job.data), *options])


def changed(job: Job) -> Iterator[tuple[str, Any]]:
    """Yield the options of a job that are not the default, and its seed."""
    yield from _changed(job, Job(job.reference, job.data))


def _changed(part: Any, default: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(part):
        value, usual = getattr(part, field.name), getattr(default, field.name)
        if is_dataclass(value):
            yield from _changed(value, usual)
        elif field.name not in OWN and (value != usual or field.name == "seed"):
            yield field.name, value


def _flag(name: str, value: Any) -> list[str]:
    flag = Option(name).flag
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, tuple):
        return [word for one in value for word in (flag, str(one))]
    return [flag, str(value)]


def use(run: Run, package: Package, data: str) -> dict[str, str]:
    """Return by title what to type to load a package, to ask it, and to measure it."""
    manifest, here = package.manifest, str(run.folder)
    foreign, kind = lines.foreign(manifest), modality.of(manifest.inputs)
    trust = " --trust" if foreign else ""
    return {
        "Load it with torch.hub, from a checkout of hubft": f"model = {lines.torch_hub(here, foreign)}",
        "Load it with hubft": f"import hubft; model = {lines.python(here, foreign)}",
        f"Ask it about {kind.one}": lines.predict(here, kind.example(manifest.inputs), foreign),
        "Measure it": shlex.join(["hubft", "evaluate", here, data]) + trust,
    }
