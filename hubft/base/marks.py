"""What is marked on pictures, and what draws it: plain data, whatever a task says of places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Marks(NamedTuple):
    """Boxes to be drawn, each with `label`, `box` and perhaps `score`, as a task's answers have them."""

    boxes: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    """Of the classes: a colour each."""


NO_MARKS = Marks((), ())


class Drawing(Protocol):
    """What draws on files what a task says of places in them: a module, such as `hubft.images.marked`."""

    def one(self, source: Path | BytesIO, said: Mapping[str, Any], names: Sequence[str]) -> bytes:
        """Return a file as a JPEG with what was said drawn on it."""

    def beside(self, rows: Iterable[tuple[Path | BytesIO, Any, Any]], names: Sequence[str]) -> bytes:
        """Return a PNG of several files, twice each: with what is true, and with what was said."""
