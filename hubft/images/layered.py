"""Images of any number of channels as views: float32 `[height, width, channels]`, normalised on the device."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from hubft.images import bands, pixels
from hubft.images.decode import scaled_size
from hubft.images.transforms import cropped, resized
from hubft.inputs import Bands


class Views(pixels.Views):
    """Samples as the model shall see them but for the normalisation: float32 `[height, width, channels]`, in the units
    of their files, and the target.

    Augmentation crops and mirrors as that of other pictures does; what it does to colours is left out, because nobody
    knows here what a channel is.
    """

    dtype: ClassVar[type] = numpy.float32
    inputs: Bands

    def _evaluation(self) -> v2.Compose:
        return _to_pixels(evaluation(self.inputs))

    def _training(self, augment: str) -> v2.Compose:
        return _to_pixels(training(self.inputs, augment))

    def _picture(self, pixels: numpy.ndarray) -> Any:
        return numpy.array(pixels)  # writable: the store's own are not

    def _decoded(self, i: int, side: int = 0) -> Any:
        sample = self.samples[i]
        found = bands.read(self.source.open(sample.place), self.inputs.shape[0])
        width, height = scaled_size(sample.size, side) if side else sample.size
        if (height, width) == found.shape[:2]:
            return found.astype(numpy.float32)
        smaller = functional.resize(_tensor(found), [height, width], antialias=True)
        return smaller.permute(1, 2, 0).numpy()


def evaluation(inputs: Bands) -> v2.Compose:
    """Return the transform from an array `[height, width, channels]`, or `[height, width]`, to float32 `[channels,
    height, width]`. It holds torchvision's own classes only."""
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), *resized(inputs), _normalise(inputs)])


def training(inputs: Bands, augment: str) -> v2.Compose:
    """Return the random transform of `--augment`, as `hubft.images.transforms.training` has it but for colours."""
    if augment == "none":
        return evaluation(inputs)
    steps = [cropped(inputs, augment), v2.RandomHorizontalFlip(), _normalise(inputs)]
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), *steps])


def _normalise(inputs: Bands) -> v2.Normalize:
    return v2.Normalize(list(inputs.mean), list(inputs.std))


def _to_pixels(transform: v2.Compose) -> v2.Compose:
    """Return a transform without its normalisation, to an array `[height, width, channels]`."""
    return v2.Compose([*transform.transforms[:-1], v2.Lambda(_array)])


def _array(image: Tensor) -> numpy.ndarray:
    array: numpy.ndarray = image.permute(1, 2, 0).contiguous().numpy()
    return array


def _tensor(array: numpy.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(numpy.float32)).permute(2, 0, 1)
