"""What a model takes, as plain data: the core reads and transforms samples by it. Without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from hubft.base.errors import FamilyError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROPS = ("center", "squash", "border")


@dataclass(frozen=True)
class Images:
    """How pixels become inputs, as plain data: the core builds training and evaluation transforms from it.

    An image is decoded to 8-bit RGB (`hubft.images.rgb`), resized to `resize`, cropped to `size`, scaled to [0, 1] and
    normalised by `mean` and `std` channel by channel.
    """

    kind: ClassVar[str] = "images"

    size: tuple[int, int]
    """Height and width of the model's input, pixels."""
    resize: tuple[int, int] | int
    """Length of the shorter side before the crop, pixels; a pair is height and width, whatever the ratio."""
    crop: str = "center"
    """`center`: shorter side to `resize`, then cut; `squash`: straight to `resize`, then cut;
    `border`: longer side to `resize`, then cut, or padded with the mean colour."""
    interpolation: str = "bilinear"
    """Of the resize, as Pillow names it."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: str = "rgb"
    """Order of the input's channels, `rgb` or `bgr`; mean and std are in the same order."""
    white: int = 65535
    """Value of 16-bit grey that is white, 1..65535: 4095 where a camera of 12 bits wrote files of 16."""

    def __post_init__(self) -> None:
        sides = (*self.size, *(self.resize if isinstance(self.resize, tuple) else (self.resize,)))
        if not all(isinstance(side, int) and 1 <= side <= 8192 for side in sides):
            raise FamilyError(f"preprocess: size {self.size} and resize {self.resize} must lie in 1..8192")
        for what, value, known in (
            ("crop", self.crop, CROPS),
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("channels", self.channels, ("rgb", "bgr")),
        ):
            if value not in known:
                raise FamilyError(f"preprocess: {what} {value!r} is none of {', '.join(known)}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(self.std):
            raise FamilyError(f"preprocess: mean {self.mean} and std {self.std} must be three numbers each")
        if type(self.white) is not int or not 1 <= self.white <= 65535:
            raise FamilyError(f"preprocess: white {self.white!r} must lie in 1..65535")

    def __str__(self) -> str:
        """Return what it is for a message: `images of 224 x 224`."""
        return f"images of {self.size[0]} x {self.size[1]}"

    def at_size(self, size: int) -> Images:
        """Return the preprocessing for a square input of `size` pixels, the share that is cropped away kept."""
        scale, old = size / min(self.size), self.resize
        new = (round(old[0] * scale), round(old[1] * scale)) if isinstance(old, tuple) else round(old * scale)
        return replace(self, size=(size, size), resize=new)


Preprocess = Images  # by the name that it had in version 1.1 of the hooks
