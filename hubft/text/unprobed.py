"""What documents and sentences have alike: heads that no probe solves, and samples that are typed as plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubft.base.errors import JobError, Option
from hubft.data import asked
from hubft.data.asked import Asked
from hubft.data.rows import Source
from hubft.job import Columns, Head, Job, Recipe

RATE = 5e-5  # peak learning rate where none is asked for, that of transformers' Trainer: there is no probe to tell one


def refuse(job: Job, whys: Mapping[str, str]) -> None:
    """Refuse options that have no meaning here.

    :param whys: of `augment`, `sampler`, `hidden` and `dropout`, why not.
    :raises JobError: one of them is not as it is where nobody asks.
    """
    idle: dict[str, tuple[Any, ...]] = {"augment": ("auto", "none"), "sampler": (Recipe.sampler,)}
    idle |= {name: (getattr(Head(), name),) for name in ("hidden", "dropout")}
    for name, known in idle.items():
        value = getattr(job.head if name in ("hidden", "dropout") else job.recipe, name)
        if value not in known:
            raise JobError(Option(name), f" {value}: {whys[name]}; leave it out")


def settled(job: Job, rate: float = RATE) -> Job:
    """Return a job that solves no probe, with a learning rate: this one where it asks for none."""
    return replace(job, recipe=replace(job.recipe, probe=False, lr=job.recipe.lr or rate))


def typed(
    given: str | Path | Iterable[str | Path],
    columns: Columns | None,
    kind: str,
    word: str,
    stated: Callable[[Source | None], Source],
) -> Asked:
    """Return what a model is asked about: rows of tables as they are, all else as `stated` has a text.

    :param kind: of the inputs.
    :param word: what one of them is called.
    """
    found = asked.texts(given, columns, kind)
    its = [one if one.table else one._replace(source=stated(one.source)) for one in found.inputs]
    return found._replace(inputs=its, word=word)
