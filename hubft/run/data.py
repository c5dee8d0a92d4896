"""The data of a run: rows read, their task found, every sample proved, parts held out, all of it fingerprinted.

Without torch, so that what is wrong with data is told before seconds go into importing it. Nothing is replaced or
dropped in silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubft import modality
from hubft.base.bars import Counting, nobody
from hubft.base.display import listed, look_alike
from hubft.base.errors import DataError
from hubft.data import folder, listing, reading
from hubft.data.rows import MAX_UNUSABLE, Row, Rows, Source
from hubft.data.source import Folder
from hubft.data.split import split
from hubft.job import Columns, Job, Labels
from hubft.modality import Sample
from hubft.run import remarks, taking
from hubft.tasks import kinds, naming, settle
from hubft.tasks.task import Column, Task
from hubft.tracking import table as tracking

TUNE = 0.1  # share of the training rows that is held out where a task, or --wise, has something to choose by them


@dataclass(frozen=True)
class Data:
    """Labelled samples, ready to train on."""

    source: Source
    task: Task
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    quarantined: Mapping[str, str]
    """Place or row -> reason, of all that was left out."""
    notes: tuple[str, ...] = ()
    """What a user should know of the data, a line each."""
    test: tuple[Sample, ...] = ()
    """Of the data's own test part, if it has one: for one look, when all is done."""
    tune: tuple[Sample, ...] = ()
    """Training samples that are not trained on, by which the task chooses thresholds."""
    kind: str = Rows.kind
    """Of its inputs."""

    @property
    def word(self) -> str:
        """What a sample is called."""
        return modality.named(self.kind).word

    @property
    def parts(self) -> dict[str, tuple[Sample, ...]]:
        """The parts that are there."""
        more = {"tune": self.tune, "test": self.test}
        return {"train": self.train, "val": self.val} | {name: its for name, its in more.items() if its}

    def fingerprint(self) -> dict[str, dict[str, str | int]]:
        """Return the number of samples and one sha256 over the labels and file digests of each part that is there."""
        return {name: _fingerprint(its, self.task) for name, its in self.parts.items()}

    def facts(self) -> dict[str, Any]:
        """Return what the data of a run that goes on is known by: names of outputs, fingerprint, JSON types."""
        return {"classes": list(self.task.names), **self.fingerprint()}


def read(job: Job, names: Sequence[str] | None = None, kinds: Sequence[str] = (), counting: Counting = nobody) -> Data:
    """Return a job's data, split into training and validation, and its test part if it has one.

    Parts that the data states are taken as they are. Where there is none to validate on, training samples are held
    out by `split`. Every sample is read once: what the model's kind of inputs is not made of is quarantined.

    :param names: of outputs, whose order is taken where the data has the same names; without them, those of the
        packages that the job builds on.
    :param kinds: of inputs that may be meant; without them, those that the job's model may take.
    :raises JobError: a tracker whose library is missing.
    :raises DataError: no such data, columns or labels that no task can be made of, nothing to train or to validate
        on, more than a tenth of the rows unusable.
    """
    tracking.require(job.track)
    rows = taking.of_kinds(
        lambda files: reading.to_train(str(job.data), job.labels, files, counting), kinds or taking.kinds(job)
    )
    word = modality.named(rows.kind).word
    task, told = _task(rows, job.labels, _orders(job) if names is None else [tuple(names)])
    quarantined = {**rows.left_out, **rows.within}
    parts = {part: _usable(rows, part, task, quarantined, counting) for part in rows.parts}
    notes = [*rows.notes, *told]
    seed, root = job.recipe.seed, rows.title("train")
    if "val" not in parts:
        parts["train"], parts["val"] = split(parts["train"], _strata(task), job.holdout, seed)
    if "test" in parts:
        kept = "" if "val" in rows.parts else f"{len(parts['val'])} {word}s of {_last(root)} are held out to validate; "
        notes.append(f"{kept}{_last(rows.title('test'))} is measured once, at the end")
    if task.tunes or job.recipe.wise:
        parts["train"], parts["tune"] = split(parts["train"], _strata(task), TUNE, seed, "tune")
    if not parts["val"]:
        raise DataError(f"{root!r}: no usable {word} to validate on")
    try:
        task = task.settled([sample.target for sample in parts["train"]])
    except DataError as error:
        raise DataError(f"{root!r}: {error}") from error
    missing, unseen = (task.absent([sample.target for sample in parts[part]]) for part in ("train", "val"))
    if "val" in rows.parts and (strangers := [name for name in missing if name not in unseen]):
        where = rows.title("val")
        raise DataError(f"{root!r}: no usable {word} to train on with {listed(strangers)}, which {where!r} has")
    notes += [*listing.told(rows.passed), *remarks.of(parts, task, rows.kind)]
    train, val, test, tune = (tuple(parts.get(part, ())) for part in ("train", "val", "test", "tune"))
    return Data(rows.source, task, train, val, quarantined, tuple(notes), test, tune, rows.kind)


@dataclass(frozen=True)
class Labelled:
    """Labelled samples on which a package is measured."""

    source: Source
    title: str
    """What they are called where they lie."""
    samples: Sequence[Sample]
    left_out: Mapping[str, str]
    """Place or row -> reason."""
    notes: tuple[str, ...]

    def shown(self, sample: Sample) -> str:
        """Return what a sample is called: the path of its file where it is one."""
        return str(self.source.root / sample.place) if isinstance(self.source, Folder) else sample.place


