"""Which sizes of input a model can use: found out in forward passes, never guessed by its name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from hubft.base.errors import JobError, Option
from hubft.hookspecs import Loaded
from hubft.job import SMALLEST, Job

LARGEST = 512  # pixels up to which a size is looked for in place of one that does not do
STARVED = "a single pixel is left of them where "
PATIENCE = 10.0  # seconds that the search may take: it changes a message, never what is refused


def check(loaded: Loaded, job: Job) -> None:
    """Check that the model can use images of `job.size`, where one was asked for.

    :raises JobError: it does not take them, or they are so small that a layer with a stride gets a single pixel: what
        follows sees no image any more. The message names the nearest size that does.
    """
    why = _problem(loaded, job.size) if job.size else ""
    if not why:
        return
    if why.startswith(STARVED) and _problem(loaded, LARGEST).startswith(STARVED):
        return  # whatever the size: so it was trained
    nearest = _nearest(loaded, job.size)
    cure = f"the nearest size that it can use is {nearest}" if nearest else "0 is its own size"
    raise JobError(Option("size"), f" {job.size}: {job.reference} cannot use images of that size: {why}; {cure}")


def _nearest(loaded: Loaded, size: int) -> int:
    """Return the nearest size without a problem; 0 where none is found in time."""
    until = time.perf_counter() + PATIENCE
    for other in sorted(range(SMALLEST, LARGEST + 1), key=lambda other: abs(other - size)):
        if time.perf_counter() > until:
            return 0
        if other != size and not _problem(loaded, other):
            return other
    return 0


def _problem(loaded: Loaded, size: int) -> str:
    """Return why the model, in eval mode, cannot use square images of a size; empty where it can."""
    starved: list[str] = []
    try:
        with torch.no_grad(), _watched(loaded.model, starved):
            found = loaded.forward(loaded.model, torch.zeros(2, loaded.images.shape[0], size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    several = found.dim() > 2  # boxes: a detector reads larger maps too
    return f"{STARVED}{starved[0]} halves what it gets" if starved and not several else ""


@contextmanager
def _watched(model: nn.Module, starved: list[str]) -> Iterator[None]:
    """Note the names of the layers with a stride that get one pixel."""

    def note(name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].shape[-2:] == (1, 1):
            starved.append(name)

    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)}
    handles = [m.register_forward_pre_hook(partial(note, n)) for n, m in layers.items() if _stride(m) > 1]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stride(layer: Any) -> int:
    return max(layer.stride) if isinstance(layer.stride, tuple) else int(layer.stride)
