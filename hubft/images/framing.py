"""What pictures have in common as a kind of inputs, whatever their pixels are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.base.errors import JobError, Option
from hubft.data import asked
from hubft.data.asked import Asked
from hubft.images import samples
from hubft.images.samples import Sample
from hubft.inputs import Framed
from hubft.job import Columns, Job, Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.hookspecs import Batch, Loaded
    from hubft.images.conversion import Conversion
    from hubft.images.mixing import Mixing
    from hubft.images.pixels import Normalise
    from hubft.machine.runtime import Runtime


@dataclass(frozen=True)
class Framing:
    """Image files, each of which becomes an input of one size."""

    word: ClassVar[str] = "image"
    one: ClassVar[str] = "an image"
    equal: ClassVar[str] = "pixels"
    files: ClassVar[str] = "images"
    dataset: ClassVar[str] = "imagefolder"
    call: ClassVar[tuple[str, ...]] = ("logits = model(model.preprocess(image)[None])",)

    def settled(self, job: Job) -> Job:
        if job.recipe.tokens:
            raise JobError(Option("tokens"), f" {job.recipe.tokens}: images have no tokens; leave it out")
        return job

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        return asked.pictures(given, columns)

    def notes(self, its: Sequence[Sample]) -> Iterable[str]:
        return samples.notes(its)

    def sizes(self, sample: Sample) -> dict[str, int]:
        return dict(zip(("width", "height"), sample.size, strict=True))

    def excerpt(self, sample: Sample) -> str:
        return ""

    def check(self, loaded: Loaded, job: Job) -> None:
        from hubft.images import sizes

        sizes.check(loaded, job)

    def blank(self, inputs: Framed, number: int) -> Tensor:
        import torch

        return torch.zeros(number, *inputs.shape)

    def noise(self, inputs: Framed, number: int, signs: Sequence[int] = ()) -> Tensor:
        import torch

        drawn = torch.randn(number, *inputs.shape, generator=torch.Generator().manual_seed(0))
        return drawn + torch.tensor(signs)[:, None, None, None] if signs else drawn

    def ready(self, inputs: Framed, runtime: Runtime) -> Normalise:
        from hubft.images.pixels import Normalise

        return Normalise(inputs, runtime)

    def parts(self, batch: Batch, recipe: Recipe) -> list[tuple[float, Batch]]:
        from hubft.base import batches

        return batches.even(batch, recipe.accumulate)

    def other(self, batch: Tensor, inputs: Framed) -> None:
        return None

    def whole(self, batch: Tensor, inputs: Framed) -> Tensor:
        return batch

    def conversion(self, given: Framed, wanted: Framed) -> Conversion:
        from hubft.images.conversion import Conversion

        return Conversion(given, wanted)

    def mixing(self, outputs: int, seed: int) -> Mixing:
        from hubft.images.mixing import Mixing

        return Mixing(outputs, seed)

    def together(self, its: Sequence[Tensor], inputs: Framed) -> Tensor:
        import torch

        return torch.stack(list(its))