def labelled(
    data: str,
    known: Labels,
    asked: Columns | None,
    task: Task,
    kind: str = Rows.kind,
    counting: Counting = nobody,
) -> Labelled:
    """Return the samples that a package with this task is measured on: validation, else test, else all there are.

    :param known: columns that the package was trained on.
    :param asked: columns that are called otherwise here.
    :raises DataError: no such data, a label that the task does not know, no usable sample.
    """
    rows = taking.of_kinds(lambda files: reading.to_measure(data, known, asked, files, counting), (kind,))
    ((part, its),) = rows.parts.items()
    title = rows.title(part)
    if task.kind == "classification" and not any(row.number for row in its):
        _require_known(title, rows.names.get(folder.COLUMN, ()), task)
    for row in its:
        try:
            task.encode(row.values)
        except DataError as error:
            raise DataError(f"{title!r}: {_at(row)}{error}") from error
    quarantined = {**rows.left_out, **rows.within}
    usable = _usable(rows, part, task, quarantined, counting)
    if not usable:
        raise DataError(f"{title!r}: no usable {modality.named(kind).word} with a label")
    return Labelled(rows.source, title, usable, quarantined | dict(rows.passed), rows.notes)


def _require_known(title: str, names: Iterable[str], task: Task) -> None:
    """Refuse class folders that a package has no class for, empty ones too: all of them at once."""
    if strangers := sorted(set(names) - set(task.names)):
        if twins := look_alike([*task.names, *strangers]):
            raise DataError(f"a class folder of {title!r} and a known class, {twins}: rename the folder")
        raise DataError(f"{title!r} has unknown classes {listed(strangers)}; known are {listed(task.names)}")


def _orders(job: Job) -> list[tuple[str, ...]]:
    """Return the orders of outputs of the packages that a job builds on."""
    if not job.packages:
        return []
    from hubft.run import parent  # as above

    return parent.orders(job)


def _task(rows: Rows, labels: Labels, orders: Sequence[tuple[str, ...]]) -> tuple[Task, list[str]]:
    """Return the task that the columns state, and what a user should know of how it was found.

    :param orders: names of outputs; the first that are those of the task say their order.
    """
    known = [row for part in ("train", "val") for row in rows.parts.get(part, ())]
    columns, notes = [], []
    for place, name in enumerate(rows.columns):
        values = [row.values[place] for row in known]
        names = tuple(rows.names.get(name, ()))
        if names and not isinstance(rows.source, Folder):  # a list that may be that of a larger set
            there = {one for value in values for one in (value if isinstance(value, list) else [value])}
            missing = [one for one in names if one not in there]
            notes += [f"{len(missing):,} names of {name!r} are in no row: {listed(missing)}"] if missing else []
            names = tuple(one for one in names if one in there)
        columns.append(Column(name, values, names))
    labels = replace(labels, task=rows.task) if labels.task == "auto" else labels
    task, note = settle.fit(columns, labels)
    order = next((its for its in orders if sorted(its) == sorted(task.names)), task.names)
    if order != task.names:
        task = kinds.named(task.kind).fit(naming.ordered(columns, order), labels)
    return task, [*notes, note] if note else notes


def _usable(rows: Rows, part: str, task: Task, quarantined: dict[str, str], counting: Counting) -> list[Sample]:
    """Return the samples of a part; what cannot be used is added to the others with its reason.

    :raises DataError: more than a tenth of the part cannot be used.
    """
    its, bad = rows.parts[part], {}
    good, targets = [], []
    for row in its:
        try:
            target = task.encode(row.values)
        except DataError as error:
            bad[_named(row)] = str(error)
            continue
        if target is None:
            bad[_named(row)] = "it has no label"
        else:
            good.append(row)
            targets.append(target)
    proved = modality.named(rows.kind).examine(rows.source, good, targets, counting)
    for row, proof in zip(good, proved, strict=True):
        if isinstance(proof, str):
            bad[_named(row)] = proof
    faults = {**(rows.left_out if part == "train" else {}), **bad}
    every = len(its) + len(faults) - len(bad)
    if len(faults) > MAX_UNUSABLE * every:
        first = next(iter(faults))
        raise DataError(
            f"{len(faults):,} of {every:,} {modality.named(rows.kind).word}s in {rows.title(part)!r} cannot be used, "
            f"more than a tenth; mend them or take them away; {first!r}: {faults[first]}"
        )
    quarantined |= bad
    return [proof for proof in proved if not isinstance(proof, str)]


def _named(row: Row) -> str:
    """Return what a row is called in a report: its number in a table, and its place."""
    return _at(row) + listing.printable(row.place)


def _at(row: Row) -> str:
    return f"row {row.number}: " if row.number else ""


def _last(title: str) -> str:
    """Return what a part is called, without the folders above it."""
    return f"{Path(title).name}/" if Path(title).is_dir() else title


def _strata(task: Task) -> Callable[[Sample], Iterable[Hashable]]:
    return lambda sample: task.strata(sample.target)


def _fingerprint(its: Sequence[Sample], task: Task) -> dict[str, str | int]:
    lines = sorted(f"{sample.sha256} {task.mark(sample.target)}\n" for sample in its)
    return {"samples": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}
