"""Samples as pixels: decoded once to bytes where that fits, cropped anew in each view, normalised on the device."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import ToTensor, v2

from hubft.base import draws
from hubft.base.store import Scratch, Store
from hubft.data.rows import Source
from hubft.images import transforms
from hubft.images.decode import decode, scaled_size
from hubft.images.samples import Sample
from hubft.inputs import Framed, images
from hubft.job import Recipe
from hubft.machine.runtime import FORMATS, Runtime
from hubft.tasks.task import Task

WORKING = 1.5
"""Shorter side of the picture that crops are drawn from, in sides of the model's input: of the crops of `light`
one in seven is enlarged, by an eighth at most."""


class Views(Dataset[tuple[Tensor, Any]]):
    """Samples as the model shall see them but for the normalisation: uint8 `[height, width, 3]`, and the target.

    What is said of pictures here holds of whatever else pictures are made of (`hubft.images.bands`).

    Item (0, i) is the evaluation's view of sample i. Item (v, i) is its augmented view v, a function of
    (seed, v, i), cropped from a picture that was scaled to `WORKING` first; without a recipe, or where
    that augments nothing, the evaluation's again.
    """

    dtype: ClassVar[type] = numpy.uint8

    def __init__(
        self,
        source: Source,
        task: Task,
        samples: Sequence[Sample],
        inputs: Framed,
        recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        """:param scratch: where pictures are kept once they are decoded; without one, each is decoded every time."""
        self.source, self.task, self.samples = source, task, samples
        self.inputs, self.scratch = inputs, scratch
        self.recipe = recipe or Recipe(augment="none")
        self.side = round(WORKING * max(inputs.size))
        self.evaluation = self._evaluation()
        self.augment = self._training(self.recipe.augment)
        deep = inputs.shape[0]
        self.exact = Store([(*inputs.size, deep)] * len(samples), self._exact, self.dtype)
        shapes = [scaled_size(sample.size, self.side) for sample in samples]
        self.working = Store([(height, width, deep) for width, height in shapes], self._working, self.dtype)

    def under(self, recipe: Recipe) -> Views:
        """Return the same pictures, what was kept of them included, as another recipe augments them."""
        other = copy.copy(self)
        other.recipe = recipe
        other.augment = self._training(recipe.augment)
        return other

    def _evaluation(self) -> v2.Compose:
        return _to_pixels(transforms.evaluation(images(self.inputs)))

    def _training(self, augment: str) -> v2.Compose:
        return _to_pixels(transforms.training(images(self.inputs), augment))

    def targets(self) -> Any:
        """Return the targets of all samples, a row each."""
        return self.task.collate([sample.target for sample in self.samples])

    def costs(self) -> None:
        """All pictures are of one size."""

    def collate(self, items: Sequence[tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
        """Return items as a batch: pictures uint8 `[b, height, width, 3]`, and their targets."""
        pictures, targets = zip(*items, strict=True)
        return default_collate(list(pictures)), self.task.collate(targets)

    def keep(self, view: int) -> None:
        """Keep what this view is made from, once it was decoded; before there are other processes."""
        if self.scratch:
            (self.exact if self._is_exact(view) else self.working).keep(self.scratch)

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Any]:
        view, i = index
        if self._is_exact(view):
            return torch.from_numpy(self.exact[i].copy()), self.samples[i].target
        picture = self._picture(self.working[i])
        draws.seed("sample", self.recipe.seed, view - 1, i)
        return torch.from_numpy(numpy.array(self.augment(picture))), self.samples[i].target

    def _picture(self, pixels: numpy.ndarray) -> Any:
        """Return pixels as the transforms take them."""
        return Image.fromarray(pixels)

    def _is_exact(self, view: int) -> bool:
        return not view or self.recipe.augment == "none"

    def _exact(self, i: int) -> numpy.ndarray:
        return numpy.asarray(self.evaluation(self._decoded(i)))

    def _working(self, i: int) -> numpy.ndarray:
        return numpy.asarray(self._decoded(i, self.side))

    def _decoded(self, i: int, side: int = 0) -> Any:
        return decode(self.source.open(self.samples[i].place), side, images(self.inputs).white)


class Normalise:
    """Makes pixels `[b, height, width, channels]` the model's inputs, on its device: the bits of ToTensor and
    Normalize."""

    def __init__(self, inputs: Framed, runtime: Runtime) -> None:
        def constant(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, device=runtime.device).view(-1, 1, 1)

        self.flip, self.runtime = inputs.flipped, runtime
        self.mean, self.std = constant(inputs.mean), constant(inputs.std)
        self.unit = constant((inputs.unit,))  # a tensor: by a number CUDA would multiply with the inverse, a bit off

    def __call__(self, pictures: Tensor) -> Tensor:
        pictures = pictures.to(self.runtime.device, non_blocking=True).permute(0, 3, 1, 2)
        inputs = pictures.to(torch.float32, memory_format=FORMATS[self.runtime.memory_format], copy=True)
        inputs.div_(self.unit)
        return (inputs.flip(1) if self.flip else inputs).sub_(self.mean).div_(self.std)


def _to_pixels(transform: v2.Compose) -> v2.Compose:
    """Return the steps of a transform before the picture becomes floats."""
    steps = list(transform.transforms)
    return v2.Compose(steps[: next(i for i, step in enumerate(steps) if isinstance(step, ToTensor))])
