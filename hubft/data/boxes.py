"""Boxes around objects, as annotations state them: each is checked against its image, and given in its pixels.

A row's cell is a list of `{"label": str, "box": [x0, y0, x1, y1]}`, pixels of the upright image, x0 < x1 and y0 < y1;
a region of which nobody said what is in it has `"crowd": True` too. An empty list is an image without objects.

A box that is wrong is left out and told by image and number; the image stays. What is empty, outside or said twice
marks no object of its own; where an object is lost, the image teaches a little less, as detectors bear a few objects
that nobody marked (https://arxiv.org/abs/1806.06986: a third of them cost a few per cent). More than a tenth of wrong
boxes stops the run: then the data is at fault. An image is left out only where its file cannot be used.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.data.formats import LYING, opened, upright
from hubft.data.rows import MAX_UNUSABLE, Row, Source

MOST = 10_000  # boxes of an image
LARGEST = 1e9  # of a coordinate
REACH = 1.0  # pixels by which a box may reach beyond its image before that is told: annotations are rounded

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """One box, as it was stated."""

    label: str = ""
    corners: Corners = (0.0, 0.0, 0.0, 0.0)
    """x0, y0, x1, y1."""
    crowd: bool = False
    problem: str = ""
    """Why it is none, as far as that is known without the image."""


@dataclass(slots=True)
class Picture:
    """An image and the boxes that are stated for it, in the order of the data."""

    place: str
    boxes: list[Box] = field(default_factory=list)
    size: tuple[int, int] | None = None
    """Width and height by the annotation, of the image as it is stored or upright; None where it says none."""
    shares: bool = False
    """Whether corners are shares of width and height, not pixels."""
    number: int = 0
    group: str = ""


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number that may be a coordinate."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


class Checking:
    """Pictures on their way to rows, and what is wrong with their boxes."""

    def __init__(self, source: Source, left_out: dict[str, str], within: dict[str, str]) -> None:
        self.source, self.left_out, self.within, self.notes = source, left_out, within, list[str]()
        self.count = self.wrong = len(within)
        self._clipped: list[str] = []
        self._turned: list[str] = []
        self._twice: list[str] = []
        self._bare = 0

    def rows(self, pictures: Sequence[Picture]) -> list[Row]:
        """Return the rows of those that can be used."""
        return [row for row in self.each(pictures) if row is not None]

    def each(self, pictures: Sequence[Picture]) -> list[Row | None]:
        """Return the row of each, None where its annotation cannot be that of its file."""
        return [self._row(picture) for picture in pictures]

    def _row(self, picture: Picture) -> Row | None:
        row = Row(picture.place, ([],), picture.group, picture.number)
        try:
            size, turn = _sides(self.source.open(picture.place))
        except Exception:  # whoever reads all files says of this one why it is no image
            return row
        lying = turn in LYING and picture.size == size[::-1] != size
        if picture.size and picture.size != size and not lying:
            stated, real = ("{} x {}".format(*one) for one in (picture.size, size))
            self.left_out[picture.place] = f"its annotation is of {stated} pixels, and the image has {real}"
            return None
        if len(picture.boxes) > MOST:
            self.left_out[picture.place] = f"{len(picture.boxes):,} boxes are more than {MOST:,}"
            return None
        if lying and picture.boxes:
            self._turned.append(picture.place)
        cell: list[dict[str, Any]] = []
        known: set[tuple[Any, ...]] = set()
        for number, box in enumerate(picture.boxes, 1):
            where = f"{picture.place}, box {number:,}"
            self.count += 1
            try:
                corners = self._corners(box, picture, size, turn if lying else 1, where)
            except _Wrong as why:
                self.within[where] = str(why)
                self.wrong += 1
                continue
            if (box.label, corners) in known:
                self.within[where] = "another box of this image has its label and place"
                continue
            known.add((box.label, corners))
            cell.append({"label": box.label, "box": [*corners]} | ({"crowd": True} if box.crowd else {}))
        self._bare += not cell
        return replace(row, values=(cell,))

    def _corners(self, box: Box, picture: Picture, size: tuple[int, int], turn: int, where: str) -> Corners:
        """Return where a box lies in the upright image, pixels."""
        if box.problem:
            raise _Wrong(box.problem)
        width, height = size
        found = box.corners
        if found[2] < found[0] or found[3] < found[1]:
            raise _Wrong(f"its corners are swapped: {_shown(found)}")
        if found[0] == found[2] or found[1] == found[3]:
            raise _Wrong(f"it is empty: {_shown(found)}")
        if turn != 1:
            found = turned(found, turn, size[::-1])
        if picture.shares:
            found = (found[0] * width, found[1] * height, found[2] * width, found[3] * height)
        x0, y0, x1, y1 = found
        inside = max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            raise _Wrong(f"it lies outside of the image of {width} x {height} pixels: {_shown(found)}")
        if max(abs(a - b) for a, b in zip(found, inside, strict=True)) > REACH:
            self._clipped.append(where)
        return inside

    def refuse_faulty(self, name: str) -> None:
        """Refuse data of which too many boxes are wrong.

        :raises DataError: names the first.
        """
        if self.wrong > MAX_UNUSABLE * self.count:
            where, why = next(iter(self.within.items()))
            raise DataError(
                f"{self.wrong:,} of {self.count:,} boxes in {name!r} cannot be used, more than a tenth; mend them or "
                f"take them away; {where!r}: {why}"
            )

    def told(self) -> list[str]:
        """Return what a user should know, a line each."""
        found = list(self.notes)
        if self._bare:
            found.append(f"{self._bare:,} images have no box: they are trained on as images without objects")
        if self._clipped:
            found.append(f"{len(self._clipped):,} boxes reach beyond their image and are clipped to it: ")
            found[-1] += listed(self._clipped, 4)
        if self._turned:
            found.append(f"{len(self._turned):,} images lie by their EXIF tag, as their boxes do: both are turned, ")
            found[-1] += listed(self._turned, 4)
        return found


class _Wrong(Exception):
    """Why a box is none."""


def _sides(source: Path | BytesIO) -> tuple[tuple[int, int], int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opened(source) as image:
            return upright(image)


def turned(corners: Corners, turn: int, size: tuple[int, int]) -> Corners:
    """Return the corners of a box in an image that is turned upright.

    :param turn: EXIF orientation, one by which width and height change places.
    :param size: width and height of the image as it is stored.
    """
    (x0, y0, x1, y1), (width, height) = corners, size
    across = (height - y1, height - y0) if turn in (6, 7) else (y0, y1)
    down = (width - x1, width - x0) if turn in (7, 8) else (x0, x1)
    return across[0], down[0], across[1], down[1]


def _shown(corners: Corners) -> str:
    return "[" + ", ".join(f"{one:.6g}" for one in corners) + "]"
