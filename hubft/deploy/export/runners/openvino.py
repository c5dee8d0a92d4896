"""Runs an OpenVINO IR, FILE.xml with FILE.bin, with OpenVINO and numpy, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import openvino


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[..., list[numpy.ndarray]]:
    """Return a function from a batch, an array for each input, to the outputs.

    :param threads: to compute with; 0 is the runtime's choice.
    :param exact: compute in fp32, also where the processor has bf16, which OpenVINO takes by itself.
    """
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    if exact:
        options["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.Core().compile_model(path, "CPU", options)
    request, shapes = compiled.create_infer_request(), [one.get_partial_shape() for one in compiled.inputs]

    def run(*arrays: numpy.ndarray) -> list[numpy.ndarray]:
        for shape, array in zip(shapes, arrays, strict=True):
            if not shape.compatible(openvino.PartialShape(list(array.shape))):  # it takes other ranks for the old input
                raise ValueError(f"it takes {shape}, not {list(array.shape)}")
        sizes = [
            [size for size, stated in zip(array.shape, shape, strict=True) if stated.is_dynamic]
            for shape, array in zip(shapes, arrays, strict=True)
        ]
        if any(its != sizes[0] for its in sizes):  # of which it would stretch one
            raise ValueError(f"it takes inputs of one size, not of {sizes}")
        request.infer(dict(enumerate(arrays)))
        return [request.get_output_tensor(place).data.copy() for place in range(len(compiled.outputs))]

    return run


def metadata(path: str) -> dict[str, str]:
    """Return the texts in the file, by name."""
    found = openvino.Core().read_model(path).get_rt_info()
    return {name: str(its.value) for name, its in found.items() if hasattr(its, "value")}
