"""`hubft rank`, as a table of contents: backbones looked at, the promising ones fine-tuned, all of them compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import hubft
from hubft.base import draws
from hubft.base.bars import Counting, nobody
from hubft.base.console import Console
from hubft.base.errors import DataError, HubftError, JobError, PackageError
from hubft.base.files import writing
from hubft.choosing import backbone, shown
from hubft.choosing.asked import Asked
from hubft.choosing.halving import Halving
from hubft.choosing.kept import PICTURE, PROBE, TABLE, Kept, options
from hubft.choosing.rows import Row, Standing, ordered, standing
from hubft.deploy import latency
from hubft.job import Job
from hubft.machine import processor
from hubft.machine.runtime import Runtime
from hubft.report import figures
from hubft.run import taking, typed
from hubft.run.data import Data, read

HELD = 500_000_000  # parameters of models that are held in memory at the most, to be timed side by side


@dataclass(frozen=True)
class Ranking:
    """What was found."""

    rows: tuple[Row, ...]
    """From the best backbone down."""
    facts: Mapping[str, Any]
    """Machine, libraries and data that the figures are of."""
    folder: Path
    """With rank.json, rank.png and the runs of the fine-tunes."""
    next: str
    """The line to type next."""


class Reader:
    """Reads the data of jobs that differ in their references: once for each kind of inputs."""

    def __init__(self, counting: Counting = nobody) -> None:
        self.known: dict[object, Data] = {}
        self.counting = counting

    def __call__(self, job: Job) -> Data:
        """Return the data of a job.

        :raises DataError: data that cannot be read, or that is other data than that of the first job.
        """
        key = (taking.kinds(job), job.packages)
        if key not in self.known:
            self.known[key] = read(job, counting=self.counting)
            if self.first(self.known[key]) != self.first(next(iter(self.known.values()))):
                raise DataError("it reads the data in another way than the first: their scores cannot be compared")
        return self.known[key]

    @staticmethod
    def first(data: Data) -> object:
        """Return what must be the same of the data of backbones that are compared."""
        return data.task, data.fingerprint()["val"]


def rank(asked: Asked, trust: bool = False, console: Console | None = None) -> Ranking:
    """Return backbones from the best down, by their probes, and with a budget by their fine-tunes.

    What an earlier call with the same folder, data and options found out is kept.

    :raises HubftError: bad input; no backbone that could be had.
    """
    console = console or Console(quiet=True)
    reader = Reader(console.counting)
    data = _data(asked, reader)
    if data.task.writes:
        raise JobError(
            "rank: models that write cut texts into tokens of their own, and perplexity is by the token: it "
            "compares no two of them; fine-tune each, and compare what they write"
        )
    kept = Kept(asked.folder, {"data": data.fingerprint(), "options": options(asked.job)})
    kept.more = {"facts": _facts(asked, data)}
    targets = data.task.collate([sample.target for sample in data.val])
    with draws.preserved(), writing(kept.folder, "make room, or name another --output, and type it again"):
        failed = _look(asked, kept, reader, trust, console)
        there = [reference for reference in dict.fromkeys(asked.references) if reference in kept.rows]
        _stand(kept, there, targets)
        if asked.job.recipe.budget:
            Halving(kept, asked.job, reader, targets, trust, console).run(there, asked.job.recipe.seconds)
        rows = (*ordered([kept.rows[reference] for reference in there]), *failed)
        if not rows[0].stands:
            cure = "" if asked.job.recipe.budget else "; with --budget 10m they are ranked by fine-tunes"
            raise HubftError(f"no backbone has a score: {rows[0].reference}: {rows[0].reason}{cure}")
        best = replace(asked.job, reference=rows[0].reference, recipe=replace(asked.job.recipe, budget=""))
        found = Ranking(rows, kept.more["facts"], kept.folder, typed.finetune(best, trust))
        kept.more |= {"order": [row.reference for row in rows], "next": found.next}
        kept.put(*failed)
        figures.draw(shown.picture(rows, data.task.headline), kept.folder / PICTURE)
    return found


def _data(asked: Asked, reader: Reader) -> Data:
    """Return the data, as the first backbone reads it that can tell what it takes."""
    for reference in asked.references[:-1]:
        try:
            return reader(replace(asked.job, reference=reference))
        except PackageError:  # of a package that is not there: told where it is looked at
            continue
    return reader(replace(asked.job, reference=asked.references[-1]))


def _look(asked: Asked, kept: Kept, reader: Reader, trust: bool, console: Console) -> list[Row]:
    """Have the rows of all backbones kept that can be had; return those of the others."""
    failed, calls = list[Row](), dict[str, Callable[[], object]]()
    every = dict.fromkeys(asked.references)
    for reference in console.counted(every, len(every), "backbones"):
        known = kept.rows.get(reference)
        if known and known.latency and (not known.probe or kept.outcome(reference, PROBE)):
            console.say(f"kept     {reference}")
            continue
        job = replace(asked.job, reference=reference, recipe=replace(asked.job.recipe, budget=""))
        try:
            one = backbone.look(job, reader(job), trust, console)
        except HubftError as error:
            why = error.typed().removeprefix(f"{reference}: ")
            failed.append(Row(reference, failure=why))
            console.say(f"failed   {reference}: {why}")
            continue
        if one.outcome:
            kept.put_outcome(reference, PROBE, one.outcome)
        kept.put(replace(one.row, probe=Standing(one.score) if one.score else None))
        console.say(f"probe    {reference}: {one.score or one.row.reason}")
        calls[reference] = one.call
        if sum(kept.rows[name].parameters for name in calls) > HELD:
            _time(asked, kept, calls)
    _time(asked, kept, calls)
    if not any(reference in kept.rows for reference in asked.references):
        raise HubftError(f"none of the {len(failed)} backbones can be had: {failed[0].reference}: {failed[0].failure}")
    return failed


def _time(asked: Asked, kept: Kept, calls: dict[str, Callable[[], object]]) -> None:
    """Have the rows of backbones that are in memory say their latency, measured in turn; then let go of them."""
    if not calls:
        return
    took = latency.measure(calls, asked.seconds * len(calls))
    kept.put(*(replace(kept.rows[name], latency=its) for name, its in took.items()))
    calls.clear()


def _stand(kept: Kept, references: Sequence[str], targets: Any) -> None:
    """Have the rows of these backbones say how their probes stand to the best."""
    outcomes = {name: its for name in references if (its := kept.outcome(name, PROBE))}
    scores = {name: probe.score for name in outcomes if (probe := kept.rows[name].probe)}
    stands = standing(scores, outcomes, targets) if scores else {}
    kept.put(*(replace(kept.rows[name], probe=its) for name, its in stands.items()))


def _facts(asked: Asked, data: Data) -> dict[str, Any]:
    job = asked.job
    return {
        "data": str(job.data),
        "samples": len(data.val),
        "word": data.word,
        "headline": data.task.headline,
        "difference": "to the best on the same samples, with a 95 % paired bootstrap interval",
        "chance": "two-sided p-values by the same bootstrap, corrected for all comparisons by Holm 1979",
        "budget": job.recipe.budget,
        "bandit": "successive halving, Jamieson and Talwalkar 2016" if job.recipe.budget else "",
        "device": str(Runtime(job.compute).device),
        "processor": processor.name(),
        "threads": job.compute.threads or torch.get_num_threads(),
        "torch": version("torch"),
        "hubft": hubft.__version__,
    }


__all__ = ["PICTURE", "TABLE", "Asked", "Ranking", "rank"]
