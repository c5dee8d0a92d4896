"""What draws on files, as the core asks it of a kind of inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol


class Drawing(Protocol):
    """What draws on files what a task says of places in them: a module, such as `hubft.images.marked`."""

    def one(self, source: Path | BytesIO, said: Mapping[str, Any], names: Sequence[str]) -> bytes:
        """Return a file as a JPEG with what was said drawn on it."""

    def beside(self, rows: Iterable[tuple[Path | BytesIO, Any, Any]], names: Sequence[str]) -> bytes:
        """Return a PNG of several files, twice each: with what is true, and with what was said."""
