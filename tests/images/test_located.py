"""Boxes move with their pixels: into every input, through every augmentation, and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageDraw

from hubft.base.bars import nobody
from hubft.data.rows import Row
from hubft.data.source import Folder
from hubft.images import frame
from hubft.images.located import Located
from hubft.images.modality import MODALITY
from hubft.inputs import Images
from hubft.job import Recipe
from hubft.tasks.boxes import Boxes

TASK = Boxes(("red", "green", "blue"))
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
SIZES = [(120, 80), (75, 140), (64, 64), (333, 41)]
INPUTS = [
    Images((64, 64), (64, 64), "squash"),
    Images((64, 96), (64, 96), "squash"),
    Images((64, 64), 64, "border"),
    Images((64, 96), (64, 96), "border"),
    Images((56, 56), 64, "center"),
    Images((48, 48), 100, "border"),
]


def drawn(folder: Path, size: tuple[int, int], boxes: list[tuple[Any, ...]]) -> Located:
    """Return the views of one picture with rectangles of the colours of their classes."""
    image = Image.new("RGB", size, (128, 128, 128))
    for label, x0, y0, x1, y1, _ in boxes:
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=COLOURS[label])
    image.save(folder / "0.png")
    [sample] = MODALITY.examine(Folder(folder), [Row("0.png", ())], [tuple(boxes)], nobody)
    views = MODALITY.views(Folder(folder), TASK, [sample], INPUTS[0])
    assert isinstance(views, Located), "the task says where things are"
    return views


def seen(pixels: numpy.ndarray, label: int) -> tuple[int, int, int, int] | None:
    """Return where a colour is in a picture `[height, width, 3]`."""
    other = [channel for channel in range(3) if channel != label]
    mask = (pixels[..., label].astype(int) - pixels[..., other].max(2)) > 60
    if not mask.any():
        return None
    rows, columns = numpy.nonzero(mask.any(1))[0], numpy.nonzero(mask.any(0))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_box_lies_where_its_pixels_are_in_the_input_and_back(
    tmp_path: Path, size: tuple[int, int], inputs: Images
) -> None:
    width, height = size
    box = (width // 3, height // 4, width // 3 + width // 3, height // 4 + height // 2)
    views = drawn(tmp_path, size, [(0, *box, False)])
    where = frame.of(size, inputs)
    made = Located(views.source, TASK, views.samples, inputs)
    pixels, target = made[0, 0]
    assert pixels.shape == (*inputs.size, 3)
    found = seen(pixels.numpy(), 0)
    assert found is not None and numpy.abs(numpy.array(found) - target[0][1:5]).max() <= 1.5, (found, target)
    inside = [0 < corner < end for corner, end in zip(target[0][1:5], inputs.size[::-1] * 2, strict=True)]
    back = where.back(target[0][1:5])
    assert [a for a, b in zip(back, inside, strict=True) if b] == pytest.approx(
        [a for a, b in zip(box, inside, strict=True) if b]
    )
    assert MODALITY.frame(inputs, tmp_path / "0.png") == where


@pytest.mark.parametrize("augment", ["light", "standard", "strong"])
def test_augmentation_moves_boxes_with_their_pixels_and_draws_by_counter(tmp_path: Path, augment: str) -> None:
    boxes = [(0, 10, 12, 40, 60, False), (2, 60, 20, 110, 70, True), (1, 45, 5, 55, 15, False)]
    made = drawn(tmp_path, (120, 80), boxes)
    views = replace_recipe(made, augment)
    found = [views[view, 0] for view in range(1, 41)]
    again = replace_recipe(made, augment)[7, 0]
    assert again[0].equal(found[6][0]) and again[1] == found[6][1], "whatever was drawn before"
    assert len({str(target) for _, target in found}) > 10, "the views differ"
    checked = 0
    for pixels, target in found:
        assert {one[0] for one in target} <= {0, 1, 2} and all(one[5] == (one[0] == 2) for one in target)
        for label, x0, y0, x1, y1, _ in target:
            assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
            place = seen(pixels.numpy(), label) if augment == "light" else None
            if place:
                checked += 1
                assert numpy.abs(numpy.array(place) - (x0, y0, x1, y1)).max() <= 2, (place, target)
    assert checked > 60 or augment != "light"


def replace_recipe(views: Located, augment: Any) -> Located:
    under = views.under(replace(Recipe(), augment=augment, seed=3))
    assert isinstance(under, Located)
    return under


@pytest.mark.parametrize("augment", ["none", "light", "standard", "strong"])
def test_an_image_without_objects_has_views(tmp_path: Path, augment: str) -> None:
    views = replace_recipe(drawn(tmp_path, (40, 30), []), augment)
    pixels, target = views[5, 0]
    assert pixels.shape == (64, 64, 3) and target == ()
    _, [collated] = views.collate([(pixels, target)])
    assert collated["boxes"].shape == (0, 4) and len(collated["labels"]) == 0
