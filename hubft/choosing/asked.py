"""What shall be ranked, or gone through. Without torch, so that what is wrong with it is told before seconds go into
importing it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from hubft.base import bounds
from hubft.base.errors import JobError, Option
from hubft.choosing import space
from hubft.choosing.space import Space
from hubft.families import listing, plugins
from hubft.job import Job
from hubft.recipe import PASSED

SECONDS = 1.0  # that the timing of a backbone may take
TRIALS = 20  # of a sweep
AGAIN = "type the same line again, with --output of this sweep: what was done is kept"
RAY = "ray"  # where the trials of a sweep may run, beside here


@dataclass(frozen=True)
class Asked:
    """What shall be ranked, and how."""

    references: tuple[str, ...]
    job: Job
    """Of the runs, but for its reference; its `--budget` is that of all fine-tunes together, none without one."""
    output: str = ""
    """Folder of table, picture and fine-tunes; empty for `runs/rank-DATA`."""
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        bounds.check(bool(self.references), "references", self.references, "one at the least")
        bounds.check(self.job.recipe.epochs > 0, "epochs", self.job.recipe.epochs, "1 or more")
        for reference in self.references:
            plugins.find(replace(self.job, reference=reference).family, typed=True)

    @property
    def folder(self) -> Path:
        return place("rank", self.job, self.output)


@dataclass(frozen=True)
class Budget:
    """The time for trials."""

    until: float
    """On the clock of `perf_counter`; infinite where there is no budget."""

    @classmethod
    def of(cls, job: Job) -> Budget:
        return cls(time.perf_counter() + job.recipe.seconds if job.recipe.budget else float("inf"))

    @property
    def spent(self) -> bool:
        return time.perf_counter() >= self.until


def place(what: str, job: Job, output: str | Path) -> Path:
    """Return the folder that is given; without one it is called by the data, and the same line goes on in it.

    :param what: it is of.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(str(job.data)).resolve().name)
    return Path(output or f"runs/{what}-{name[:60]}")


def asked(named: Sequence[str], patterns: Sequence[str], job: Job) -> Asked:
    """Return the rank of the references that are named, and of those that patterns mean, each once.

    :param patterns: FAMILY:PATTERN, as timm:resnet*.
    :param job: of the runs, whatever its reference; its output is the folder of the rank.
    :raises HubftError: there are no references, or one is of a family that cannot be used.
    """
    found = tuple(dict.fromkeys([*named, *(one for pattern in patterns for one in listing.matching(pattern))]))
    if not found:
        example = "timm:resnet18.a1_in1k timm:resnet34.a1_in1k"
        raise JobError(f"rank needs REFERENCE... and DATA: hubft rank {example} flowers/")
    return Asked(found, replace(job, reference=found[0], output=""), str(job.output))


def over(texts: Sequence[str], trials: int, job: Job) -> Space:
    """Return what a sweep goes through.

    :param texts: as `--over` takes them.
    :param job: of the trials, but for these options.
    :raises HubftError: options of which no sweep can be made; a family that cannot be used; no Optuna.
    """
    plugins.find(job.family, typed=True)
    bounds.check_bounds("trials", trials, 1, 10_000)
    if job.soup:
        raise JobError(Option("soup"), " is of no trial: leave it out")
    found = space.parse(texts, job)
    if find_spec("optuna") is None:
        raise JobError("a sweep needs the library Optuna: pip install 'hubft[sweep]'")
    return found


def where(on: str, job: Job) -> None:
    """Refuse a place where trials cannot run.

    :param on: as `--on` takes it; empty is this process.
    :param job: of the trials.
    :raises HubftError: it is unknown, or Ray is not installed.
    """
    bounds.check(on in ("", RAY), "on", on, f"{RAY}, or left out: trials then run in this process")
    if on and job.recipe.loss.startswith(PASSED):
        raise JobError(
            Option("loss"), " is a function of this process: write MODULE:CLASS, or leave out ", Option("on")
        )
    if on and not all(map(find_spec, ("ray", "pandas", "fsspec", "requests"))):  # all that ray.tune asks for
        raise JobError(Option("on"), f" {RAY} needs the library Ray with Tune: pip install 'hubft[ray]'")
