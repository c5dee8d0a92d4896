"""Where and how a run computes: the part of a job that another machine would change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hubft.base.bounds import check_bounds
from hubft.base.errors import JobError, Option
from hubft.base.serialize import settle


@dataclass(frozen=True)
class Compute:
    """Where and in which precision the run computes."""

    device: str = "auto"
    """cpu, cuda, cuda:N, mps; auto takes the first accelerator."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of training: auto is the fastest that was measured and agrees with fp32. Evaluation is always fp32."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Of images and convolutions in memory; auto is measured."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the training step; auto: measured, and on where it pays off within the run."""
    threads: int = 0
    """Threads of PyTorch on the CPU; 0 is measured."""
    workers: int = -1
    """Processes that decode images; -1 is measured; 0 decodes in the main process."""
    cache: float = 10.0
    """Gigabytes of disk for features of frozen stages, over all runs; 0 computes them anew in every epoch."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 writes one after an epoch, a second apart at the least, and at the end."""
    checkpoint_activations: bool = False
    """Keep what each stage of the model is given, and compute the rest of its activations again in the backward pass:
    the same bits in less memory, and a step takes a third longer."""
    devices: int = 1
    """Processes on this machine that train together, one a device: each computes its share of every batch."""
    exact: bool = False
    """Sum the gradients of a batch in eight parts, always in one order: the bits of the run then do not depend on how
    many processes it has."""
    shard: bool = False
    """Split the model, its gradients and what the optimizer keeps over the processes, where it does not fit a device: a
    layer at a time is whole. Of models of transformers."""
    cache_folder: str = ""
    """Folder of these features: one on a common file system serves several machines; empty is $HUBFT_CACHE, or
    ~/.cache/hubft."""

    def __post_init__(self) -> None:
        settle(self)
        check_bounds("threads", self.threads, 0, 1024)
        check_bounds("workers", self.workers, -1, 1024)
        check_bounds("devices", self.devices, 1, 1024)
        check_bounds("cache", self.cache, 0.0, 1e6)
        check_bounds("checkpoint_every", self.checkpoint_every, 0, 2**31)

    def check_together(self) -> None:
        """Refuse options that mean nothing beside the others.

        :raises JobError: one of them; the cure is in the message.
        """
        if self.shard and self.exact:
            why = " adds whole gradients in its own order, and "
            raise JobError(Option("exact"), why, Option("shard"), " leaves none whole: leave one of them out")
        if self.shard and self.compile == "on":
            raise JobError(Option("compile"), " on: ", Option("shard"), " computes layers one by one: leave it out")
        if self.shard and self.precision == "fp16":
            raise JobError(Option("precision"), " fp16: ", Option("shard"), " scales no loss: take bf16 or fp32")
        if self.checkpoint_activations and self.compile == "on":
            why = " on settles by itself what is computed again: leave it out, or "
            raise JobError(Option("compile"), why, Option("checkpoint_activations"))
