"""Boxes as a cell states them: a list of objects, each with its label and its corners. Without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hubft.base.display import quoted
from hubft.base.errors import DataError
from hubft.tasks import cells

FORM = '{"label": NAME, "box": [x0, y0, x1, y1]}'


def holds(value: Any) -> bool:
    """Tell whether a cell holds boxes."""
    found = cells.as_list(value)
    return bool(found) and all(isinstance(one, Mapping) and "box" in one for one in found or ())


def stated(value: Any) -> Iterator[tuple[Any, tuple[float, float, float, float], bool]]:
    """Yield the label, the corners and whether it is a crowd, of each box of a cell that is not empty.

    That a box is one, and lies in its image, is checked where data is read (`hubft.data.boxes`).

    :raises DataError: the cell holds something else.
    """
    found = cells.as_list(value)
    if found is None or not all(isinstance(one, Mapping) and {"label", "box"} <= one.keys() for one in found):
        raise DataError(f"a cell must hold a list of boxes, {FORM}, and this is {quoted(str(value))}")
    for one in found:
        left, top, right, bottom = map(float, one["box"])
        yield one["label"], (left, top, right, bottom), bool(one.get("crowd"))
