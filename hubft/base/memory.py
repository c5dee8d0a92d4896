"""Memory: whether it ran out, and how much of it was in use at most."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import torch

from hubft.base.errors import Option

CURES = (
    *("try ", Option("checkpoint_activations"), ", a smaller ", Option("size"), " or ", Option("batch_size")),
    *(", or ", Option("precision"), " bf16"),
)
"""What to do where a step has no room, as parts of a message."""
SAID = ("DefaultCPUAllocator", "MPS backend out of memory")
"""In errors of PyTorch that are plain RuntimeErrors."""


def ran_out(error: BaseException) -> bool:
    """Tell whether an error of PyTorch says that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in SAID)


def give_back(device: torch.device) -> None:
    """Give memory that PyTorch holds and does not use back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


class Peak:
    """The memory that was in use at most since this was made: of CUDA what tensors took, elsewhere of the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.before = torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident()

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types, in bytes: the peak, and by how much it is above what was in use before.

        A process knows the peak of all its life alone: what it grew by is 0 where it had taken more before. Windows
        does not say it.
        """
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _resident()
        grown = None if peak is None or self.before is None else peak - self.before
        return {"device": self.device.type, "peak_bytes": peak, "growth_bytes": grown}


def _resident() -> int | None:
    with suppress(ImportError):  # on Windows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return None
