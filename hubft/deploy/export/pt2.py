"""PyTorch's own: an ExportedProgram (.pt2), which torch.export.load gives back, of any batch size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples


class Pt2(Format):
    name: ClassVar[str] = "pt2"
    suffix: ClassVar[str] = ".pt2"
    program: ClassVar[str] = "pytorch"
    code: ClassVar[bool] = True  # torch.export.load unpickles, and has sympy read expressions, which it evaluates

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import torch

        from hubft.deploy.export import exportable, program

        found, batch = program.exported(it)
        facts = exportable.About(self.name, way, way, batch, it.pixels)
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            made = io.BytesIO()  # on a full disk PyTorch's own writer ends the process
            torch.export.save(found, made, extra_files=dict(it.metadata(facts)))
            path.write_bytes(made.getbuffer())


FORMAT = Pt2()
