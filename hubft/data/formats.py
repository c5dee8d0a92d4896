"""Which files are images: their content tells, not their names."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from hubft.base.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
"""What is an image, whatever its file is called. Not all that Pillow opens: some of its formats are recognised in files
of any kind (TGA), run another program (EPS), or are videos. No GIF: data sets that are published have GIFs for pictures
that were not found, and the loaders by which their images are counted, torchvision's among them, leave GIFs out."""
UNKNOWN = f"not an image of a known format ({', '.join(FORMATS)})"
TIFFS = (".tif", ".tiff")  # no camera's raw files, which begin as TIFF does
MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of TIFF and of BigTIFF
MAX_PIXELS = 100_000_000  # checked in the header, before a decoder allocates
LYING = (5, 6, 7, 8)  # EXIF orientations of which the width is stored as the height
MAX_RATIO = 1000  # of the sides: resized by its shorter one, a strip of few pixels becomes one of gigabytes


def recognised(path: Path) -> bool:
    """Tell by the first bytes of a file whether it is an image, if perhaps one that cannot be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened(path).close()
    except UnidentifiedImageError:
        return path.suffix.lower() in TIFFS and is_tiff(path)
    except Exception:  # it has too many pixels, or its header is damaged
        return path.is_file()
    return True


def is_tiff(source: Path | BytesIO) -> bool:
    """Tell by the first bytes whether a file is a TIFF, of whatever channels and depth."""
    if isinstance(source, BytesIO):
        return source.getbuffer()[:4].tobytes() in MARKS
    if not source.is_file():
        return False
    with source.open("rb") as file:
        return file.read(4) in MARKS


def opened(source: Path | BytesIO) -> Image.Image:
    """Return a picture of which the header was read.

    :raises DataError: not a regular file, or sides that no photograph has.
    :raises PIL.UnidentifiedImageError: not an image of a known format.
    """
    if isinstance(source, Path) and not source.is_file():  # a FIFO would block for ever
        raise DataError("not a regular file")
    image = Image.open(source, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
    if max(image.size) > MAX_RATIO * min(image.size):
        image.close()
        raise DataError(f"of {image.width} x {image.height} pixels one side is more than {MAX_RATIO} times the other")
    return image


def upright(image: Image.Image) -> tuple[tuple[int, int], int]:
    """Return (width, height) of a picture that was opened, as it is upright, and its EXIF orientation, 1 to 8."""
    if image.format == "PNG" and not {"exif", "Raw profile type exif", "XML:com.adobe.xmp"} & image.info.keys():
        return image.size, 1  # where the header has none, Pillow would decode the whole picture to look behind it
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    lying = turn in LYING and image.format != "TIFF"  # of which Pillow gives the sides upright
    return (image.size[::-1] if lying else image.size), turn
