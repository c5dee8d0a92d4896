"""Core ML (.mlpackage), for Apple's machines: converted anywhere, run on a Mac alone; one sample at a time.

int8 is coremltools' compression of weights: a byte a weight and a scale a channel, computed as the rest is
(https://apple.github.io/coremltools/docs-guides/source/opt-quantization-overview.html). It looks at no data.

Away from a Mac it is proved as far as that goes: what it says of its inputs, its outputs and itself is read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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
    precisions: ClassVar[Sequence[str]] = ("fp32", "int8")
    calibrates: ClassVar[bool] = False
    platform: ClassVar[str] = "darwin"

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import numpy

        from hubft.deploy.export import program

        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            import coremltools

            found, given = program.alone(it).run_decompositions({}), it.given([0], whole=True)
            kinds = [numpy.float32 if one.is_floating_point() or it.pixels else numpy.int32 for one in given]
            model = coremltools.convert(
                found,
                inputs=[
                    coremltools.TensorType(name=name, shape=tuple(one.shape), dtype=kind)
                    for name, one, kind in zip(it.names, given, kinds, strict=True)
                ],
                outputs=[coremltools.TensorType(name=name) for name in it.outputs],
                compute_precision=coremltools.precision.FLOAT32,
            )
            if way == "int8":
                model = _quantized(model)
            model.user_defined_metadata.update(it.metadata(it.about(self.name, way, 1)))
            model.save(str(path))


def _quantized(model: Any) -> Any:
    """Return the model with every tensor of weights that its library takes for large in int8.

    :raises ExportError: there is none.
    """
    from coremltools.optimize import coreml

    from hubft.base.errors import ExportError

    how = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", granularity="per_channel")
    large = how.weight_threshold
    if not coreml.get_weights_metadata(model, weight_threshold=large):
        raise ExportError(
            f"no tensor of its weights has more than {large:,} numbers, and smaller ones stay as they are"
        )
    return coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=how))


FORMAT = CoreMl()
