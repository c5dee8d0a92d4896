"""What a look at data leaves: findings.csv, data.json, and of pictures contact.png."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubft import modality
from hubft.base.display import csv_line
from hubft.base.errors import DataError
from hubft.base.files import MARK, write_bytes, write_json, write_text
from hubft.base.folders import new_folder
from hubft.job import Job
from hubft.modality import Sample
from hubft.run import facts, folder
from hubft.run.data import Data
from hubft.run.facts import Finding

if TYPE_CHECKING:
    from hubft.run.look import Looked, Suspect

FINDINGS, FACTS, CONTACT = "findings.csv", "data.json", "contact.png"
COLUMNS = ("place", "part", "finding", "detail", "score")
SHELVES, EXAMPLES, SUSPECTS, PAIRS = 30, 8, 32, 8  # of a contact sheet: names, pictures of each, and what is below

Files = list[tuple[Path | BytesIO, str]]


def place(job: Job) -> Path:
    """Return the folder that a look at data writes.

    :raises JobError: the one that was named exists.
    """
    return folder.required(Path(job.output) if job.output else folder.unused("data", Path(job.data).resolve().name))


def write(where: Path, data: Data, looked: Looked) -> None:
    """Write the folder, whole or not at all."""
    findings = every(data, looked)
    sheet = modality.named(data.kind).contact(_shelves(data, looked))
    with new_folder(where) as new:
        (new / MARK).touch()
        lines = [COLUMNS, *([f.place, f.part, f.finding, f.detail, _score(f)] for f in findings)]
        write_text(new / FINDINGS, "".join(f"{csv_line(line)}\n" for line in lines))
        write_json(new / FACTS, plain(data, looked))
        if sheet:
            write_bytes(new / CONTACT, sheet)


def every(data: Data, looked: Looked) -> list[Finding]:
    """Return all findings: those of the reader, then by features, each kind with the worst first."""
    return [*facts.found(data), *looked.findings]


def plain(data: Data, looked: Looked) -> dict[str, Any]:
    """Return the facts as JSON types."""
    return {
        "kind": data.kind,
        "task": data.task.kind,
        "parts": {part: len(its) for part, its in data.parts.items()},
        "names": facts.counts(data),
        "numbers": {
            name: {part: asdict(one) for part, one in its.items()} for name, its in facts.numbers(data).items()
        },
        "sizes": {what: asdict(one) for what, one in facts.sizes(data).items()},
        "findings": dict(Counter(finding.finding for finding in every(data, looked))),
        "notes": list(data.notes),
        "reference": looked.reference,
        "probe": asdict(looked.probe) if looked.probe else None,
        "left_out": looked.left_out,
    }


def _score(finding: Finding) -> str:
    return "" if finding.score is None else f"{finding.score:.4f}"


def _shelves(data: Data, looked: Looked) -> Iterator[tuple[str, Files]]:
    """Yield what a contact sheet shows: examples of each name, suspicious labels, samples that are nearly equal."""
    for _, (title, samples) in zip(range(SHELVES), facts.examples(data, EXAMPLES), strict=False):
        named = not data.task.numbers(samples[0].target)
        yield title, _files(data, [(one, "" if named else facts.said(data.task, one.target)) for one in samples])
    if looked.suspects:
        title = "suspicious labels, and what they more likely are"
        yield title, _files(data, map(_captioned, looked.suspects[:SUSPECTS]))
    if looked.near:
        yield "nearly equal, two by two", _files(data, [(one, "") for pair in looked.near[:PAIRS] for one in pair])


def _captioned(suspect: Suspect) -> tuple[Sample, str]:
    doubt = suspect.doubt
    return suspect.sample, f"{f'{doubt.column}: ' if doubt.column else ''}{doubt.label} → {doubt.guess}"


def _files(data: Data, samples: Iterable[tuple[Sample, str]]) -> Files:
    found: Files = []
    for sample, words in samples:
        with suppress(DataError, OSError):  # it was there when it was read
            found.append((data.source.open(sample.place), words))
    return found
