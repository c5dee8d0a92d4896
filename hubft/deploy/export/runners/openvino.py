"""Runs an OpenVINO IR, FILE.xml with FILE.bin, with OpenVINO and numpy, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import openvino


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[[numpy.ndarray], list[numpy.ndarray]]:
    """Return a function from a batch to the outputs.

    :param threads: to compute with; 0 is the runtime's choice.
    :param exact: compute in fp32, also where the processor has bf16, which OpenVINO takes by itself.
    """
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    if exact:
        options["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.Core().compile_model(path, "CPU", options)
    request, shape = compiled.create_infer_request(), compiled.inputs[0].get_partial_shape()

    def run(batch: numpy.ndarray) -> list[numpy.ndarray]:
        if not shape.compatible(openvino.PartialShape(list(batch.shape))):  # it takes other ranks for the old input
            raise ValueError(f"it takes images {shape}, not {list(batch.shape)}")
        request.infer({0: batch})
        return [request.get_output_tensor(place).data.copy() for place in range(len(compiled.outputs))]

    return run


def metadata(path: str) -> dict[str, str]:
    """Return the texts in the file, by name."""
    found = openvino.Core().read_model(path).get_rt_info()
    return {name: str(its.value) for name, its in found.items() if hasattr(its, "value")}
