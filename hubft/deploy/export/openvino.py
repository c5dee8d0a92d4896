"""OpenVINO IR: the fastest on x86, by ov.convert_model of the exported program, and NNCF for int8.

Its runtime computes in bf16 by itself where the processor has it. So a file of fp32 says that it must not (`exact`) and
is proved both ways; one of bf16 leaves it to the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples

PTQ, CAREFUL, CONTROL = "int8", "int8 with accurate bias correction", "int8 with accuracy control"
CONTROLLED = 96  # training images that accuracy control measures by: it does so dozens of times


class OpenVino(Format):
    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = ".xml"
    extra: ClassVar[str] = "openvino"
    writers: ClassVar[Sequence[str]] = ("openvino",)
    quantizers: ClassVar[Sequence[str]] = ("nncf",)
    runtime: ClassVar[Sequence[str]] = ("openvino",)
    precisions: ClassVar[Sequence[str]] = ("fp32", "bf16", "int8")
    hints: ClassVar[bool] = True

    def ways(self, it: Exportable, precision: str) -> Sequence[str]:
        return (PTQ, CAREFUL, CONTROL) if precision == "int8" else (precision,)

    def companions(self, path: Path) -> Sequence[Path]:
        return (path.with_suffix(".bin"),)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        from hubft.deploy.export import exportable, program

        found, batch = program.exported(it)
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            import openvino

            model = openvino.convert_model(found)
            model.reshape({0: [batch or -1, *it.examples.shape[1:]]})  # conversion forgets height and width
            for port, name in zip([*model.inputs, *model.outputs], ["images", *it.outputs], strict=True):
                port.get_tensor().set_names({name})
            if samples is not None:
                with program.quantizing():
                    model = _quantized(model, it, way, samples, batch or 1)
            precision = way.partition(" ")[0]
            exact = way in ("fp32", CONTROL)  # what accuracy control keeps in fp32 is spoiled by bf16
            facts = exportable.About(self.name, precision, way, batch, it.pixels, exact)
            for name, text in it.metadata(facts).items():
                model.set_rt_info(text, [name])
            openvino.save_model(model, path, compress_to_fp16=way == "bf16")


def _quantized(model: Any, it: Exportable, way: str, samples: Samples, batch: int) -> Any:
    """Return the model in int8, calibrated on training images (docs.openvino.ai, NNCF)."""
    import nncf

    nncf.set_log_level(40)  # errors
    kind = nncf.ModelType.TRANSFORMER if it.mostly_linear else None
    images = [one.numpy() for one in samples.calibration(batch=batch)]
    calibration, number = nncf.Dataset(images), len(images)
    if way != CONTROL:
        return nncf.quantize(model, calibration, subset_size=number, model_type=kind, fast_bias_correction=way == PTQ)
    parameters = nncf.AdvancedQuantizationParameters()

    def score(compiled: Any, _: Any) -> tuple[float, None]:
        return samples.score(lambda inputs: compiled(inputs)[compiled.outputs[-1]], CONTROLLED), None

    return nncf.quantize_with_accuracy_control(
        model,
        calibration,
        nncf.Dataset(images[:1]),  # `score` has its own
        score,
        max_drop=samples.max_drop / 100,
        subset_size=number,
        model_type=kind,
        advanced_quantization_parameters=parameters,
    )


FORMAT = OpenVino()
