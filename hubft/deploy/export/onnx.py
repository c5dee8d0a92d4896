"""ONNX, by torch.onnx: one file that ONNX Runtime and many others run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples


class Onnx(Format):
    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    extra: ClassVar[str] = "onnx"
    writers: ClassVar[Sequence[str]] = ("onnx", "onnxscript")
    runtime: ClassVar[Sequence[str]] = ("onnxruntime",)
    precisions: ClassVar[Sequence[str]] = ("fp32",)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import onnx
        import torch

        from hubft.deploy.export import exportable, program

        found, batch = program.exported(it)
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            written = torch.onnx.export(
                found, (it.examples[:2],), input_names=["images"], output_names=it.outputs, verbose=False
            )
            assert written is not None
            facts = exportable.About(self.name, way, way, batch, it.pixels)
            written.model.metadata_props.update(it.metadata(facts))
            written.save(path, external_data=False)
            onnx.checker.check_model(path, full_check=True)


FORMAT = Onnx()
