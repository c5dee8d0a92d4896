"""TorchScript, by tracing: for what still runs nothing else. PyTorch has deprecated it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples


class TorchScript(Format):
    name: ClassVar[str] = "torchscript"
    suffix: ClassVar[str] = ".ts"
    program: ClassVar[str] = "pytorch"
    code: ClassVar[bool] = True

    def notes(self, it: Exportable, path: Path) -> Sequence[str]:
        return ("PyTorch has deprecated TorchScript: take pt2, onnx or openvino where you can",)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import torch
        from torch.jit import TracerWarning  # type: ignore[attr-defined]

        from hubft.deploy.export import exportable, guarded, program

        facts = exportable.About(self.name, way, way, 0, it.pixels)
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"), torch.no_grad():
            with warnings.catch_warnings(record=True) as doubts:
                warnings.simplefilter("always", TracerWarning)
                traced = torch.jit.trace(it.module, it.examples[:2])
            if doubts:  # a trace keeps the branch that was taken; torch.export refuses one that values decide
                program.exported(it)
            sizes = list(it.examples.shape[1:])
            checked = guarded.Pixels(traced, sizes) if it.pixels else guarded.Plain(traced, sizes)
            made = io.BytesIO()  # on a full disk PyTorch's own writer ends the process
            torch.jit.save(torch.jit.script(checked), made, _extra_files=it.metadata(facts))
            path.write_bytes(made.getbuffer())


FORMAT = TorchScript()
