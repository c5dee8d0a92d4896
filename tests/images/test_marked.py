"""Boxes on pictures: where they are said to be, each in the colour of its class."""

from typing import Any

import numpy
import pytest
from PIL import Image, ImageColor

from hubft.images import marked
from hubft.images.marked import COLOURS, Marked

NAMES = ("ant", "bee")


def box(label: str, *corners: float, **more: Any) -> dict[str, Any]:
    return {"label": label, "box": [*corners], **more}


def where(picture: Image.Image, colour: str) -> tuple[int, int, int, int] | None:
    """Return the box around all pixels of a colour."""
    same = (numpy.asarray(picture) == ImageColor.getrgb(colour)).all(2)
    return Image.fromarray(same).getbbox()


@pytest.fixture
def ground() -> Image.Image:
    return Image.new("RGB", (200, 120), "white")


def test_a_box_is_drawn_around_its_pixels(ground: Image.Image) -> None:
    drawn = marked.marked(ground, [box("ant", 30, 40, 90, 100)], NAMES)
    left, _, right, bottom = where(drawn, COLOURS[0]) or ()
    assert (left, right, bottom) == (30, 90, 100) and drawn.size == ground.size
    assert drawn.getpixel((60, 70)) == (255, 255, 255) and where(drawn, COLOURS[1]) is None
    assert where(ground, COLOURS[0]) is None, "the picture itself stays"


def test_each_class_has_its_colour_and_the_highest_score_lies_on_top(ground: Image.Image) -> None:
    boxes = [box("ant", 30, 40, 90, 100, score=0.9), box("bee", 30, 40, 90, 100, score=0.4)]
    drawn = marked.marked(ground, boxes, NAMES)
    assert drawn.getpixel((60, 99)) == ImageColor.getrgb(COLOURS[0])
    assert marked.marked(ground, boxes[1:], NAMES).getpixel((60, 99)) == ImageColor.getrgb(COLOURS[1])
    other = marked.marked(ground, [box("wasp", 30, 40, 90, 100)], NAMES)
    assert other.getpixel((60, 99)) == ImageColor.getrgb(COLOURS[-1])


def test_label_and_score_can_be_seen(ground: Image.Image) -> None:
    plain = marked.marked(ground, [box("ant", 30, 40, 150, 100)], NAMES)
    scored = marked.marked(ground, [box("ant", 30, 40, 150, 100, score=0.25)], NAMES)
    crowd = marked.marked(ground, [box("ant", 30, 40, 150, 100, crowd=True)], NAMES)
    assert len({plain.tobytes(), scored.tobytes(), crowd.tobytes()}) == 3
    assert (numpy.asarray(scored)[20:40, 30:80] == ImageColor.getrgb(COLOURS[0])).all(2).any()


@pytest.mark.parametrize("corners", [(0, 0, 200, 120), (-20, -20, 300, 300), (199, 119, 200, 120), (50, 50, 50, 50)])
def test_boxes_at_the_edge_and_beyond_are_drawn(ground: Image.Image, corners: tuple[float, ...]) -> None:
    drawn = marked.marked(ground, [box("a long label of many letters", *corners, score=1.0)], NAMES)
    assert where(drawn, COLOURS[-1])


def test_boxes_are_scaled_with_their_picture(ground: Image.Image) -> None:
    drawn = marked.marked(ground, [box("ant", 30, 40, 90, 100)], NAMES, side=400)
    left, _, right, bottom = where(drawn, COLOURS[0]) or ()
    assert drawn.size == (400, 240) and (left, right, bottom) == (60, 180, 200)


def test_names_of_other_scripts_have_letters_and_controls_none(ground: Image.Image) -> None:
    for name in ("кошка", "γάτα", "a\nb"):
        marked.marked(ground, [box(name, 30, 40, 90, 100)], (name,))


def test_a_sheet_has_what_is_there_beside_what_was_said(ground: Image.Image) -> None:
    rows = [Marked(ground, [box("ant", 30, 40, 90, 100)], [box("bee", 30, 40, 90, 100, score=0.5)])] * 20
    sheet = marked.sheet(iter(rows), NAMES)
    there, said = where(sheet, COLOURS[0]), where(sheet, COLOURS[1])
    assert there and said and there[2] < sheet.width / 2 < said[0]
    assert sheet.height < (marked.ROWS + 1) * 230, "no more rows than are looked at"
    assert marked.sheet([], NAMES).width == sheet.width
