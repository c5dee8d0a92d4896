"""Runs an ONNX file with ONNX Runtime and numpy, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import onnxruntime


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[..., list[numpy.ndarray]]:
    """Return a function from a batch, an array for each input, to the outputs.

    :param threads: to compute with; 0 is the runtime's choice.
    :param exact: compute in fp32, whatever is faster here: ONNX Runtime on a CPU does nothing else.
    """
    session = _session(path, threads)
    names = [one.name for one in session.get_inputs()]

    def run(*arrays: numpy.ndarray) -> list[numpy.ndarray]:
        found: list[numpy.ndarray] = session.run(None, dict(zip(names, arrays, strict=True)))
        return found

    return run


def metadata(path: str) -> dict[str, str]:
    """Return the texts in the file, by name."""
    return dict(_session(path, 1).get_modelmeta().custom_metadata_map)


def _session(path: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
