"""What to type to use a run, and to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hubft import modality
from hubft.job import Job
from hubft.publish import lines
from hubft.publish.package import Package
from hubft.run import typed
from hubft.run.folder import Run

OWN = (*typed.OWN, "output", "keep_anyway")  # fields that are no option of their own here
SEED = ("seed",)  # which is said also where it is the default


def reproduce(job: Job) -> str:
    """Return the command that trains the same again."""
    return typed.finetune(_again(job), always=SEED)


def changed(job: Job) -> Iterator[tuple[str, Any]]:
    """Yield the options of a job that are not the default, and its seed."""
    return typed.changed(_again(job), SEED)


def _again(job: Job) -> Job:
    return replace(job, output="", keep_anyway=False)


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
