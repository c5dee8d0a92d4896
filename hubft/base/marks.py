"""What is drawn on a picture in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Marks(NamedTuple):
    """Boxes to be drawn, each with `label`, `box` and perhaps `score`, as a task's answers have them."""

    boxes: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    """Of the classes: a colour each."""


NO_MARKS = Marks((), ())
