"""Texts that were proved: each is read once, and what cannot be used is named with its reason. Without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hubft.base import files
from hubft.base.bars import Counting, counted
from hubft.base.errors import DataError
from hubft.data.rows import Row, Source


@dataclass(frozen=True, slots=True)
class Sample:
    """A text, with its target."""

    place: str
    """As its source knows it."""
    target: Any
    """As the task encodes it."""
    sha256: str
    """Of its UTF-8."""
    text: str
    group: str = ""
    """Of the rows that stay on one side of a split."""

    @property
    def content(self) -> str:
        """What is equal for equal texts."""
        return self.sha256


def examine(source: Source, rows: Sequence[Row], targets: Sequence[Any], counting: Counting) -> list[Sample | str]:
    """Return of each row its sample, or why it is none.

    :param targets: of the rows, encoded.
    """
    its = counted(counting, zip(rows, targets, strict=True), len(rows), "texts read")
    return [_prove(source, row, target) for row, target in its]


def _prove(source: Source, row: Row, target: Any) -> Sample | str:
    try:
        opened = source.open(row.place)
        content = files.content(opened)
        text = decoded(content)
    except (DataError, OSError) as error:
        return str(error)
    return Sample(row.place, target, hashlib.sha256(content).hexdigest(), text, row.group)


def decoded(content: bytes) -> str:
    """Return the text of its bytes, every character of it.

    :raises DataError: it is no UTF-8, or there is nothing in it.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"no text in UTF-8: {error.reason} at byte {error.start:,}") from error
    if not text or text.isspace():
        raise DataError("the text is empty")
    return text
