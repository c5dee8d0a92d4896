"""Batches: which samples, in which order, seen how - a pure function of the seed and the step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hubft.train import draws
from hubft.train.data import Images, Sample
from hubft.train.decode import decode

Index = tuple[int, int]  # (epoch, index of the sample)


class Views(Dataset[tuple[Tensor, int]]):
    """Decoded and transformed samples; each draws from generators seeded by (seed, epoch, index)."""

    def __init__(self, folder: Path, samples: Sequence[Sample], transform: Any, seed: int) -> None:
        self.folder, self.samples, self.transform, self.seed = folder, samples, transform, seed

    def __getitem__(self, index: Index) -> tuple[Tensor, int]:
        epoch, i = index
        sample = self.samples[i]
        draws.seed("sample", self.seed, epoch, i)
        return self.transform(decode(self.folder / sample.path)), sample.label


class Batches(Sampler[list[Index]]):
    """All batches of a run from step `start` on: each epoch a fresh order, cut evenly, none dropped.

    Even batches differ by one sample at most, so none is so small that batch norm fails or shakes.
    """

    def __init__(self, samples: int, batch_size: int, epochs: int, seed: int, start: int = 0) -> None:
        self.samples, self.epochs, self.seed, self.start = samples, epochs, seed, start
        self.per_epoch = -(-samples // batch_size)

    def __len__(self) -> int:
        return self.per_epoch * self.epochs - self.start

    def __iter__(self) -> Iterator[list[Index]]:
        for epoch in range(self.start // self.per_epoch, self.epochs):
            order = torch.randperm(self.samples, generator=draws.generator("order", self.seed, epoch))
            batches = order.tensor_split(self.per_epoch)
            skip = self.start % self.per_epoch if epoch == self.start // self.per_epoch else 0
            for batch in batches[skip:]:
                yield [(epoch, i) for i in batch.tolist()]


def processes(workers: int) -> int:
    """Return how many processes decode images: `workers`, or where that is -1 one less than the cores, 1 to 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers if workers >= 0 else min(8, max(1, cores - 1))


def batches(images: Images, transform: Any, sampler: Batches, workers: int, device: torch.device) -> DataLoader[Any]:
    """Return the training batches of a run as (inputs float32 `[b, 3, h, w]`, targets int64 `[b]`)."""
    return DataLoader(
        Views(images.folder, images.train, transform, sampler.seed),
        batch_sampler=sampler,
        num_workers=processes(workers),
        pin_memory=device.type == "cuda",
        generator=draws.generator("loader", sampler.seed),  # else it would draw from the global one
    )


def in_order(folder: Path, samples: Sequence[Sample], transform: Any, batch_size: int, workers: int) -> DataLoader[Any]:
    """Return the samples once, in order, as batches of the same form."""
    order = [
        [(0, i) for i in range(at, min(at + batch_size, len(samples)))] for at in range(0, len(samples), batch_size)
    ]
    return DataLoader(
        Views(folder, samples, transform, 0),
        batch_sampler=order,
        num_workers=min(processes(workers), len(order)),
        generator=draws.generator("loader", 0),
    )
