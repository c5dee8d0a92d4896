"""Runs a .pte with ExecuTorch's runtime (which takes tensors of PyTorch) and numpy, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy

MOST = 2**24  # bytes of the texts


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[..., list[numpy.ndarray]]:
    """Return a function from a batch of one sample, an array for each input, to the outputs.

    :param threads: the runtime's Python has no say in them.
    :param exact: compute in fp32, whatever is faster here: a .pte computes as it was written.
    """
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(Path(path)).load_method("forward")
    number = method.metadata.num_inputs()
    shapes = [list(method.metadata.input_tensor_meta(place).sizes()) for place in range(number)]

    def run(*arrays: numpy.ndarray) -> list[numpy.ndarray]:
        if [list(array.shape) for array in arrays] != shapes:
            raise ValueError(f"it takes {shapes}, not {[list(array.shape) for array in arrays]}")
        return [one.numpy().copy() for one in method.execute([torch.from_numpy(array) for array in arrays])]

    return run


def metadata(path: str) -> dict[str, str]:
    """Return the texts that stand beside the file, by name."""
    beside = Path(path + ".json")
    if beside.stat().st_size > MOST:
        raise ValueError(f"{beside.name} is no list of texts")
    return {str(name): str(text) for name, text in json.loads(beside.read_text(encoding="utf-8")).items()}
