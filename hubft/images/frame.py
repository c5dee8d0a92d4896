"""Where a picture lies in the input that is made of it: places of one in pixels of the other. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hubft.inputs import Framed

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """A place of the input is a place of the picture times `scale` minus `offset`; (x, y), pixels."""

    picture: tuple[int, int]
    """Width and height, upright."""
    input: tuple[int, int]
    """The same of the input."""
    scale: tuple[float, float]
    offset: tuple[int, int]

    def forth(self, box: Sequence[float]) -> Box:
        """Return the part of a box x0, y0, x1, y1 of the picture that is in the input; none is left of one outside."""
        return self._clipped([box[i] * self.scale[i % 2] - self.offset[i % 2] for i in range(4)], self.input)

    def back(self, box: Sequence[float]) -> Box:
        """Return a box of the input in pixels of the picture."""
        return self._clipped([(box[i] + self.offset[i % 2]) / self.scale[i % 2] for i in range(4)], self.picture)

    @staticmethod
    def _clipped(box: Sequence[float], size: tuple[int, int]) -> Box:
        left, top, right, bottom = (min(max(value, 0.0), float(size[i % 2])) for i, value in enumerate(box))
        return left, top, right, bottom


def of(size: tuple[int, int], inputs: Framed) -> Frame:
    """Return where a picture of this width and height lies in what `hubft.images.transforms.evaluation` makes of it."""
    made = _resized(size, inputs)
    wanted = (inputs.size[1], inputs.size[0])
    offset = (_cut(made[0], wanted[0]), _cut(made[1], wanted[1]))
    return Frame(size, wanted, (made[0] / size[0], made[1] / size[1]), offset)


def _resized(size: tuple[int, int], inputs: Framed) -> tuple[int, int]:
    """Return width and height before the crop."""
    width, height = size
    resize = inputs.resize
    if inputs.crop == "center" and isinstance(resize, int):
        if width <= height:
            return resize, int(resize * height / width)
        return int(resize * width / height), resize
    most = (resize[1], resize[0]) if isinstance(resize, tuple) else (resize, resize)
    if inputs.crop != "border" or width / height == most[0] / most[1]:
        return most
    if width / height > most[0] / most[1]:  # as `PIL.ImageOps.contain` rounds
        return most[0], round(height / width * most[0])
    return round(width / height * most[1]), most[1]


def _cut(made: int, wanted: int) -> int:
    """Return how many pixels are cut away on the left, or less than none where some are added."""
    return round((made - wanted) / 2.0) if made >= wanted else -((wanted - made) // 2)
