"""Images of any number of channels, read as they are stored: satellites' bands, 16-bit scans, grey, RGB with alpha.

TIFF is read by tifffile, because Pillow knows few of its forms, and a PNG of colours of 16 bits by imagecodecs, because
Pillow makes 8 of them in silence (both of the extra `tiff`); the other formats by Pillow. An image is an array
`[height, width, channels]` of one of DTYPES.
"""

from __future__ import annotations

from io import BytesIO
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hubft.base import files
from hubft.base.distributions import installs, missing
from hubft.base.errors import DataError
from hubft.data.formats import MAX_PIXELS, MAX_RATIO, is_tiff, upright
from hubft.images.decode import deep_colours, picture
from hubft.pictures import MOST_CHANNELS

EXTRA = "tiff"
DTYPES = ("uint8", "uint16", "int16", "float16", "float32", "float64")
READ = {"1": "L", "P": "RGB", "PA": "RGBA"}
"""Modes of Pillow that are no values of channels -> what they are read as."""
VALUES = 3 * MAX_PIXELS  # as many as the largest picture in RGB has
DARK, BRIGHT = 2, 98  # percentiles of a channel that are shown as black and as white


def read(source: Path | BytesIO, channels: int = 0) -> NDArray[Any]:
    """Return an image as it is stored, upright, `[height, width, channels]` of one of DTYPES.

    :param channels: that it must have; without, as many as there are.
    :raises DataError: no image, another number of channels, pixels of another type or that are not finite, more than
        100 megapixels, or a TIFF or a deep PNG where the extra is not installed.
    """
    pixels = _tiff(source) if is_tiff(source) else _other(source)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if channels and pixels.shape[2] != channels:
        raise DataError(f"it has {pixels.shape[2]} channels, and the model takes {channels}")
    if pixels.dtype.kind == "f" and not numpy.isfinite(pixels).all():
        raise DataError("it has pixels that are not finite numbers")
    return pixels


def shown(pixels: NDArray[Any]) -> Image.Image:
    """Return an image in 8-bit RGB, to be looked at: its first three channels, or its first alone, each from its second
    percentile, black, to its 98th, white; of what has 8 bits already, every value as it is."""
    chosen = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, 2)
    if pixels.dtype == numpy.uint8:
        return Image.fromarray(numpy.ascontiguousarray(chosen))
    low, high = numpy.percentile(chosen.astype(numpy.float64), (DARK, BRIGHT), axis=(0, 1))
    scaled = (chosen - low) / numpy.maximum(high - low, 1e-12)
    return Image.fromarray((255 * scaled.clip(0, 1)).astype(numpy.uint8))


def _tiff(source: Path | BytesIO) -> NDArray[Any]:
    """Return the pixels of a TIFF: of its first page, or of all its pages where each holds one channel."""
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise DataError(f"a TIFF that is read as it is {missing('tifffile', installs(EXTRA))}") from error
    try:
        with tifffile.TiffFile(source) as file:
            pages: list[Any] = list(islice(file.pages, 2 * MOST_CHANNELS))
            return _joined([page for page in pages if not (page.is_reduced or page.is_mask)])
    except DataError:
        raise
    except Exception as error:  # tifffile's own, struct.error, those of codecs, ...
        raise DataError(f"cannot be decoded: {' '.join(str(error).split())[:200]}") from error


def _joined(pages: list[Any]) -> NDArray[Any]:
    import tifffile  # an extra

    first = pages[0]
    alike = [page for page in pages if (page.axes, page.shape, page.dtype) == ("YX", first.shape, first.dtype)]
    several = first.axes == "YX" and len(pages) > 1
    if several and len(alike) < len(pages):
        raise DataError(f"a TIFF of {len(pages)} pages that are not alike")
    if first.axes not in ("YX", "YXS", "SYX"):
        raise DataError(f"a TIFF with the axes {first.axes}, where those of one picture are looked for")
    height, width, channels = first.imagelength, first.imagewidth, len(pages) if several else first.samplesperpixel
    _require(height, width, channels, str(first.dtype))
    if max(prod(page.chunks) for page in pages) > VALUES:  # a tile may be larger than its picture
        raise DataError(f"a TIFF with a strip or a tile of more than {VALUES:,} values")
    turn = first.tags.get("Orientation")
    if first.photometric == tifffile.PHOTOMETRIC.PALETTE or (turn is not None and turn.value != 1):
        raise DataError("a TIFF with a palette, or one that lies on its side: save it without")
    if several:
        return numpy.stack([page.asarray() for page in pages], axis=-1)
    pixels: NDArray[Any] = first.asarray()
    return numpy.moveaxis(pixels, 0, -1) if first.axes == "SYX" else pixels.reshape(height, width, channels)


def _other(source: Path | BytesIO) -> NDArray[Any]:
    with picture(source) as image:
        if deep_colours(image):
            return _deep_png(image, files.content(source))
        turned = ImageOps.exif_transpose(image)
        pixels = numpy.array(turned.convert(READ[turned.mode]) if turned.mode in READ else turned)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, channels = pixels.shape
    _require(height, width, channels, str(pixels.dtype))
    return pixels


def _deep_png(image: Image.Image, content: bytes) -> NDArray[Any]:
    """Return the pixels of a PNG of colours of 16 bits, whose bytes these are."""
    try:
        from imagecodecs import png_decode
    except ModuleNotFoundError as error:
        raise DataError(f"a PNG of 16 bits a colour {missing('imagecodecs', installs(EXTRA))}") from error
    _require(image.height, image.width, len(image.getbands()), "uint16")
    if upright(image)[1] != 1:
        raise DataError("a PNG of 16 bits a colour that lies on its side: save it upright")
    pixels: NDArray[Any] = png_decode(content)
    return pixels


def _require(height: int, width: int, channels: int, dtype: str) -> None:
    """Refuse what nobody trains on, before it is allocated."""
    if height * width > MAX_PIXELS or max(height, width) > MAX_RATIO * min(height, width):
        raise DataError(f"{width} x {height} pixels: more than {MAX_PIXELS}, or one side {MAX_RATIO} times the other")
    if height * width * channels > VALUES:
        raise DataError(f"{width} x {height} pixels of {channels} channels are more than {VALUES:,} values")
    if channels > MOST_CHANNELS:
        raise DataError(f"it has {channels} channels, and {MOST_CHANNELS} are the most that are read")
    if numpy.dtype(dtype).newbyteorder("=").name not in DTYPES:
        raise DataError(f"pixels of {dtype}: known are {', '.join(DTYPES)}")
