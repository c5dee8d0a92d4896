"""Images in 8-bit RGB, as a kind of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.base.bars import Counting
from hubft.base.marks import NO_MARKS, Drawing, Marks
from hubft.data.rows import Row, Source
from hubft.images import samples
from hubft.images.framing import Framing
from hubft.images.samples import Sample
from hubft.inputs import Images, images
from hubft.job import Job, Recipe
from hubft.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.base.store import Scratch
    from hubft.images.contact import Shelf
    from hubft.images.frame import Frame
    from hubft.images.pixels import Views


@dataclass(frozen=True)
class Pictures(Framing):
    """Image files, decoded with Pillow."""

    kind: ClassVar[str] = "images"
    takes: ClassVar[type[Images]] = Images
    becomes: ClassVar[str] = "Whichever way the model is loaded, a picture becomes its `image` as it did in training:"

    def examine(self, source: Source, rows: Sequence[Row], targets: Sequence[Any], counting: Counting) -> list[Any]:
        return samples.examine(source, rows, targets, samples.prove, counting)

    def fitted(self, inputs: Images, its: Sequence[Sample], job: Job) -> Images:
        return replace(inputs, white=job.white or samples.white(its) or inputs.white)

    def suits(self, inputs: Images, its: Sequence[Sample]) -> None:
        """Every picture becomes one in 8-bit RGB."""

    def remarks(self, training: Views) -> Iterable[str]:
        if samples.white(training.samples):
            yield f"16-bit grey from 0, black, to {images(training.inputs).white}, white; --white sets it"
        from hubft.images import tones

        yield from tones.odd(training)

    def views(
        self,
        source: Source,
        task: Task,
        its: Sequence[Sample],
        inputs: Images,
        recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> Views:
        from hubft.images.located import Located
        from hubft.images.pixels import Views

        return (Located if task.located else Views)(source, task, its, inputs, recipe, scratch)

    def examples(self, inputs: Images) -> Mapping[str, Tensor]:
        from hubft.images import drawn

        return drawn.examples(inputs)

    def is_example(self, dtype: Any, shape: tuple[int, ...]) -> bool:
        import torch

        return dtype == torch.uint8 and len(shape) == 3 and shape[2] == 3 and 0 not in shape

    def of_example(self, inputs: Images, example: Tensor) -> Tensor:
        from PIL import Image

        from hubft.images.rgb import rgb
        from hubft.images.transforms import evaluation

        made: Tensor = evaluation(inputs)(rgb(Image.fromarray(example.numpy())))
        return made

    def reader(self, inputs: Images) -> Callable[[Path | BytesIO], Tensor]:
        from hubft.images.decode import decode
        from hubft.images.transforms import evaluation

        transform = evaluation(inputs)
        return lambda source: transform(decode(source, white=inputs.white))

    def frame(self, inputs: Images, source: Path | BytesIO) -> Frame:
        from hubft.images import decode, frame

        return frame.of(decode.size(source), inputs)

    def drawing(self) -> Drawing:
        from hubft.images import marked

        return marked

    def contact(self, shelves: Iterable[Shelf]) -> bytes:
        from hubft.images import contact

        return contact.sheet(shelves)

    def shown(self, source: Path | BytesIO, inputs: Images, marks: Marks = NO_MARKS) -> bytes:
        from hubft.images import decode, marked

        picture = decode.decode(source, 2 * marked.THUMB, inputs.white)
        return marked.small(picture, marks.boxes, marks.names, decode.size(source))

    def view_shown(self, view: Tensor, inputs: Images, marks: Marks = NO_MARKS) -> bytes:
        from PIL import Image

        from hubft.images import marked

        return marked.small(Image.fromarray(view.numpy()), *marks)

    def transform(self, inputs: Images) -> Any:
        from hubft.images.transforms import upright

        return upright(inputs)

    def example(self, inputs: Images) -> str:
        return "image.jpg"

    def piped(self, inputs: Images) -> Any:
        return self.example(inputs)

    def lines(self, inputs: Images) -> Iterator[str]:
        from hubft.images import rgb

        return rgb.lines(inputs.white)


MODALITY = Pictures()
