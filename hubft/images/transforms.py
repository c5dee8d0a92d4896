"""From a decoded image to the model's input: torchvision transforms, built from `Preprocess` alone."""

from __future__ import annotations

from functools import partial
from operator import methodcaller

from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode, ToTensor, v2

from hubft.inputs import Framed, Preprocess


def evaluation(preprocess: Preprocess) -> v2.Compose:
    """Return the transform from a PIL image to a float32 tensor `[3, height, width]`.

    It holds torchvision's own classes only, so it can be pickled to a process without hubft. What else a file
    needs is the reader's task (`hubft.images.rgb`), not the transform's.
    """
    sized = _with_border(preprocess) if preprocess.crop == "border" else resized(preprocess)
    return v2.Compose([v2.RGB(), *sized, *_tensor(preprocess)])


def upright(preprocess: Preprocess) -> v2.Compose:
    """Return `evaluation` after a rotation by EXIF, for whoever hands over what `Image.open` gave: `model.preprocess`.

    Alpha and 16 bits ask for a choice by the picture, which no class of a library makes: that stays with
    `hubft.images.rgb`.
    """
    return v2.Compose([v2.Lambda(ImageOps.exif_transpose), *evaluation(preprocess).transforms])


def training(preprocess: Preprocess, augment: str) -> v2.Compose:
    """Return the random transform of `--augment`; it draws from torch's global generator only.

    `light`, as is `auto` until it is settled, keeps at least three quarters of the area and flips; `standard` is
    Inception's crop (https://arxiv.org/abs/1409.4842: 8 to 100 % of the area), flips, and colour jitter; `strong`
    adds TrivialAugment (https://arxiv.org/abs/2103.10158), and its batches are mixed in the loop
    (`hubft.images.mixing`).
    """
    if augment == "none":
        return evaluation(preprocess)
    crop = cropped(preprocess, augment)
    colour = [v2.ColorJitter(0.4, 0.4, 0.4)] if augment in ("standard", "strong") else []
    trivial = [v2.TrivialAugmentWide()] if augment == "strong" else []
    return v2.Compose([v2.RGB(), crop, v2.RandomHorizontalFlip(), *colour, *trivial, *_tensor(preprocess)])


def cropped(inputs: Framed, augment: str) -> v2.RandomResizedCrop:
    """Return the random crop of `--augment`, of a picture or of a tensor `[channels, height, width]`."""
    scale = (0.75, 1.0) if augment in ("auto", "light") else (0.08, 1.0)
    return v2.RandomResizedCrop(inputs.size, scale=scale, interpolation=_interpolation(inputs), antialias=True)


def resized(inputs: Framed) -> list[v2.Transform]:
    """Return the steps from a picture, or such a tensor, to one of the model's size, but for timm's `border`."""
    resize: int | list[int]
    if isinstance(inputs.resize, tuple):
        resize = list(inputs.resize)
    else:
        resize = [inputs.resize] * 2 if inputs.crop == "squash" else inputs.resize
    return [v2.Resize(resize, interpolation=_interpolation(inputs), antialias=True), v2.CenterCrop(inputs.size)]


def _interpolation(inputs: Framed) -> InterpolationMode:
    return InterpolationMode(inputs.interpolation)


def _with_border(preprocess: Preprocess) -> list[v2.Transform]:
    """Return timm's `border` crop. CenterCrop pads with transparent black, which is then laid over the mean colour."""
    height, width = preprocess.resize if isinstance(preprocess.resize, tuple) else (preprocess.resize,) * 2
    filter_ = Image.Resampling[preprocess.interpolation.upper()]
    mean = preprocess.mean if preprocess.channels == "rgb" else preprocess.mean[::-1]
    ground = Image.new("RGBA", preprocess.size[::-1], tuple(round(255 * value) for value in mean))
    return [
        v2.Lambda(partial(ImageOps.contain, size=(width, height), method=filter_)),
        v2.Lambda(methodcaller("convert", "RGBA")),
        v2.CenterCrop(preprocess.size),
        v2.Lambda(partial(Image.alpha_composite, ground)),
        v2.Lambda(methodcaller("convert", "RGB")),
    ]


def _tensor(preprocess: Preprocess) -> list[v2.Transform]:
    flip = [v2.Lambda(methodcaller("flip", 0))] if preprocess.channels == "bgr" else []
    # ToTensor divides by 255, as torchvision's presets and timm do; v2.ToDtype multiplies by 1/255, which is a bit off.
    return [ToTensor(), *flip, v2.Normalize(list(preprocess.mean), list(preprocess.std))]
