"""Images, as a kind of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.base.errors import JobError, Option
from hubft.base.marks import NO_MARKS, Drawing, Marks
from hubft.data import asked
from hubft.data.asked import Asked
from hubft.data.rows import Row, Source
from hubft.images import samples
from hubft.images.samples import Sample
from hubft.inputs import Images
from hubft.job import Columns, Job, Recipe
from hubft.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.base.store import Scratch
    from hubft.hookspecs import Batch, Loaded
    from hubft.images.contact import Shelf
    from hubft.images.conversion import Conversion
    from hubft.images.frame import Frame
    from hubft.images.mixing import Mixing
    from hubft.images.pixels import Normalise, Views
    from hubft.machine.runtime import Runtime


@dataclass(frozen=True)
class Pictures:
    """Image files, decoded with Pillow."""

    kind: ClassVar[str] = "images"
    takes: ClassVar[type[Images]] = Images
    word: ClassVar[str] = "image"
    one: ClassVar[str] = "an image"
    equal: ClassVar[str] = "pixels"

    def settled(self, job: Job) -> Job:
        if job.recipe.tokens:
            raise JobError(Option("tokens"), f" {job.recipe.tokens}: images have no tokens; leave it out")
        return job

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        return asked.pictures(given, columns)

    def examine(self, source: Source, rows: Sequence[Row], targets: Sequence[Any]) -> list[Sample | str]:
        return samples.examine(source, rows, targets)

    def notes(self, its: Sequence[Sample]) -> Iterable[str]:
        return samples.notes(its)

    def sizes(self, sample: Sample) -> dict[str, int]:
        return dict(zip(("width", "height"), sample.size, strict=True))

    def excerpt(self, sample: Sample) -> str:
        return ""

    def fitted(self, inputs: Images, its: Sequence[Sample], job: Job) -> Images:
        return replace(inputs, white=job.white or samples.white(its) or inputs.white)

    def remarks(self, training: Views) -> Iterable[str]:
        if samples.white(training.samples):
            yield f"16-bit grey from 0, black, to {training.inputs.white}, white; --white sets it"
        from hubft.images import tones

        yield from tones.odd(training)

    def check(self, loaded: Loaded, job: Job) -> None:
        from hubft.images import sizes

        sizes.check(loaded, job)

    def blank(self, inputs: Images, number: int) -> Tensor:
        import torch

        return torch.zeros(number, 3, *inputs.size)

    def noise(self, inputs: Images, number: int, signs: Sequence[int] = ()) -> Tensor:
        import torch

        drawn = torch.randn(number, 3, *inputs.size, generator=torch.Generator().manual_seed(0))
        return drawn + torch.tensor(signs)[:, None, None, None] if signs else drawn

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

    def ready(self, inputs: Images, runtime: Runtime) -> Normalise:
        from hubft.images.pixels import Normalise

        return Normalise(inputs, runtime)

    def parts(self, batch: Batch, recipe: Recipe) -> list[tuple[float, Batch]]:
        from hubft.base import batches

        return batches.even(batch, recipe.accumulate)

    def other(self, batch: Tensor, inputs: Images) -> None:
        return None

    def whole(self, batch: Tensor, inputs: Images) -> Tensor:
        return batch

    def conversion(self, given: Images, wanted: Images) -> Conversion:
        from hubft.images.conversion import Conversion

        return Conversion(given, wanted)

    def mixing(self, outputs: int, seed: int) -> Mixing:
        from hubft.images.mixing import Mixing

        return Mixing(outputs, seed)

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

    def together(self, its: Sequence[Tensor], inputs: Images) -> Tensor:
        import torch

        return torch.stack(list(its))

    def transform(self, inputs: Images) -> Any:
        from hubft.images.transforms import upright

        return upright(inputs)

    dataset: ClassVar[str] = "imagefolder"
    becomes: ClassVar[str] = "Whichever way the model is loaded, a picture becomes its `image` as it did in training:"
    call: ClassVar[tuple[str, ...]] = ("logits = model(model.preprocess(image)[None])",)

    def example(self, inputs: Images) -> str:
        return "image.jpg"

    def piped(self, inputs: Images) -> Any:
        return self.example(inputs)

    def lines(self, inputs: Images) -> Iterator[str]:
        from hubft.images import rgb

        return rgb.lines(inputs.white)


MODALITY = Pictures()
