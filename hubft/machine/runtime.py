"""Where a run computes: device, precision, memory format and threads, so that the loop reads the same everywhere."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from hubft.base import batches
from hubft.base.errors import JobError, Option
from hubft.families.checkpointing import checkpointed
from hubft.hookspecs import Loaded
from hubft.job import Compute
from hubft.machine.ranks import ALONE, Ranks

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ROOM = 75
"""Bytes of the temporary folder's path at most: the names of sockets in it have 32 more, and 107 is all they may have
(man 7 unix). Workers hand over samples by them, and would wait forever."""


class Runtime:
    """What `Compute` means on this machine; what nothing fixed and nothing measured is what is safe everywhere.

    :raises JobError: a device that this machine lacks, or workers where there can be none.
    """

    def __init__(self, compute: Compute, ranks: Ranks = ALONE) -> None:
        """:param ranks: the processes that compute together."""
        self.ranks, self.device = ranks, find_device(compute.device)
        self.exact = compute.exact
        self.precision = compute.precision
        if self.precision == "auto":
            bf16 = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            self.precision = "bf16" if bf16 else "fp32"
        self.memory_format = "contiguous" if compute.memory_format == "auto" else compute.memory_format
        self.compile = compute.compile == "on"
        self.saves, self.shard = compute.checkpoint_activations, compute.shard
        self.threads = compute.threads or torch.get_num_threads()
        self.workers = _workers(compute.workers)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a fresh scaler of the loss, which does nothing but in fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which a training step's forward pass runs."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def checkpointing(self, loaded: Loaded) -> AbstractContextManager[Any]:
        """Return the context of a training step, forward and backward, in which activations are kept or computed again,
        as the run wants it."""
        return checkpointed(loaded) if self.saves else nullcontext()

    @contextmanager
    def using_threads(self) -> Iterator[None]:
        """Have PyTorch compute with the run's threads for the time of a `with`."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def place(self, model: nn.Module) -> nn.Module:
        """Return the model, now on the device, its convolutions in the memory format; no value changes. One in shards
        stays where its shards are."""
        if self.shard:
            return model
        model.to(self.device, memory_format=FORMATS[self.memory_format])  # type: ignore[call-overload]
        return model

    def compiled(self, model: nn.Module) -> nn.Module:
        """Return what a training step calls: the model, or where the run compiles, its compiled form."""
        return torch.compile(model) if self.compile else model  # type: ignore[return-value]

    def to_device(self, batch: Any) -> Any:
        """Return a batch with every tensor on the device, and images in the memory format."""
        return batches.to(batch, self.device, FORMATS[self.memory_format])


def _workers(asked: int) -> int:
    """Return how many processes load samples."""
    if asked > 0 and not can_hand_over():
        where = f"the path of the temporary folder, {tempfile.gettempdir()!r}"
        why = f"{where}, is too long for the sockets by which they hand over samples"
        raise JobError(Option("workers"), f" {asked}: {why}; set TMPDIR to one of {ROOM} bytes at most")
    if asked < 0:
        return min(8, max(1, cores() - 1)) if can_hand_over() else 0
    return asked


def can_hand_over() -> bool:
    """Tell whether processes that load samples can hand them over."""
    return sys.platform == "win32" or len(os.fsencode(tempfile.gettempdir())) <= ROOM


def cores() -> int:
    """Return how many cores this process may use: its share of them where several train together."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, found // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def find_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first accelerator, or the CPU.

    :raises JobError: a device that this machine lacks.
    """
    own = os.environ.get("LOCAL_RANK", "")  # of several processes each has a device of its own
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        name = f"{found.type}:{own}" if found and own else str(found or "cpu")
    elif own and name in ("cuda", "xpu"):
        name = f"{name}:{own}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            device = torch.device(name)
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise JobError(
            Option("device"),
            f" {name!r} cannot be used here: {str(error).splitlines()[0]}; try ",
            Option("device"),
            " cpu",
        ) from error
    return device
