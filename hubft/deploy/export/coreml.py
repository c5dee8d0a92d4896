"""Core ML (.mlpackage), for Apple's machines: converted anywhere, run on a Mac alone; one image at a time.

int8 is coremltools' compression of weights: a byte a weight and a scale a channel, computed as the rest is
(https://apple.github.io/coremltools/docs-guides/source/opt-quantization-overview.html). It looks at no image.

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
            if way == "int8":
                model = _quantized(model)
            facts = exportable.About(self.name, way, way, 1, it.pixels)
            model.user_defined_metadata.update(it.metadata(facts))
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
