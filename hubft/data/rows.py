"""Samples as the data states them, whatever it lies in: where each input is, and what stands in its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

PARTS = ("train", "val", "test")
MAX_UNUSABLE = 0.1  # share of what was stated; above it the data is at fault, not a file


class Source(Protocol):
    """What gives the bytes of inputs. It can be pickled to another process."""

    def open(self, place: str) -> Path | BytesIO:
        """Return the file of an input, or its bytes.

        :raises DataError: it is not there, or no regular file.
        """


@dataclass(frozen=True, slots=True)
class Row:
    """One sample, as it was stated."""

    place: str
    """Of its input, as its source knows it and as it is shown: a path below the data's folder with forward slashes,
    or a place in a file, `train.parquet#17`."""
    values: tuple[Any, ...] = ()
    """What stands in the target columns, a text or a JSON type each; None for a gap."""
    group: str = ""
    """Rows of one group (a patient, a video, a product) stay on one side of a split; empty where there are none."""
    number: int = 0
    """Of the row in its table, counted from 1, the header not counted; 0 in a folder."""


@dataclass(frozen=True)
class Rows:
    """All samples of a data set, as it states them: nothing is opened yet."""

    source: Source
    columns: tuple[str, ...]
    """Names of the target columns, in the order of `Row.values`; `("class",)` where folders are the classes."""
    parts: Mapping[str, tuple[Row, ...]]
    """By `train`, `val` and `test`: what the data has split by hand; else all of it is `train`."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Place, or number of the row -> why a row is not used, of those that are at fault (they count as such)."""
    within: Mapping[str, str] = field(default_factory=dict)
    """Place in a row -> why that is not used, though the row is: a box of an image. They count as no rows."""
    passed: Mapping[str, str] = field(default_factory=dict)
    """Folder, shown -> why it does not count, which is no fault."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the data was taken, a line each."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> the names of its classes in order, where the data itself says them: folders, a ClassLabel."""
    kind: str = "images"
    """Of the inputs (`hubft.modality`)."""
    name: str = ""
    """What all of it is called, for messages."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """What a part is called where it lies, for messages: `data/valid`, `split == 'dev'`."""
    task: str = "auto"
    """What its labels mean, where that is known by what they are labels of; else it is found from them."""

    def title(self, part: str) -> str:
        """Return what a part is called where it lies; all of it, where it has no parts."""
        return self.titles.get(part, self.name)
