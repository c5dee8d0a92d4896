"""Runs an .mlpackage with coremltools and numpy, and nothing else, on a Mac; elsewhere it reads the texts in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[..., list[numpy.ndarray]]:
    """Return a function from a batch of one sample, an array for each input, to the outputs.

    :param threads: Core ML has no such choice.
    :param exact: compute in fp32: on the processor, for the other units compute in fewer bits.
    """
    import coremltools

    units = coremltools.ComputeUnit.CPU_ONLY if exact else coremltools.ComputeUnit.ALL
    model = coremltools.models.MLModel(path, compute_units=units)
    spec = model.get_spec().description
    shapes = [list(one.type.multiArrayType.shape) for one in spec.input]

    def run(*arrays: numpy.ndarray) -> list[numpy.ndarray]:
        if [list(array.shape) for array in arrays] != shapes:
            raise ValueError(f"it takes {shapes}, not {[list(array.shape) for array in arrays]}")
        kinds = [numpy.int32 if array.dtype.kind == "i" else numpy.float32 for array in arrays]
        given = zip(spec.input, arrays, kinds, strict=True)
        found = model.predict({one.name: array.astype(kind) for one, array, kind in given})
        return [found[one.name] for one in spec.output]

    return run


def metadata(path: str) -> dict[str, str]:
    """Return the texts in the file, by name."""
    import coremltools

    return dict(coremltools.models.MLModel(path, skip_model_load=True).user_defined_metadata)


def shapes(path: str) -> list[list[int]]:
    """Return the shape that the file's own description gives for its inputs, and those of its outputs if it has any."""
    import coremltools

    spec = coremltools.models.MLModel(path, skip_model_load=True).get_spec().description
    return [list(one.type.multiArrayType.shape) for one in (*spec.input, *spec.output)]
