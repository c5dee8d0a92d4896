"""What a model of images takes, as plain data: of what size, how normalised, and from which pixels. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from types import MappingProxyType
from typing import ClassVar, Self

from hubft.base.errors import FamilyError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
SMOOTH = INTERPOLATIONS[:3]  # those of tensors, as torchvision has them
CROPS = ("center", "squash", "border")
ORDERS = ("rgb", "bgr")
MOST_CHANNELS = 64


@dataclass(frozen=True)
class Framed:
    """How a picture becomes an input of one size, whatever its pixels are, as plain data.

    It is resized to `resize`, cropped to `size`, and normalised by `mean` and `std` channel by channel.
    """

    kind: ClassVar[str]
    FILES: ClassVar[Mapping[str, str]] = MappingProxyType({})
    unit: ClassVar[float] = 1.0
    """Value of a pixel that is 1 to `mean` and `std`."""

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

    def __post_init__(self) -> None:
        sides = (*self.size, *(self.resize if isinstance(self.resize, tuple) else (self.resize,)))
        if not all(isinstance(side, int) and 1 <= side <= 8192 for side in sides):
            raise FamilyError(f"preprocess: size {self.size} and resize {self.resize} must lie in 1..8192")
        for what, value, known in (("crop", self.crop, CROPS), ("interpolation", self.interpolation, INTERPOLATIONS)):
            if value not in known:
                raise FamilyError(f"preprocess: {what} {value!r} is none of {', '.join(known)}")

    def __str__(self) -> str:
        """Return what it is for a message: `images of 224 x 224`."""
        return f"images of {self.size[0]} x {self.size[1]}"

    @property
    def side(self) -> int:
        return self.size[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an input: channels, height, width."""
        return (len(self.mean), *self.size)

    @property
    def flipped(self) -> bool:
        """Whether the input has the picture's channels in the reverse order."""
        return False

    @property
    def arrays(self) -> Mapping[str, tuple[int, ...]]:
        return {"images": self.shape}

    def at_size(self, size: int) -> Self:
        """Return the preprocessing for a square input of `size` pixels, the share that is cropped away kept."""
        scale, old = size / min(self.size), self.resize
        new = (round(old[0] * scale), round(old[1] * scale)) if isinstance(old, tuple) else round(old * scale)
        return replace(self, size=(size, size), resize=new)


@dataclass(frozen=True)
class Images(Framed):
    """How pixels become inputs, as plain data: the core builds training and evaluation transforms from it.

    An image is decoded to 8-bit RGB (`hubft.images.rgb`), resized to `resize`, cropped to `size`, scaled to [0, 1] and
    normalised by `mean` and `std` channel by channel.
    """

    kind: ClassVar[str] = "images"
    unit: ClassVar[float] = 255.0

    channels: str = "rgb"
    """Order of the input's channels, `rgb` or `bgr`; mean and std are in the same order."""
    white: int = 65535
    """Value of 16-bit grey that is white, 1..65535: 4095 where a camera of 12 bits wrote files of 16."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in ORDERS:
            raise FamilyError(f"preprocess: channels {self.channels!r} is none of {', '.join(ORDERS)}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(self.std):
            raise FamilyError(f"preprocess: mean {self.mean} and std {self.std} must be three numbers each")
        if type(self.white) is not int or not 1 <= self.white <= 65535:
            raise FamilyError(f"preprocess: white {self.white!r} must lie in 1..65535")

    @property
    def flipped(self) -> bool:
        return self.channels == "bgr"


@dataclass(frozen=True)
class Bands(Framed):
    """How an image of any number of channels becomes an input, as plain data: float32 `[channels, height, width]`.

    Its values are taken as they are stored, whatever their depth; `mean` and `std`, a number each for every channel,
    are in their units.
    """

    kind: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop == "border" or self.interpolation not in SMOOTH:
            how = f"crop {self.crop!r} and interpolation {self.interpolation!r}"
            raise FamilyError(f"bands: {how}: known are center and squash, with {', '.join(SMOOTH)}")
        if not 1 <= len(self.mean) == len(self.std) <= MOST_CHANNELS:
            raise FamilyError(f"bands: mean and std must be a number each for 1 to {MOST_CHANNELS} channels")
        if not all(map(isfinite, self.mean)) or not all(isfinite(one) and one > 0 for one in self.std):
            raise FamilyError("bands: mean and std must be finite numbers, and std above 0")

    def __str__(self) -> str:
        """Return what it is for a message: `images of 4 channels and 224 x 224`."""
        return f"images of {len(self.mean)} channels and {self.size[0]} x {self.size[1]}"
