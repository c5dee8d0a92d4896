"""Images of any number of channels, as a kind of inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from zlib import crc32

import numpy

from hubft import surgery
from hubft.base.bars import Counting
from hubft.base.errors import DataError, JobError, Option
from hubft.base.marks import NO_MARKS, Marks
from hubft.data.rows import Row, Source
from hubft.images import bands, samples
from hubft.images.framing import Framing
from hubft.inputs import Bands
from hubft.job import Job, Recipe
from hubft.pictures import MOST_CHANNELS
from hubft.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.base.store import Scratch
    from hubft.images.contact import Shelf
    from hubft.images.layered import Views


@dataclass(frozen=True, slots=True)
class Sample(samples.Sample):
    """An image that can be read as it is, with its target."""

    depth: str = ""
    """Of its pixels: `uint16`."""
    sums: tuple[float, ...] = ()
    """Of the values of each channel."""
    squares: tuple[float, ...] = ()
    """The same of their squares."""


@dataclass(frozen=True)
class Layers(Framing):
    """Image files whose channels are read as they are stored."""

    kind: ClassVar[str] = "bands"
    takes: ClassVar[type[Bands]] = Bands
    becomes: ClassVar[str] = (
        "Whichever way the model is loaded, an array `[height, width, channels]` of the values of a picture, as they "
        "are stored, becomes its `image` as it did in training:"
    )

    def settled(self, job: Job) -> Job:
        if job.white:
            why = ": images of other channels are taken as they are stored; leave it out"
            raise JobError(Option("white"), f" {job.white}{why}")
        return super().settled(job)

    def examine(self, source: Source, rows: Sequence[Row], targets: Sequence[Any], counting: Counting) -> list[Any]:
        return samples.examine(source, rows, targets, prove, counting)

    def fitted(self, inputs: Bands, its: Sequence[Sample], job: Job) -> Bands:
        self.suits(inputs, its)
        if not surgery.channels(job.surgery):  # what a package was trained with holds
            return inputs
        number = sum(width * height for width, height in (one.size for one in its))
        mean = numpy.array([one.sums for one in its]).sum(0) / number
        spread = numpy.sqrt(numpy.maximum(numpy.array([one.squares for one in its]).sum(0) / number - mean**2, 0))
        std = numpy.where(spread > 0, spread, 1.0)  # a channel of one value says nothing
        return replace(inputs, mean=_rounded(mean), std=_rounded(std))

    def suits(self, inputs: Bands, its: Sequence[Sample]) -> None:
        number = inputs.shape[0]
        if others := [one for one in its if len(one.sums) != number]:
            first, same = others[0], {len(one.sums) for one in its}
            cure = f"channels={len(first.sums)} reads them all" if len(same) == 1 else "keep those of one number alone"
            raise DataError(
                f"{len(others):,} of {len(its):,} images have another number of channels than {number}, such as "
                f"{first.place!r} with {len(first.sums)}: {cure}"
            )

    def remarks(self, training: Views) -> Iterable[str]:
        inputs, its = training.inputs, cast(Sequence[Sample], training.samples)
        depths = ", ".join(sorted({sample.depth for sample in its}))
        means = ", ".join(f"{mean:.4g} ± {std:.4g}" for mean, std in zip(inputs.mean, inputs.std, strict=True))
        yield f"{inputs.shape[0]} channels of {depths}, taken as they are stored: {means}"

    def views(
        self,
        source: Source,
        task: Task,
        its: Sequence[Sample],
        inputs: Bands,
        recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> Views:
        from hubft.images.layered import Views

        if task.located:
            raise JobError(
                f"a task of the kind {task.kind} is not learned from {inputs}: leave channels out of ", ASKED
            )
        return Views(source, task, its, inputs, recipe, scratch)

    def examples(self, inputs: Bands) -> Mapping[str, Tensor]:
        from hubft.images import drawn

        return drawn.of_bands(inputs)

    def is_example(self, dtype: Any, shape: tuple[int, ...]) -> bool:
        import torch

        return dtype == torch.float32 and len(shape) == 3 and 1 <= shape[2] <= MOST_CHANNELS and 0 not in shape

    def of_example(self, inputs: Bands, example: Tensor) -> Any:
        return self.transform(inputs)(example.numpy())

    def reader(self, inputs: Bands) -> Callable[[Path | BytesIO], Tensor]:
        transform, channels = self.transform(inputs), inputs.shape[0]
        return lambda source: transform(bands.read(source, channels))

    def frame(self, inputs: Bands, source: Path | BytesIO) -> Any:
        from hubft.images import frame

        height, width, _ = bands.read(source).shape
        return frame.of((width, height), inputs)

    def drawing(self) -> None:
        return None

    def contact(self, shelves: Iterable[Shelf]) -> bytes:
        from hubft.images import contact

        return contact.sheet(shelves, lambda source: bands.shown(bands.read(source)))

    def shown(self, source: Path | BytesIO, inputs: Bands, marks: Marks = NO_MARKS) -> bytes:
        from hubft.images import marked

        return marked.small(bands.shown(bands.read(source)), *marks)

    def view_shown(self, view: Tensor, inputs: Bands, marks: Marks = NO_MARKS) -> bytes:
        from hubft.images import marked

        return marked.small(bands.shown(view.numpy()), *marks)

    def transform(self, inputs: Bands) -> Any:
        from hubft.images.layered import evaluation

        return evaluation(inputs)

    def example(self, inputs: Bands) -> str:
        return "image.tif"

    def piped(self, inputs: Bands) -> Any:
        return self.example(inputs)

    def lines(self, inputs: Bands) -> Iterator[str]:
        yield from ("import tifffile", "")
        yield f'image = tifffile.imread("image.tif")  # [height, width, {inputs.shape[0]}]'


ASKED = Option("surgery")
MODALITY = Layers()


def prove(row: Row, target: Any, content: bytes) -> Sample:
    """Return the sample of a row with its target.

    :raises DataError: its file is no image.
    """
    pixels = bands.read(BytesIO(content))
    height, width, _ = pixels.shape
    values = pixels.reshape(height * width, -1)
    plain = bool((values == values[0]).all())
    exact = values.astype(numpy.float64)
    sums, squares = tuple(exact.sum(0).tolist()), tuple((exact**2).sum(0).tolist())
    known = f"{width} {height} {pixels.dtype} {crc32(pixels.tobytes()):08x} {sums}"
    its = Sample(row.place, target, hashlib.sha256(content).hexdigest(), (width, height), known, plain, 0, row.group)
    return replace(its, depth=str(pixels.dtype), sums=sums, squares=squares)


def _rounded(values: numpy.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values.tolist())
