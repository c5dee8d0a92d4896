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
    for later, earlier in (("val", "train"), ("test", "train"), ("test", "val")):
        leaked = {s.content for s in parts.get(later, ())} & {s.content for s in parts.get(earlier, ())}
        if leaked:
            of = f"{len(leaked)} {TITLES[later]} {word}s are also {TITLES[earlier]} {word}s"
            yield f"{of}: the score will look better than it is"
    if number := torn(every, task):
        yield f"{number} {word}s have two labels with equal {kind.equal}"
    for part in ("val", "test"):
        its = [sample.target for sample in parts.get(part, ())]
        if its and (absent := task.absent(its)):
            yield f"{TITLES[part]} has no {word} of {task.word} {listed(absent)}"
    yield from kind.notes(every)


def torn(samples: Sequence[Sample], task: Task) -> int:
    """Return how many samples there are with more than one label each."""
    labels: dict[str, set[str]] = {}
    for sample in samples:
        labels.setdefault(sample.content, set()).add(task.mark(sample.target))
    return sum(len(marks) > 1 for marks in labels.values())
