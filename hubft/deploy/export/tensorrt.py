"""TensorRT builds an engine for one GPU on the machine that has it: it is handed ONNX, and the line that builds it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.deploy.export.onnx import Onnx
from hubft.inputs import Free

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable

USUAL, MOST = 8, 32  # samples of a batch that the engine is tuned for, and that it takes at most


class TensorRT(Onnx):
    name: ClassVar[str] = "tensorrt"
    suffix: ClassVar[str] = ".trt.onnx"
    program: ClassVar[str] = "onnx"
    precisions: ClassVar[Sequence[str]] = ("fp32",)

    def notes(self, it: Exportable, path: Path) -> Sequence[str]:
        sizes = {"min": (1, 1), "opt": (USUAL, 0), "max": (MOST, 0)}
        shapes = " ".join(f"--{name}Shapes={_shapes(it, *batch)}" for name, batch in sizes.items())
        engine = path.name.removesuffix(self.suffix) + ".engine"
        line = f"trtexec --onnx={shlex.quote(path.name)} --saveEngine={shlex.quote(engine)} {shapes} --fp16"
        return (f"ONNX Runtime proved it; on the machine with the GPU build the engine with: {line}",)


def _shapes(it: Exportable, batch: int, least: int) -> str:
    """Return the shapes of the inputs, as trtexec takes them.

    :param least: of a size that may be any; 0 for the most.
    """
    sides = [[least or size.most if isinstance(size, Free) else size for size in sizes] for sizes in it.sizes]
    return ",".join(f"{name}:{'x'.join(map(str, (batch, *its)))}" for name, its in zip(it.names, sides, strict=True))


FORMAT = TensorRT()
