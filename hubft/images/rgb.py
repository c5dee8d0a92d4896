"""One rule for pixels, in Pillow and numpy alone: cards print the source of `rgb`, for machines without hubft."""

import inspect
from collections.abc import Iterator

import numpy
from PIL import Image, ImageOps


def rgb(image: Image.Image, white: int = 65535) -> Image.Image:
    """Return a picture as 8-bit RGB, upright by its EXIF tag, laid over white; `white` is that of 16-bit grey."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; save it as PNG or TIFF of 8 or 16 bits")
    if image.mode.startswith("I;16"):  # convert() would saturate
        grey = numpy.asarray(image)
        levels = grey.clip(max=white).astype("uint32") * 255 // white
        levels[grey == image.info.get("transparency")] = 255
        image = Image.fromarray(levels.astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def lines(white: int) -> Iterator[str]:
    """Yield the lines that make of image.jpg the `image` that a transform takes: the source of `rgb`, and its call."""
    yield from ("import numpy", "from PIL import Image, ImageOps", "", "", inspect.getsource(rgb).rstrip(), "", "")
    known = "" if white == inspect.signature(rgb).parameters["white"].default else f", white={white}"
    yield f'image = rgb(Image.open("image.jpg"){known})'
