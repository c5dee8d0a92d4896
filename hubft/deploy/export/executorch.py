"""ExecuTorch (.pte), for phones: lowered to XNNPACK, one sample at a time; int8 by XNNPACK's quantizer.

Its files hold no texts, so these stand beside: FILE.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples


class ExecuTorch(Format):
    name: ClassVar[str] = "executorch"
    suffix: ClassVar[str] = ".pte"
    extra: ClassVar[str] = "executorch"
    writers: ClassVar[Sequence[str]] = ("executorch",)
    quantizers: ClassVar[Sequence[str]] = ("torchao",)
    runtime: ClassVar[Sequence[str]] = ("executorch",)
    precisions: ClassVar[Sequence[str]] = ("fp32", "int8")

    def companions(self, path: Path) -> Sequence[Path]:
        return (path.with_name(path.name + ".json"),)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        from hubft.base.files import write_json
        from hubft.deploy.export import program

        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            its = it if samples is None else replace(it, module=_quantized(it, samples))
            lowered = to_edge_transform_and_lower(program.alone(its), partitioner=[XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)
        write_json(self.companions(path)[0], it.metadata(it.about(self.name, way, 1)))


def _quantized(it: Exportable, samples: Samples) -> Any:
    """Return the module in int8, a scale a channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    from hubft.deploy.export import program

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    with program.quantizing():
        return program.quantized(program.alone(it), quantizer, samples, whole=True)


FORMAT = ExecuTorch()
