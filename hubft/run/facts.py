"""What the reader found in data, for people: counts, sizes, copies, leaks, what was left out. Without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from hubft import modality
from hubft.modality import Sample
from hubft.run.data import Data
from hubft.run.remarks import TITLES, copies
from hubft.tasks import cells
from hubft.tasks.task import Task

DEFAULT = {"images": "pip:efficientnet_lite0", "text": "pip:minilm_l6"}
"""Kind of inputs -> the backbone where none is named: one that pip installs, and that needs no network then."""
QUARANTINED, DUPLICATE, LEAK, TORN = "quarantined", "duplicate", "leak", "two labels"
NEAR, NEAR_LEAK, LABEL, UNLIKELY = "near-duplicate", "near-leak", "label", "unlikely label"
MEANINGS = {
    QUARANTINED: "it cannot be used, and is left out",
    DUPLICATE: "its content is that of another in the same part",
    LEAK: "its content is that of one in another part",
    TORN: "its content has another label elsewhere",
    NEAR: "its features are nearly those of another in the same part",
    NEAR_LEAK: "its features are nearly those of one in another part",
    LABEL: "its label is taken for wrong, by what the others say of it",
    UNLIKELY: "another label is likelier, as of many a right one",
}
"""Kind of a finding -> what it says of a sample."""


@dataclass(frozen=True)
class Finding:
    """Something that a user should look at."""

    place: str
    """Of the sample, as the data knows it."""
    part: str
    """In which it lies; empty where that is not known."""
    finding: str
    """One of MEANINGS."""
    detail: str = ""
    score: float | None = None
    """How near, a cosine; how suspicious a label is, as `hubft.tasks.doubts.Doubt` has it."""


@dataclass(frozen=True)
class Spread:
    """Where numbers lie."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), median(values), max(values))

    def __str__(self) -> str:
        return f"{cells.short(self.least)} to {cells.short(self.most)}, median {cells.short(self.median)}"


def found(data: Data) -> list[Finding]:
    """Return what the reader knows without looking at features: what was left out, copies, leaks, equal samples with
    two labels."""
    its = [Finding(place, "", QUARANTINED, reason) for place, reason in data.quarantined.items()]
    equal = modality.named(data.kind).equal
    for group in copies(data.parts):
        part, first = group[0]
        for other, sample in group[1:]:
            detail = f"equal {equal}: {first.place} in {TITLES[part]}"
            its.append(Finding(sample.place, other, DUPLICATE if other == part else LEAK, detail))
            if data.task.mark(sample.target) != data.task.mark(first.target):
                labels = f"{said(data.task, sample.target)} here, {said(data.task, first.target)} at {first.place}"
                its.append(Finding(sample.place, other, TORN, labels))
    return its


def said(task: Task, target: Any) -> str:
    """Return a target in a few words."""
    numbers = [f"{name} {cells.short(value)}" for name, value in task.numbers(target).items()]
    return ", ".join([*dict.fromkeys(task.present(target)), *numbers]) or "none"


def counts(data: Data) -> dict[str, dict[str, int]]:
    """Return how many samples have each name, by part: of boxes and words how many there are, not how many samples."""
    each = {part: Counter(n for one in its for n in data.task.present(one.target)) for part, its in data.parts.items()}
    known = dict.fromkeys([*data.task.names, *(name for its in each.values() for name in its)])
    there = any(its.total() for its in each.values())
    return {name: {part: its[name] for part, its in each.items()} for name in known if there and _counted(name, each)}


def _counted(name: str, each: Mapping[str, Counter[str]]) -> bool:
    return any(name in its for its in each.values())


def numbers(data: Data) -> dict[str, dict[str, Spread]]:
    """Return where the numbers of each column lie, by part."""
    spreads: dict[str, dict[str, Spread]] = {}
    for part, its in data.parts.items():
        for name, values in _columns(data.task.numbers(sample.target) for sample in its).items():
            spreads.setdefault(name, {})[part] = Spread.of(values)
    return spreads


def sizes(data: Data) -> dict[str, Spread]:
    """Return how large samples are, all parts together."""
    kind = modality.named(data.kind)
    every = [sample for its in data.parts.values() for sample in its]
    return {what: Spread.of(values) for what, values in _columns(kind.sizes(one) for one in every).items()}


def _columns(rows: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def examples(data: Data, most: int) -> Iterator[tuple[str, list[Sample]]]:
    """Yield what samples have in common, and so many of them: of each name, or where there are numbers alone, over
    their whole range."""
    every = [sample for its in data.parts.values() for sample in its]
    having: dict[str, list[Sample]] = {}
    for sample in every:
        for name in dict.fromkeys(data.task.present(sample.target)):
            having.setdefault(name, []).append(sample)
    for name in (one for one in counts(data) if one in having):
        yield f"{name}: {len(having[name]):,}", _evenly(having[name], most)
    if not having and (numbered := [sample for sample in every if data.task.numbers(sample.target)]):
        numbered.sort(key=lambda sample: next(iter(data.task.numbers(sample.target).values())))
        yield "from the least to the most", _evenly(numbered, 2 * most)
    elif not having:
        yield f"{len(every):,} {data.word}s", _evenly(every, most)


def _evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return so many samples at even distances, the first and the last among them."""
    if len(samples) <= most:
        return list(samples)
    return [samples[round(place * (len(samples) - 1) / (most - 1))] for place in range(most)]
