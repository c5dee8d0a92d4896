"""From a file to pixels. With Pillow: torchvision 0.29 ends the process on a PNG that has too few bytes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from hubft.base.errors import DataError
from hubft.data.formats import UNKNOWN, is_tiff, opened, upright
from hubft.images.rgb import rgb
from hubft.inputs import Preprocess

MANY = (
    "a TIFF that is neither grey nor RGB, or of another depth than 8 bits: with --surgery channels=N, N the number of "
    "its channels, a model is fine-tuned on such images as they are"
)


def decode(source: Path | BytesIO, side: int = 0, white: int = Preprocess.white) -> Image.Image:
    """Return a picture as 8-bit RGB, by the one rule for pixels, `hubft.images.rgb.rgb`.

    :param side: where given, a picture whose shorter side is longer is scaled down to it: a JPEG first in its
        decoder, by halves, which saves most of the work.
    :param white: value of 16-bit grey that is white.
    :raises DataError: not an image, truncated, or more than 100 megapixels.
    """
    with picture(source) as image:
        return _scaled(image, side, white) if side else rgb(image, white)


def depth(source: Path | BytesIO) -> tuple[int, bool]:
    """Return the largest value of a picture of 16-bit grey, 0 of every other; and whether it is of colours of 16 bits.

    :raises DataError: as `decode` does.
    """
    with picture(source) as image:
        deep = deep_colours(image)
        return (int(numpy.asarray(image).max()) if image.mode.startswith("I;16") else 0), deep


def deep_colours(image: Image.Image) -> bool:
    """Return whether a PNG or TIFF has colours of 16 bits a channel, of which Pillow gives the upper 8.

    :param image: as it was opened, its pixels not read yet.
    """
    if isinstance(image, PngImagePlugin.PngImageFile):
        return image.mode != "I;16" and any(str(tile.args).endswith(";16B") for tile in image.tile)
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    bits: tuple[int, ...] = image.tag_v2.get(ExifTags.Base.BitsPerSample, ())
    return image.mode.startswith("RGB") and max(bits, default=0) > 8


def size(source: Path | BytesIO) -> tuple[int, int]:
    """Return width and height of a picture, upright.

    :raises DataError: as `decode` does.
    """
    with picture(source) as image:
        if image.format == "PNG":
            image.load()  # a tag of EXIF may stand behind the pixels
        return upright(image)[0]


def white_of(peak: int) -> int:
    """Return what is white where no value of 16-bit grey exceeds `peak`: the smallest 2^b - 1 for b in 8..16.

    Cameras and scanners of 10, 12 or 14 bits write files of 16, in which their white is 1023, 4095 or 16383.
    """
    return max(255, (1 << peak.bit_length()) - 1)


@contextmanager
def picture(source: Path | BytesIO) -> Iterator[Image.Image]:
    """Open a picture; what is wrong with it is a DataError, also where that shows when its pixels are read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; faults that matter are raised
            with opened(source) as image:
                yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its own message names an address in memory
        raise DataError(MANY if is_tiff(source) else UNKNOWN) from error
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, ...
        raise DataError(f"cannot be decoded: {error}") from error


def scaled_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (width, height) of a picture of this size after `decode(..., side)`: never larger than it was."""
    short = min(size)
    if short <= side:
        return size
    width, height = (max(side, round(length * side / short)) for length in size)
    return width, height


def _scaled(image: Image.Image, side: int, white: int) -> Image.Image:
    if image.format == "PNG":
        image.load()  # a tag of EXIF may stand behind the pixels
    whole, _ = upright(image)
    size = scaled_size(whole, side)
    image.draft(None, size if whole == image.size else size[::-1])  # only JPEG can; gives no less than that
    found = rgb(image, white)
    return found if found.size == size else found.resize(size, Image.Resampling.BILINEAR)
