"""Data sets of boxes as rows: what the formats of detection state, and a column of boxes in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.data.boxes import Box, Checking, Picture, is_number
from hubft.data.rows import Row, Rows
from hubft.data.source import Folder

COLUMN = "boxes"
KEYS = ("label", "box", "crowd")


@dataclass
class Annotated:
    """Images with boxes, as a data set states them."""

    root: Path
    """Places are below it."""
    parts: dict[str, list[Picture]]
    names: Sequence[str] = ()
    """Of classes in their order, also of those that no box has; sorted by name where the data has no order."""
    titles: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Image -> why it cannot be used."""
    within: dict[str, str] = field(default_factory=dict)
    """Box that belongs to no image -> why it is none."""
    passed: dict[str, str] = field(default_factory=dict)
    """What is there and does not count."""


def rows(found: Annotated, name: str) -> Rows:
    """Return the rows of a data set.

    :param name: what all of it is called, for messages.
    :raises DataError: no image with annotations, one in two parts, more than a tenth of the boxes wrong.
    """
    if not any(found.parts.values()):
        first = next(iter(found.left_out.items()), None)
        why = f": {first[0]}: {first[1]}" if first else ""
        raise DataError(f"{name!r} has no image with annotations that is there{why}")
    if "train" not in found.parts:
        raise DataError(f"{name!r} has no part to train on, only {listed(found.parts)}: one must be called train")
    parts_of: dict[str, str] = {}
    for part, its in found.parts.items():
        for picture in its:
            if (other := parts_of.setdefault(picture.place, part)) != part:
                raise DataError(f"{quoted(picture.place)} is in two parts of {name!r}, {other} and {part}: keep one")
    checking = Checking(Folder(found.root), found.left_out, found.within)
    parts = {part: tuple(checking.rows(its)) for part, its in found.parts.items()}
    known = [box["label"] for part in ("train", "val") for row in parts.get(part, ()) for box in row.values[0]]
    used = dict.fromkeys(known)
    if unused := [one for one in found.names if one not in used]:
        checking.notes.append(f"{len(unused):,} classes have no box and are left out: {listed(unused)}")
    names = [one for one in found.names if one in used] or sorted(used)
    checking.refuse_faulty(name)
    return Rows(
        checking.source,
        (COLUMN,),
        parts,
        checking.left_out,
        checking.within,
        found.passed,
        (*found.notes, *checking.told()),
        {COLUMN: tuple(names)},
        name=name,
        titles=found.titles,
    )


def of_table(found: Rows) -> Rows:
    """Return the rows of a table with the boxes in its one column checked; other rows as they are.

    :raises DataError: more than a tenth of the boxes wrong.
    """
    cells = [row.values[0] for its in found.parts.values() for row in its] if len(found.columns) == 1 else []
    if not any(isinstance(cell, list) and cell and isinstance(cell[0], dict) and "box" in cell[0] for cell in cells):
        return found
    checking = Checking(found.source, found.left_out, {})
    parts = {}
    for part, its in found.parts.items():
        whole = {i: _picture(row) for i, row in enumerate(its) if isinstance(row.values[0], list)}
        made = dict(zip(whole, checking.each([*whole.values()]), strict=True))
        parts[part] = tuple(row for i, one in enumerate(its) if (row := made.get(i, one)))
    checking.refuse_faulty(found.name)
    return replace(found, parts=parts, notes=(*found.notes, *checking.told()), within=checking.within)


def _picture(row: Row) -> Picture:
    return Picture(row.place, [_stated(one) for one in row.values[0]], number=row.number, group=row.group)


def _stated(one: Any) -> Box:
    """Return the box that an object in a cell states."""
    if not isinstance(one, dict):
        return Box(problem=f"{quoted(str(one))} is no object with a label and a box")
    if strange := [key for key in one if key not in KEYS]:
        return Box(problem=f"has {listed(strange)}; known are {listed(KEYS)}")
    label, box = one.get("label"), one.get("box")
    if not isinstance(label, str | int) or isinstance(label, bool) or label == "":
        return Box(problem="it has no label")
    if isinstance(box, list | tuple) and len(box) == 4 and all(map(is_number, box)):
        return Box(str(label), (box[0], box[1], box[2], box[3]), bool(one.get("crowd")))
    return Box(problem=f"its box is {quoted(str(box))}, not [x0, y0, x1, y1] in pixels")
