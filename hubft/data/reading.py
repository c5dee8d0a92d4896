"""Rows of whatever a user names as data: a folder of classes, a format of boxes, a table, a data set of the Hub."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hubft.base.bars import Counting, nobody
from hubft.base.display import listed
from hubft.base.errors import DataError, Option
from hubft.data import annotated, detection, documents, folder, layout, patterns, table, words
from hubft.data.rows import Rows
from hubft.job import Columns, Labels


def is_there(data: str) -> bool:
    """Tell whether data that is named by a path lies there; what lies elsewhere always does."""
    if patterns.named(data):
        return patterns.there(data)
    return data.startswith(table.HUB) or Path(data).exists()


def absolute(data: str) -> str:
    """Return what names the same data from any working folder."""
    if patterns.named(data):
        return patterns.absolute(data)
    return data if data.startswith(table.HUB) else str(Path(data).resolve())


def check(data: str) -> None:
    """Check that a package can be measured on data, as far as that is known without reading its rows.

    :raises DataError: there is no such data, or nothing in it to measure on.
    """
    if not detection.is_one(data) and not table.is_table(data):
        layout.to_measure(Path(data))


def to_train(data: str, labels: Labels, kinds: Sequence[str] = (Rows.kind,), counting: Counting = nobody) -> Rows:
    """Return the rows to train on, in the parts that the data states.

    :param kinds: of the inputs that are looked for.
    :raises DataError: there is no such data, or it cannot be told what in it is what.
    """
    _refuse_task(labels, kinds)
    if detection.is_one(data):
        return _boxes(data, labels, kinds, counting)
    if table.is_table(data):
        return annotated.of_table(table.read(data, labels, kinds=kinds, counting=counting))
    _refuse_folder(data, kinds)
    _refuse_columns(data, labels)
    with counting(f"files of {Path(data).name}", None):
        return folder.to_train(Path(data))


def to_measure(
    data: str,
    known: Labels,
    asked: Columns | None = None,
    kinds: Sequence[str] = (Rows.kind,),
    counting: Counting = nobody,
) -> Rows:
    """Return the rows on which a package is measured, as one part: validation, else test, else all there are.

    :param known: columns that the package was trained on; those but the labels count only where they are there.
    :param asked: columns that are called otherwise here.
    :raises DataError: as `to_train` does.
    """
    given = {name: value for name, value in dataclasses.asdict(asked or Columns()).items() if value}
    if detection.is_one(data):
        if len(known.target) > 1:
            raise DataError(
                f"{data!r} holds boxes, and this package was trained on the columns {listed(known.target)} of a table"
            )
        return _one_part(_boxes(data, dataclasses.replace(Labels(), **given), kinds, counting))
    if not table.is_table(data):
        _refuse_folder(data, kinds)
        _refuse_columns(data, dataclasses.replace(Labels(), **given))
        if known.target:
            raise DataError(
                f"{data!r} is a folder of class folders, and this package was trained on the columns "
                f"{listed(known.target)} of a table: give a table"
            )
        with counting(f"files of {Path(data).name}", None):
            return folder.to_measure(Path(data))
    if "pair" in given and not known.pair:
        raise DataError(Option("pair"), f" {given['pair']}: the package takes one text at a time; leave it out")
    labels = dataclasses.replace(known, **given)
    soft = [role for role in ("input", "split", "group") if role not in given]
    return _one_part(annotated.of_table(table.read(data, labels, soft, kinds=kinds, counting=counting)))


def inputs(data: str, columns: Columns, kind: str = Rows.kind) -> Rows:
    """Return the rows of a table of which the labels do not matter.

    :raises DataError: as `to_train` does.
    """
    labels = dataclasses.replace(Labels(), **dataclasses.asdict(columns))
    return table.read(data, labels, labelled=False, kinds=(kind,))


def _one_part(found: Rows) -> Rows:
    part = next(part for part in ("val", "test", "train") if found.parts.get(part))
    return dataclasses.replace(found, parts={part: found.parts[part]})


def _boxes(data: str, labels: Labels, kinds: Sequence[str], counting: Counting) -> Rows:
    """Return the rows of data in a format of boxes, which has no columns that a user could name."""
    if Rows.kind not in kinds:
        raise DataError(f"{data!r} holds boxes in images; of {kinds[0]}, give a table")
    _refuse_columns(data, dataclasses.replace(labels, images=""), "holds boxes in a format of its own")
    return detection.read(data, labels.images, counting)


def _refuse_folder(data: str, kinds: Sequence[str]) -> None:
    """Refuse a folder of classes where its files cannot be the inputs."""
    if Rows.kind not in kinds and Path(data).exists():
        raise DataError(f"{data!r} is a folder of class folders, which hold images; of {kinds[0]}, give a table")


def _refuse_task(labels: Labels, kinds: Sequence[str]) -> None:
    """Refuse a task that has inputs of its own where the model takes others."""
    for one in (words, documents):
        if labels.task == one.TASK and one.KIND not in kinds:
            why = f" {one.TASK} needs a model of {one.KIND}, as those of the family transformers, and this one takes "
            raise DataError(Option("task"), f"{why}{' or '.join(kinds)}: take another model, or another task")


def _refuse_columns(data: str, labels: Labels, what: str = "is a folder of class folders") -> None:
    """Refuse options of tables for what has no columns."""
    for name in (field.name for field in dataclasses.fields(Columns)):
        if value := getattr(labels, name):
            shown = ", ".join(value) if isinstance(value, tuple) else value
            raise DataError(Option(name), f" {shown}: {data!r} {what}, which has no columns; give a table")
