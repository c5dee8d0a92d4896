"""OpenVINO IR: the fastest on x86, by ov.convert_model of the exported program, and NNCF for int8.

Its runtime computes in bf16 by itself where the processor has it. So a file of fp32 says that it must not (`exact`) and
is proved both ways; one of bf16 leaves it to the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.deploy.export.formats import Format
from hubft.inputs import Free

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples

PTQ, CAREFUL, CONTROL = "int8", "int8 with accurate bias correction", "int8 with accuracy control"
CONTROLLED = 96  # training samples that accuracy control measures by: it does so dozens of times


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
        from hubft.deploy.export import program

        found, batch = program.exported(it)
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            import openvino

            model = openvino.convert_model(found)
            model.reshape({place: openvino.PartialShape(its) for place, its in enumerate(_sizes(it, batch))})
            for port, name in zip([*model.inputs, *model.outputs], [*it.names, *it.outputs], strict=True):
                port.get_tensor().set_names({name})
            if samples is not None:
                with program.quantizing():
                    model = _quantized(model, it, way, samples, batch)
            exact = way in ("fp32", CONTROL)  # what accuracy control keeps in fp32 is spoiled by bf16
            for name, text in it.metadata(it.about(self.name, way, batch, exact)).items():
                model.set_rt_info(text, [name])
            openvino.save_model(model, path, compress_to_fp16=way == "bf16")


def _sizes(it: Exportable, batch: int) -> Iterator[list[Any]]:
    """Yield the sizes of each input, which conversion forgets: a number, or a pair of the least and the most."""
    for sizes, example in zip(it.sizes, it.given([0], whole=bool(batch)), strict=True):
        if batch:
            yield [batch, *example.shape[1:]]
        else:
            yield [-1, *((1, size.most) if isinstance(size, Free) else size for size in sizes)]


def _quantized(model: Any, it: Exportable, way: str, samples: Samples, batch: int) -> Any:
    """Return the model in int8, calibrated on training samples (docs.openvino.ai, NNCF)."""
    import nncf

    nncf.set_log_level(40)  # errors
    kind = nncf.ModelType.TRANSFORMER if it.mostly_linear else None
    drawn = samples.calibration(batch=batch or 1, whole=bool(batch))
    given = [dict(zip(it.names, (one.numpy() for one in its), strict=True)) for its in drawn]
    calibration, number = nncf.Dataset(given), len(given)
    if way != CONTROL:
        return nncf.quantize(model, calibration, subset_size=number, model_type=kind, fast_bias_correction=way == PTQ)
    parameters = nncf.AdvancedQuantizationParameters()

    def score(compiled: Any, _: Any) -> tuple[float, None]:
        return samples.score(lambda *its: compiled(its)[compiled.outputs[-1]], CONTROLLED), None

    return nncf.quantize_with_accuracy_control(
        model,
        calibration,
        nncf.Dataset(given[:1]),  # `score` has its own
        score,
        max_drop=samples.max_drop / 100,
        subset_size=number,
        model_type=kind,
        advanced_quantization_parameters=parameters,
    )


FORMAT = OpenVino()
