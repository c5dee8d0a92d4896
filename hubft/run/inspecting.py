"""`hubft data` from its options to its folder, and what `hubft features` begins with.

Without torch until features are asked for, so that what the reader finds is told before seconds go into importing it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubft import modality
from hubft.base.bars import Counting, nobody
from hubft.base.bounds import check_new
from hubft.base.console import Console
from hubft.base.files import writing
from hubft.families import plugins
from hubft.job import Job, Recipe
from hubft.run import data as reader
from hubft.run import facts, looked, taking
from hubft.run.data import Data
from hubft.run.facts import Finding

if TYPE_CHECKING:
    from hubft.run.look import Looked


@dataclass(frozen=True)
class Asked:
    """What data shall be looked at, and through what."""

    job: Job
    """Of a probe alone: what a fine-tune of the head would read and compute first."""
    named: bool
    """Whether the user named its backbone."""
    folder: Path
    """To be written."""

    def read(self, counting: Counting = nobody) -> Data:
        """Return the data, whatever its kind of inputs where no backbone was named.

        :raises DataError: data that cannot be read.
        """
        known = self.named or self.job.surgery
        kinds = taking.kinds(self.job) if known else tuple(modality.KINDS)
        return reader.read(self.job, kinds=kinds, counting=counting)


@dataclass(frozen=True)
class Inspection:
    """What was found in labelled data."""

    folder: Path
    """With findings.csv, data.json and, of pictures, contact.png."""
    data: Data
    """What the reader found: the samples by their parts, their task, what was left out and why."""
    seen: Looked
    """What features tell of it, or why there are none (`left_out`)."""

    @property
    def findings(self) -> list[Finding]:
        """The lines of findings.csv: those of the reader, then by features, each kind with the worst first."""
        return looked.every(self.data, self.seen)

    @property
    def facts(self) -> dict[str, Any]:
        """What data.json states: counts, spreads of numbers and sizes, the probe, JSON types."""
        return looked.plain(self.data, self.seen)


def asked(job: Job, reference: str = "") -> Asked:
    """Return a look at the data of a job.

    :param job: whatever its reference; its output is the new folder, runs/data-NAME without one.
    :param reference: of the backbone that the user named, if one was.
    :raises HubftError: a family that cannot be used, or a folder that exists.
    """
    if reference:
        plugins.find(reference.partition(":")[0], typed=True)
    job = _probe(replace(job, reference=reference or facts.DEFAULT["images"]))
    return Asked(job, bool(reference), looked.place(job))


def inspect(asked: Asked, data: Data, console: Console, trust: bool = False) -> Inspection:
    """Return what was found in data that was read; its folder is written, whole or not at all.

    :raises HubftError: a backbone that was named cannot be had, or does not take these samples.
    """
    from hubft.run import look  # not at the top: it imports torch

    with writing(asked.folder, "make room, or name another --output"):
        seen = look.look(asked.job, data, asked.named, console, trust)
        looked.write(asked.folder, data, seen)
    return Inspection(asked.folder, data, seen)


def of_features(job: Job) -> Job:
    """Return the job whose features `hubft.run.vectors` computes and writes.

    :param job: its output is the new file of the matrix.
    :raises HubftError: a family that cannot be used, or a file that cannot be written anew.
    """
    plugins.find(job.family, typed=True)
    check_new(Path(job.output), ".safetensors", ".parquet")
    return _probe(job)


def _probe(job: Job) -> Job:
    return replace(job, recipe=Recipe(epochs=0))
