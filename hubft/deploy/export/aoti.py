"""AOTInductor: compiled for this machine, one sample at a time; for the same PyTorch and processor elsewhere.

Not of any batch size: compiled for that it takes two samples or more, and with its checks on it refuses one.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.base.errors import ExportError
from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples


class Aoti(Format):
    name: ClassVar[str] = "aoti"
    suffix: ClassVar[str] = ".aoti.pt2"
    program: ClassVar[str] = "pytorch"
    code: ClassVar[bool] = True

    def notes(self, it: Exportable, path: Path) -> Sequence[str]:
        return (
            "it runs with the same PyTorch and the same kind of processor alone",
            "without hubft, set AOTI_RUNTIME_CHECK_INPUTS=1: else inputs of another size are answered wrongly",
        )

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import torch._inductor

        from hubft.deploy.export import program

        if not any(map(shutil.which, ("g++", "c++", "clang++", "cl"))):
            raise ExportError("aoti needs a C++ compiler, and there is none on the path: install g++")
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            found = program.alone(it)
            settings = {"aot_inductor.metadata": it.metadata(it.about(self.name, way, 1)), "freezing": True}
            made = io.BytesIO()  # on a full disk PyTorch's own writer ends the process
            torch._inductor.aoti_compile_and_package(found, package_path=made, inductor_configs=settings)
            path.write_bytes(made.getbuffer())


FORMAT = Aoti()
