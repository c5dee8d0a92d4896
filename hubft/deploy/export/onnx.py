"""ONNX, by torch.onnx: one file that ONNX Runtime and many others run; int8 by ONNX Runtime's own quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples

STATIC, DYNAMIC, FEW = "int8, static", "int8, dynamic", "int8, static, of convolutions and matrices alone"
HEAVY = ["Conv", "MatMul", "Gemm"]  # where the time is; what stands between them stays in fp32


class Onnx(Format):
    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    extra: ClassVar[str] = "onnx"
    writers: ClassVar[Sequence[str]] = ("onnx", "onnxscript")
    runtime: ClassVar[Sequence[str]] = ("onnxruntime",)
    precisions: ClassVar[Sequence[str]] = ("fp32", "int8")

    def ways(self, it: Exportable, precision: str) -> Sequence[str]:
        """Return the ways: scales measured beforehand for convolutions, and as it runs for a model of `Linear`s."""
        if precision == "fp32":
            return (precision,)
        return (DYNAMIC, FEW) if it.mostly_linear else (STATIC, FEW)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        from hubft.deploy.export import program

        found, batch = program.exported(it)
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            import onnx
            import torch

            written = torch.onnx.export(
                found, it.given([0, 1]), input_names=it.names, output_names=it.outputs, verbose=False
            )
            assert written is not None
            written.save(path, external_data=False)
            model = onnx.load(path)
            if samples is not None:
                with program.quantizing():
                    model = _quantized(model, path, way, samples, it, batch)
            _forget(model)
            onnx.helper.set_model_props(model, it.metadata(it.about(self.name, way, batch)))
            onnx.save(model, path)
            onnx.checker.check_model(path, full_check=True)


def _forget(model: Any) -> None:
    """Take out what torch notes of each node: lines of Python, with the folders of this machine where they stand."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for function in model.functions:
        for part in (function, *function.node, *function.value_info):
            del part.metadata_props[:]


def _quantized(model: Any, path: Path, way: str, samples: Samples, it: Exportable, batch: int) -> Any:
    """Return the model in int8 (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html)."""
    import onnx
    from onnxruntime import quantization

    # Shapes that torch noted are compared with those of the transposed weights, and found to differ.
    del model.graph.value_info[:]
    weight = quantization.QuantType.QInt8
    if way == DYNAMIC:
        quantization.quantize_dynamic(model, path, weight_type=weight, per_channel=True, op_types_to_quantize=HEAVY[1:])
        return onnx.load(path)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            self.batches = samples.calibration(batch=batch or 1, whole=bool(batch))

        def get_next(self) -> Any:
            given = next(self.batches, None)
            return None if given is None else {n: one.numpy() for n, one in zip(it.names, given, strict=True)}

    quantization.quantize_static(
        model,
        path,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=weight,
        op_types_to_quantize=HEAVY if way == FEW else None,
        nodes_to_exclude=_behind(model, "outputs"),
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},  # of the head: 256 steps are few for logits
    )
    return onnx.load(path)


def _behind(model: Any, tensor: str) -> list[str]:
    """Return the names of the nodes that compute with a tensor, and with what is made of it."""
    made, found = {tensor}, []
    for node in model.graph.node:
        if made.intersection(node.input):
            made.update(node.output)
            found.append(node.name)
    return found


FORMAT = Onnx()
