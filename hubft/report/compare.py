"""Runs side by side: what each reached, the paired difference to the first on the same samples, and what they were
asked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft.base.batches import each, take
from hubft.base.errors import CheckpointError, JobError
from hubft.job import Job
from hubft.report import commands, outcomes
from hubft.report.outcomes import Outcomes
from hubft.run.folder import RESULTS_FILE, Run
from hubft.tasks.metrics import Measured, Metrics, read
from hubft.tasks.paired import difference


@dataclass(frozen=True)
class Side:
    """A run among others."""

    name: str
    job: Job
    metrics: Metrics
    seconds: float
    difference: Measured | None = None
    """Of its headline to the first run's, on the samples that both were measured on; None for the first itself."""
    note: str = ""
    """What is to be known of that difference, or why there is none."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        options = {name: value if isinstance(value, int | float | str) else str(value) for name, value in _asked(self)}
        return {
            "run": self.name,
            "reference": self.job.reference,
            "options": options,
            "metrics": self.metrics.public(),
            "seconds": self.seconds,
            "difference": self.difference and asdict(self.difference),
            "note": self.note,
        }


def _asked(side: Side) -> list[tuple[str, Any]]:
    return [("reference", side.job.reference), ("data", str(side.job.data)), *commands.changed(side.job)]


def compare(folders: Sequence[Path]) -> list[Side]:
    """Return runs beside one another, in their order.

    :raises CheckpointError: one that is none, or that is not finished.
    :raises JobError: fewer than two, or one whose task is another than the first's.
    """
    if len(folders) < 2:
        raise JobError(
            f"runs are compared with one another: hubft compare {' '.join(map(str, folders)) or 'RUN'} OTHER"
        )
    sides = [_read(Run(folder)) for folder in folders]
    kept = [outcomes.read(Run(folder).report) for folder in folders]
    first = sides[0]
    for side in sides[1:]:
        if side.metrics.headline != first.metrics.headline:
            ours, theirs = first.metrics.headline, side.metrics.headline
            raise JobError(
                f"{side.name!r} is measured by {theirs}, and {first.name!r} by {ours}: compare runs of one task"
            )
    return [first, *(_beside(side, its, kept[0], first) for side, its in zip(sides[1:], kept[1:], strict=True))]


def _read(run: Run) -> Side:
    job = run.job()
    try:
        results = json.loads((run.report / RESULTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        go_on = f"go on with: {run.resumed_by()}"
        raise CheckpointError(f"{str(run.folder)!r} has not come to its report ({error}); {go_on}") from error
    return Side(str(run.folder), job, read(results["metrics"]), results["seconds"])


def _beside(side: Side, its: Outcomes | None, first: Outcomes | None, to: Side) -> Side:
    """Return a run with its difference to the first one."""

    def told(note: str, found: Measured | None = None) -> Side:
        return Side(side.name, side.job, side.metrics, side.seconds, found, note)

    if first is None or its is None:
        return told(f"{to.name if first is None else side.name} does not hold what it said of each sample")
    if not first.task.like(its.task):
        raise JobError(f"{side.name!r} answers with other names than {to.name!r}: compare runs of one task")
    ours, theirs = _common(first.sha256, its.sha256)
    if not len(ours):
        return told("no sample is in the validation parts of both: give both the same data, --holdout and --seed")
    targets = take(first.targets, ours)
    found = difference(its.task, its.outputs[theirs], first.outputs[ours], targets, first.task)
    every = max(len(first.sha256), len(its.sha256))
    notes = [f"on the {len(ours):,} samples of {every:,} that both were measured on"] if len(ours) < every else []
    if not _equal(targets, take(its.targets, theirs)):
        notes.append(f"labels differ, and those of {to.name} count")
    return told("; ".join(notes), found)


def _common(ours: Sequence[str], theirs: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return where the samples lie that are in both, int64 each; of equal ones, the first is paired with the first."""
    places: Mapping[str, list[int]] = defaultdict(list)
    for place, digest in enumerate(theirs):
        places[digest].append(place)
    pairs = [(place, places[digest].pop(0)) for place, digest in enumerate(ours) if places.get(digest)]
    found = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _equal(ours: Any, theirs: Any) -> bool:
    """Tell whether two trees of targets hold the same numbers; gaps are equal."""
    sides: tuple[list[Tensor], list[Tensor]] = [], []
    for tree, found in zip((ours, theirs), sides, strict=True):
        each(tree, found.append)
    gap = -1.5e30
    return len(sides[0]) == len(sides[1]) and all(
        torch.equal(a.nan_to_num(gap), b.nan_to_num(gap)) for a, b in zip(*sides, strict=True)
    )


def differing(sides: Sequence[Side]) -> list[tuple[str, list[str]]]:
    """Return the options in which runs differ: name, and what each was given; nothing where it was not."""
    asked = [dict(_asked(side)) for side in sides]
    names = list(dict.fromkeys(name for one in asked for name in one))
    rows = [(name, [str(one.get(name, "")) for one in asked]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]
