"""Pictures with boxes drawn on them, each with its label and its score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from hubft.base.display import visible
from hubft.images.decode import decode

FONT = "fonts/ttf/DejaVuSans.ttf"  # comes with matplotlib, and has the letters of many scripts
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f")
GROUND, INK = "white", "black"
SIDE, WIDE = 360, 24  # of a picture among others, pixels; letters of a label
ROWS, QUALITY = 12, 92  # pictures of a sheet; of a JPEG
THUMB, THUMB_QUALITY = 256, 80  # of a picture among many of a page: pixels of its longer side, of a JPEG
HEADINGS = ("true", "predicted")


class Marked(NamedTuple):
    """A picture with the boxes that are there and those that were said."""

    picture: Image.Image
    true: Sequence[Mapping[str, Any]]
    """Each with `label` and `box`, x0, y0, x1, y1 in pixels of the picture; with `crowd` it counts neither way."""
    said: Sequence[Mapping[str, Any]]
    """Each with a `score` too."""


def one(source: Path | BytesIO, said: Mapping[str, Any], names: Sequence[str]) -> bytes:
    """Return a picture with the boxes that were said of it, as JPEG.

    :param said: its `boxes`, as `marked` takes them.
    :raises DataError: it cannot be decoded.
    """
    marked(decode(source), said["boxes"], names).save(made := BytesIO(), format="JPEG", quality=QUALITY)
    return made.getvalue()


def beside(rows: Iterable[tuple[Path | BytesIO, Any, Any]], names: Sequence[str]) -> bytes:
    """Return pictures twice each, as PNG: with the boxes that are there, and with those that were said.

    :param rows: a picture, what is true of it, and what was said, each with its `boxes`.
    :raises DataError: one of them cannot be decoded.
    """
    its = (Marked(decode(source), true["boxes"], said["boxes"]) for source, true, said in rows)
    sheet(its, names).save(made := BytesIO(), format="PNG")
    return made.getvalue()


def marked(
    picture: Image.Image, boxes: Sequence[Mapping[str, Any]], names: Sequence[str], side: int = 0
) -> Image.Image:
    """Return a copy of a picture, RGB, with boxes drawn on it; those of the lowest scores first.

    :param boxes: each with `label` and `box`, x0, y0, x1, y1 in pixels of the picture, and perhaps `score`, `crowd`.
    :param names: of the classes: a colour each, in their order.
    :param side: of the longer side to scale to before it is drawn on; as it is, without.
    """
    scale = side / max(picture.size) if side else 1.0
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    drawn = picture.convert("RGB").resize(size) if side else picture.convert("RGB").copy()
    pen, font = ImageDraw.Draw(drawn), letters(max(11, round(max(size) / 40)))
    width = max(2, round(max(size) / 250))
    for one in sorted(boxes, key=lambda box: box.get("score", 1.0)):
        colour = COLOURS[names.index(one["label"]) % len(COLOURS)] if one["label"] in names else COLOURS[-1]
        corners = (corner * scale for corner in one["box"])
        x0, y0, x1, y1 = (max(0.0, min(corner, drawn.size[i % 2])) for i, corner in enumerate(corners))
        pen.rectangle(
            (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=1 if one.get("crowd") else width
        )
        _label(pen, (x0, y0), _words(one), colour, font)
    return drawn


def small(
    picture: Image.Image, boxes: Sequence[Mapping[str, Any]], names: Sequence[str], scaled: tuple[int, int] = (0, 0)
) -> bytes:
    """Return a picture among many of a page, THUMB pixels a side at most, with boxes drawn on it, as JPEG.

    :param scaled: width and height of the picture that the boxes are of, where this one was made smaller.
    """
    scale = (picture.width / scaled[0], picture.height / scaled[1]) if all(scaled) else (1.0, 1.0)
    moved = [{**one, "box": [corner * scale[i % 2] for i, corner in enumerate(one["box"])]} for one in boxes]
    side = THUMB if moved or max(picture.size) > THUMB else 0
    marked(picture, moved, names, side).save(made := BytesIO(), format="JPEG", quality=THUMB_QUALITY)
    return made.getvalue()


def _words(one: Mapping[str, Any]) -> str:
    score = f" {one['score']:.2f}" if "score" in one else ""
    return f"{visible(str(one['label']), WIDE)}{score}{' (not counted)' if one.get('crowd') else ''}"


def _label(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], words: str, colour: str, font: ImageFont.FreeTypeFont
) -> None:
    """Write a label above a corner, or below it where there is no room."""
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0.0, min(at[0], pen.im.size[0] - width))
    y = at[1] - height if at[1] >= height else at[1]
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + 2 - left, y + 2 - top), words, fill=GROUND, font=font)


def sheet(pictures: Iterable[Marked], names: Sequence[str]) -> Image.Image:
    """Return the first ROWS pictures in rows, twice each: with what is there, and with what was said."""
    rows = [
        (marked(one.picture, one.true, names, SIDE), marked(one.picture, one.said, names, SIDE))
        for _, one in zip(range(ROWS), pictures, strict=False)
    ]
    font, gap = letters(16), 8
    head = 16 + 2 * gap
    size = (2 * SIDE + 3 * gap, head + sum(row[0].height + gap for row in rows))
    found = Image.new("RGB", size, GROUND)
    pen, top = ImageDraw.Draw(found), head
    for column, words in enumerate(HEADINGS):
        pen.text((gap + column * (SIDE + gap), gap), words, fill=INK, font=font)
    for row in rows:
        for column, picture in enumerate(row):
            found.paste(picture, (gap + column * (SIDE + gap), top))
        top += row[0].height + gap
    return found


@cache
def letters(size: int) -> ImageFont.FreeTypeFont:
    """Return the letters of all that is drawn, of a size in pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), FONT)), size)
