"""Batches: which samples, in which order, seen how - a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hubft import modality
from hubft.base import draws
from hubft.machine.runtime import Runtime
from hubft.modality import Views

Index = tuple[int, int]  # (view, index of the sample); view 0 is the evaluation's


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return in how many batches an epoch is cut."""
    return -(-samples // batch_size)


class Batches(Sampler[list[Index]]):
    """The batches of a run from step `start` to before `stop`: each epoch a fresh order, cut evenly, none dropped.

    Even batches differ by one sample at most, so none is so small that batch norm fails or shakes. With
    `views` the epochs go through that many fixed views of each sample, the evaluation's first; with 0 every
    epoch has an augmented view of its own.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        epochs: int,
        seed: int,
        start: int = 0,
        stop: int | None = None,
        views: int = 0,
        weights: Tensor | None = None,
    ) -> None:
        """:param weights: float64 `[samples]`, where an epoch draws samples with these chances, with replacement."""
        self.weights = weights
        self.samples, self.seed, self.start, self.views = samples, seed, start, views
        self.per_epoch = steps_per_epoch(samples, batch_size)
        self.steps = self.per_epoch * epochs
        """Of the whole run, whatever part of it this is."""
        self.stop = self.steps if stop is None else stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Index]]:
        for epoch in range(self.start // self.per_epoch, -(-self.stop // self.per_epoch)):
            random = draws.generator("order", self.seed, epoch)
            if self.weights is None:
                order = torch.randperm(self.samples, generator=random)
            else:
                order = torch.multinomial(self.weights, self.samples, replacement=True, generator=random)
            first = epoch * self.per_epoch
            view = epoch % self.views if self.views else epoch + 1
            for batch in order.tensor_split(self.per_epoch)[max(0, self.start - first) : self.stop - first]:
                yield [(view, i) for i in batch.tolist()]


class Loader:
    """Batches: (inputs float32 `[b, 3, height, width]` on the device, targets as the task collates them, on the CPU).

    Pixels travel as bytes, a quarter of the size, and are normalised where they arrive.
    """

    def __init__(self, views: Views, order: Any, runtime: Runtime, workers: int) -> None:
        self.batch_sampler = order
        self.ready = modality.of(views.inputs).ready(views.inputs, runtime)
        self.pictures: DataLoader[Any] = DataLoader(
            cast(Dataset[Any], views),
            batch_sampler=order,
            collate_fn=views.collate,
            num_workers=workers,
            pin_memory=runtime.device.type == "cuda",
            generator=draws.generator("loader", 0),  # else it would draw from the global one
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        for pictures, targets in self.pictures:
            yield self.ready(pictures), targets


def batches(views: Views, sampler: Batches, runtime: Runtime) -> Loader:
    """Return the training batches of a run, or of the part of it that `sampler` says."""
    for view in range(sampler.views) or (1,):
        views.keep(view)
    return Loader(views, sampler, runtime, runtime.workers)


def in_order(views: Views, batch_size: int, runtime: Runtime, view: int = 0) -> Loader:
    """Return one view of every sample, in order; view 0 is the evaluation's."""
    views.keep(view)
    samples = range(len(views.samples))
    order: Sequence[list[Index]] = [
        [(view, i) for i in samples[at : at + batch_size]] for at in range(0, len(samples), batch_size)
    ]
    return Loader(views, order, runtime, min(runtime.workers, len(order)))
