"""Runs an .mlpackage with coremltools and numpy, and nothing else, on a Mac; elsewhere it reads the texts in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[[numpy.ndarray], list[numpy.ndarray]]:
    """Return a function from a batch of one image to the outputs.

    :param threads: Core ML has no such choice.
    :param exact: compute in fp32: on the processor, for the other units compute in fewer bits.
    """
    import coremltools

    units = coremltools.ComputeUnit.CPU_ONLY if exact else coremltools.ComputeUnit.ALL
    model = coremltools.models.MLModel(path, compute_units=units)
    spec = model.get_spec().description
    (given,), shape = spec.input, list(spec.input[0].type.multiArrayType.shape)

    def run(batch: numpy.ndarray) -> list[numpy.ndarray]:
        if list(batch.shape) != shape:
            raise ValueError(f"it takes images {shape}, not {list(batch.shape)}")
        found = model.predict({given.name: batch.astype(numpy.float32)})
        return [found[one.name] for one in spec.output]

    return run


def metadata(path: str) -> dict[str, str]:
    """Return the texts in the file, by name."""
    import coremltools

    return dict(coremltools.models.MLModel(path, skip_model_load=True).user_defined_metadata)


def shapes(path: str) -> list[list[int]]:
    """Return the shape that the file's own description gives for its input, and those of its outputs if it has any."""
    import coremltools

    spec = coremltools.models.MLModel(path, skip_model_load=True).get_spec().description
    return [list(one.type.multiArrayType.shape) for one in (*spec.input, *spec.output)]
