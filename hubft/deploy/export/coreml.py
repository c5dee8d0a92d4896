"""Core ML (.mlpackage), for Apple's machines: converted anywhere, run on a Mac alone; one image at a time.

Away from a Mac it is proved as far as that goes: what it says of its inputs, its outputs and itself is read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples


class CoreMl(Format):
    name: ClassVar[str] = "coreml"
    suffix: ClassVar[str] = ".mlpackage"
    extra: ClassVar[str] = "coreml"
    writers: ClassVar[Sequence[str]] = ("coremltools",)
    runtime: ClassVar[Sequence[str]] = ("coremltools",)
    platform: ClassVar[str] = "darwin"

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import torch

        from hubft.deploy.export import exportable, program

        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            import coremltools

            found = torch.export.export(it.module, (it.examples[:1],)).run_decompositions({})
            model = coremltools.convert(
                found,
                inputs=[coremltools.TensorType(name="images", shape=tuple(it.examples[:1].shape))],
                outputs=[coremltools.TensorType(name=name) for name in it.outputs],
                compute_precision=coremltools.precision.FLOAT32,
            )
            facts = exportable.About(self.name, way, way, 1, it.pixels)
            model.user_defined_metadata.update(it.metadata(facts))
            model.save(str(path))


FORMAT = CoreMl()
