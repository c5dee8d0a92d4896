"""TensorRT builds an engine for one GPU on the machine that has it: it is handed ONNX, and the line that builds it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.deploy.export.onnx import Onnx

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable

USUAL, MOST = 8, 32  # images of a batch that the engine is tuned for, and that it takes at most


class TensorRT(Onnx):
    name: ClassVar[str] = "tensorrt"
    suffix: ClassVar[str] = ".trt.onnx"
    program: ClassVar[str] = "onnx"
    precisions: ClassVar[Sequence[str]] = ("fp32",)

    def notes(self, it: Exportable, path: Path) -> Sequence[str]:
        sides = "x".join(map(str, it.examples.shape[1:]))
        sizes = {"min": 1, "opt": USUAL, "max": MOST}
        shapes = " ".join(f"--{name}Shapes=images:{size}x{sides}" for name, size in sizes.items())
        engine = path.name.removesuffix(self.suffix) + ".engine"
        line = f"trtexec --onnx={shlex.quote(path.name)} --saveEngine={shlex.quote(engine)} {shapes} --fp16"
        return (f"ONNX Runtime proved it; on the machine with the GPU build the engine with: {line}",)


FORMAT = TensorRT()
