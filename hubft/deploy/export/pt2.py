"""PyTorch's own: an ExportedProgram (.pt2), which torch.export.load gives back, of any batch size.

int8 is by PT2E of torchao, with the quantizer of its own that is made for x86: it needs no other library, and takes
convolutions and matrices alone. The roundings are written as PyTorch's plain operations, for those of PT2E are known
only where torchao was imported, and `torch.export.load` alone would not read them. So the file is small, and PyTorch
computes it in float32: what is rounded, at what places, is that of int8, the speed is not.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples

ROUNDINGS = ("quantize_per_tensor", "dequantize_per_tensor", "dequantize_per_channel")  # that the quantizer puts in


class Pt2(Format):
    name: ClassVar[str] = "pt2"
    suffix: ClassVar[str] = ".pt2"
    extra: ClassVar[str] = "torchao"
    quantizers: ClassVar[Sequence[str]] = ("torchao",)
    precisions: ClassVar[Sequence[str]] = ("fp32", "int8")
    program: ClassVar[str] = "pytorch"
    code: ClassVar[bool] = True  # torch.export.load unpickles, and has sympy read expressions, which it evaluates

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import torch

        from hubft.deploy.export import program

        found, batch = program.exported(it)
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            if samples is not None:
                with program.quantizing():
                    found, batch = _quantized(it, found, samples, bool(batch))
            made = io.BytesIO()  # on a full disk PyTorch's own writer ends the process
            torch.export.save(found, made, extra_files=dict(it.metadata(it.about(self.name, way, batch))))
            path.write_bytes(made.getbuffer())


def _quantized(it: Exportable, found: ExportedProgram, samples: Samples, whole: bool) -> tuple[ExportedProgram, int]:
    """Return the program in int8, and its batch size: 0 where it may be any."""
    import torch
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    from hubft.deploy.export import program

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    module: Any = program.quantized(found, quantizer, samples, whole)
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:  # the weights before they were rounded, which would be written too
            owner, _, own = name.rpartition(".")
            delattr(module.get_submodule(owner), own)
    made, batch = program.exported(replace(it, module=module))
    from torch.ao.quantization.fx import _decomposed as plain  # where torchao has them from

    ours = torch.ops.quantized_decomposed
    return made.run_decompositions({getattr(ours, name).default: getattr(plain, name) for name in ROUNDINGS}), batch


FORMAT = Pt2()
