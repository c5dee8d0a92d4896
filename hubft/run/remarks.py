"""What a user should know of the parts of the data before training on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hubft import modality
from hubft.base.display import listed
from hubft.modality import Sample
from hubft.tasks.task import Task

TITLES = {"train": "training", "val": "validation", "test": "test", "tune": "tuning"}


def of(parts: Mapping[str, Sequence[Sample]], task: Task, name: str) -> Iterator[str]:
    """Yield a line for each thing: samples that two parts share, equal samples with two labels, labels of which a part
    has no sample, and what the modality notes.

    :param parts: samples by the name of their part.
    :param name: the kind of inputs.
    """
    kind = modality.named(name)
    word = kind.word
    every = [sample for its in parts.values() for sample in its]
    groups = copies(parts)
    for later, earlier in (("val", "train"), ("test", "train"), ("test", "val")):
        leaked = sum({later, earlier} <= {part for part, _ in group} for group in groups)
        if leaked:
            of = f"{leaked} {TITLES[later]} {word}s are also {TITLES[earlier]} {word}s"
            yield f"{of}: the score will look better than it is"
    if number := torn(groups, task):
        yield f"{number} {word}s have two labels with equal {kind.equal}"
    for part in ("val", "test"):
        its = [sample.target for sample in parts.get(part, ())]
        if its and (absent := task.absent(its)):
            yield f"{TITLES[part]} has no {word} of {task.word} {listed(absent)}"
    yield from kind.notes(every)


def copies(parts: Mapping[str, Sequence[Sample]]) -> list[list[tuple[str, Sample]]]:
    """Return the samples of equal content, each with its part, for each content that more than one has."""
    groups: dict[str, list[tuple[str, Sample]]] = {}
    for part, its in parts.items():
        for sample in its:
            groups.setdefault(sample.content, []).append((part, sample))
    return [group for group in groups.values() if len(group) > 1]


def torn(groups: Sequence[Sequence[tuple[str, Sample]]], task: Task) -> int:
    """Return how many of the `copies` have more than one label."""
    return sum(len({task.mark(sample.target) for _, sample in group}) > 1 for group in groups)
