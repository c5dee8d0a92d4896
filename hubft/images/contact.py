"""A contact sheet: small pictures in rows, with a title above each shelf and a line below each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeAlias

from PIL import Image, ImageDraw

from hubft.base.display import visible
from hubft.base.errors import DataError
from hubft.images.decode import decode
from hubft.images.marked import GROUND, INK, letters

THUMB, GAP, ACROSS = 112, 8, 8  # pixels of a picture's longer side and between two; pictures of a row
LINE, TITLE = 14, 22  # pixels of a line below a picture, and of a title


Shelf: TypeAlias = "tuple[str, Sequence[tuple[Path | BytesIO, str]]]"
"""A title, and files with a line below each."""


class Thumb(NamedTuple):
    """A small picture with the line below it."""

    picture: Image.Image
    words: str


Open: TypeAlias = "Callable[[Path | BytesIO], Image.Image]"


def small(file: Path | BytesIO) -> Image.Image:
    """Return a picture in RGB, hardly larger than it is shown."""
    return decode(file, THUMB)


def sheet(shelves: Iterable[Shelf], shown: Open = small) -> bytes:
    """Return a PNG of these shelves, each with as many rows as it needs. A file that cannot be read is left out.

    :param shown: makes a picture in RGB of a file.
    """
    made = [(title, _thumbs(files, shown)) for title, files in shelves]
    rows = [-(-len(thumbs) // ACROSS) for _, thumbs in made]
    row = THUMB + LINE + GAP
    height = GAP + sum(TITLE + number * row for number in rows)
    whole = Image.new("RGB", (GAP + ACROSS * (THUMB + GAP), height), GROUND)
    pen, top = ImageDraw.Draw(whole), GAP
    for (title, thumbs), number in zip(made, rows, strict=True):
        pen.text((GAP, top), visible(title, 100), fill=INK, font=letters(14))
        for place, thumb in enumerate(thumbs):
            left, below = GAP + place % ACROSS * (THUMB + GAP), top + TITLE + place // ACROSS * row
            whole.paste(thumb.picture, (left, below))
            pen.text((left, below + THUMB), thumb.words, fill=INK, font=letters(10))
        top += TITLE + number * row
    whole.save(made_of := BytesIO(), format="PNG")
    return made_of.getvalue()


def _thumbs(files: Sequence[tuple[Path | BytesIO, str]], shown: Open) -> list[Thumb]:
    found = []
    for file, words in files:
        with suppress(DataError, OSError):  # it was there when it was read
            picture = shown(file)
            picture.thumbnail((THUMB, THUMB))
            found.append(Thumb(picture, visible(words, 20)))
    return found
