"""A table that was opened, whatever it is written in: its columns, and its rows one after the other."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubft.base.errors import DataError
from hubft.data.layout import NAMES
from hubft.data.rows import Source

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".avif", ".jp2")
"""Ends of paths that are most likely those of images."""
SCALARS = (str, bool, int, float)
KINDS = {"dict": "an object", "bytes": "bytes"}  # as messages name them


@dataclass(frozen=True)
class Sheet:
    """One table of a data set: a file, or a split."""

    name: str
    """As messages name it: of a file, its path below the data's folder, with forward slashes."""
    columns: tuple[str, ...]
    rows: Callable[[Sequence[str]], Iterator[Sequence[Any]]]
    """Called with names of columns, gives the cells of each row in that order; each call begins at the first row."""
    part: str = ""
    """`train`, `val` or `test`, where all of it is that by its name or place."""
    prefix: str = ""
    """What stands before its relative paths: `train/`."""
    packed: frozenset[str] = frozenset()
    """Columns with the bytes of images inside; their cells are not read with the others."""
    keys: Sequence[str] = ()
    """What its rows are called, where they have names."""

    def place(self, row: int) -> str:
        """Return where a row is that has its input inside: `SHEET#ROW`, counted from 0, or `SHEET#KEY`."""
        return f"{self.name}#{self.keys[row] if self.keys else row}"


@dataclass(frozen=True)
class Book:
    """All tables of a data set, and what belongs to them together."""

    path: str
    """As messages name it."""
    root: Path
    """Where relative paths begin, if the user names no other folder."""
    sheets: tuple[Sheet, ...]
    source: Callable[[str], Source] | None = None
    """Called with the name of a packed column, gives what opens its bytes at the place of a row."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> names of its classes in order, where the data says them."""
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Place -> why something there is no row."""
    kind: str = "images"
    """Of the inputs that are looked for in it (`hubft.modality`)."""
    files: bool = False
    """Whether it lies among the images that it describes, so that their folders may be parts of a split."""


def kind(name: str) -> str:
    """Return which part something of this name is: `train`, `val`, `test`, or nothing."""
    return next((part for part, names in NAMES.items() if name.strip().lower() in names), "")


def part_of(name: str) -> str:
    """Return the part that a file's path below the data's folder says: `data/train-00000-of-00002.parquet`."""
    *folders, file = name.split("/")
    words = [*reversed(folders), *re.split(r"[-_. ]", file)]
    return next((part for part in map(kind, words) if part), "")


def cell(value: Any) -> Any:
    """Return what stands in a cell as a text or a JSON type, without blanks around it; None for a gap: no value, no
    letter, not a number. A list of objects stays as it is.

    :raises DataError: a value of another type.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, dict) for one in value):
            return [*value]  # boxes, of which a task says what they must hold
        found = [cell(one) for one in value]
        if all(isinstance(one, SCALARS) for one in found if one is not None):
            return [one for one in found if one is not None]
        raise DataError("a list of lists")
    if isinstance(value, decimal.Decimal):
        return cell(float(value))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise DataError(KINDS.get(type(value).__name__, f"a value of type {type(value).__name__}"))
