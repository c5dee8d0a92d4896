"""Samples with boxes: views that move the boxes along with the pixels."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from hubft.base import draws
from hubft.images import frame
from hubft.images.pixels import Views

LIGHT, SSD = (0.0, 1.0), (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Least overlap of a crop with a box, drawn from these; 1 leaves the picture whole."""


class Located(Views):
    """Views whose targets are tuples of (class, x0, y0, x1, y1, ...): these move into pixels of the model's input.

    A box is cut where its picture is; one of whose centre a crop has nothing, or that is less than a pixel then, is
    left out.
    """

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Any]:
        view, i = index
        sample = self.samples[i]
        if self._is_exact(view):
            return torch.from_numpy(self.exact[i].copy()), self._moved(sample.size, sample.target)
        picture = Image.fromarray(self.working[i])
        draws.seed("sample", self.recipe.seed, view - 1, i)
        picture, target = augmented(picture, _scaled(sample.target, sample.size, picture.size), self.augment)
        return torch.from_numpy(numpy.array(self.evaluation(picture))), self._moved(picture.size, target)

    def _training(self, augment: str) -> v2.Compose:
        ground = tuple(round(255 * one) for one in self.inputs.mean)
        return training(augment, ground[::-1] if self.inputs.flipped else ground)

    def _moved(self, size: tuple[int, int], target: Any) -> tuple[Any, ...]:
        where = frame.of(size, self.inputs)
        moved = ((one[0], *where.forth(one[1:5]), *one[5:]) for one in target)
        return tuple(one for one in moved if one[3] > one[1] and one[4] > one[2])


def training(augment: str, ground: tuple[int, ...]) -> v2.Compose:
    """Return the random transform of `--augment` for pictures with boxes; it draws from torch's global generator only.

    `light` mirrors, and of every second picture cuts off a quarter of each side at most. `standard` and `strong` crop
    as SSD does (https://arxiv.org/abs/1512.02325, section 2.2: a crop that has a part of some box), may put the
    picture on a larger ground, and change its colours, `strong` more of each.

    :param ground: colour of what is added around a picture, RGB.
    """
    if augment in ("none", "auto", "light"):
        steps = [v2.RandomIoUCrop(min_scale=0.75, sampler_options=list(LIGHT))]
    elif augment == "standard":
        colour = v2.ColorJitter(0.4, 0.4, 0.4)
        steps = [colour, v2.RandomZoomOut(ground, (1.0, 2.0), p=0.3), v2.RandomIoUCrop(sampler_options=list(SSD))]
    else:
        zoom = v2.RandomZoomOut(ground, (1.0, 4.0), p=0.5)
        steps = [v2.RandomPhotometricDistort(), zoom, v2.RandomIoUCrop(sampler_options=list(SSD))]
    return v2.Compose([v2.RGB(), *steps, v2.RandomHorizontalFlip(), v2.SanitizeBoundingBoxes()])


def augmented(picture: Image.Image, target: Any, transform: v2.Compose) -> tuple[Image.Image, tuple[Any, ...]]:
    """Return a picture and its target, in pixels of it, as a random transform makes them."""
    steps = list(transform.transforms)
    if not target:  # a crop looks for a box
        transform = v2.Compose([step for step in steps if not isinstance(step, v2.RandomIoUCrop)])
    boxes = tv_tensors.BoundingBoxes(
        torch.tensor([one[1:5] for one in target], dtype=torch.float32).reshape(-1, 4),
        format="XYXY",
        canvas_size=(picture.height, picture.width),
    )
    made = transform({"image": picture, "boxes": boxes, "labels": torch.arange(len(target))})
    moved = zip(made["labels"].tolist(), made["boxes"].tolist(), strict=True)
    return made["image"], tuple((target[place][0], *box, *target[place][5:]) for place, box in moved)


def _scaled(target: Any, size: tuple[int, int], wanted: tuple[int, int]) -> tuple[Any, ...]:
    """Return a target for another width and height of its picture."""
    x, y = wanted[0] / size[0], wanted[1] / size[1]
    return tuple((one[0], one[1] * x, one[2] * y, one[3] * x, one[4] * y, *one[5:]) for one in target)
