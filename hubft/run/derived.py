"""The jobs of runs that make another package of packages, on the same parts of their data, and train nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hubft.base.errors import JobError
from hubft.job import PACKAGE, Adapting, Job, Teaching


def compressed(package: str, data: str | Path, method: str, output: str | Path) -> Job:
    """Return the job that compresses a package by a method of `--compress`."""
    return replace(_own(package, data, output), compress=method)


def check_several(packages: Sequence[str], data: str | Path) -> None:
    """Raise JobError where packages are too few to be averaged: told before torch is imported."""
    if len(packages) < 2:
        line = f"hubft soup {packages[0] if packages else 'ONE'} OTHER --data {data}"
        raise JobError(f"a soup is made of two packages or more: {line}")


def blended(packages: Sequence[str], data: str | Path, output: str | Path, greedy: bool) -> Job:
    """Return the job that averages the weights of packages (`hubft.run.soup`).

    :raises JobError: there are fewer than two.
    """
    check_several(packages, data)
    first, *others = packages
    return replace(_own(first, data, output), soup=tuple(others), greedy=greedy)


def _own(package: str, data: str | Path, output: str | Path) -> Job:
    """Return a job that leaves a package as it is."""
    from hubft.run import parent  # not at the top: it brings torch, and what is wrong is told before

    own = parent.named(package).manifest.job
    recipe = replace(own.recipe, epochs=0, probe=False, budget="", wise=False, anchor=0.0)
    if recipe.own_loss:  # which a package only names: no package says what is imported here
        recipe = replace(recipe, loss="auto")
    job = replace(own, reference=f"{PACKAGE}:{package}", data=data, recipe=recipe, compress="none", output=output)
    plain = replace(job, package="full", adapting=Adapting(), teaching=Teaching(), soup=(), greedy=False, surgery="")
    return replace(plain, max_drop=None, keep_anyway=False)
