"""Where a run computes: device and precision, chosen once, so that the loop reads the same everywhere."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from hubft.errors import JobError
from hubft.job import Compute

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Runtime:
    """Device and precision of a run.

    :raises JobError: a device that this machine lacks, a precision that the device cannot compute in.
    """

    def __init__(self, compute: Compute) -> None:
        self.device = _device(compute.device)
        self.precision = compute.precision
        if self.precision == "auto":
            bf16 = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            self.precision = "bf16" if bf16 else "fp32"
        scaled = self.precision == "fp16"
        if scaled and self.device.type == "cpu":
            raise JobError("--precision fp16 needs a GPU: on a CPU use fp32 or bf16")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which a training step's forward pass runs."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def to_device(self, batch: Any) -> Any:
        """Return a batch with every tensor on the device."""
        if isinstance(batch, Tensor):
            return batch.to(self.device, non_blocking=True)
        if isinstance(batch, dict):
            return {name: self.to_device(value) for name, value in batch.items()}
        if isinstance(batch, list | tuple):
            return tuple(self.to_device(value) for value in batch)
        return batch


def _device(name: str) -> torch.device:
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            device = torch.device(name)
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise JobError(
            f"--device {name!r} cannot be used here: {str(error).splitlines()[0]}; try --device cpu"
        ) from error
    return device
