"""Batches: which samples, in which order, seen how - a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hubft import modality
from hubft.base import draws
from hubft.base.bars import Counting, counted, nobody
from hubft.base.batches import concat, count, take
from hubft.base.errors import DataError, JobError, Option
from hubft.hookspecs import Batch
from hubft.machine.ranks import ALONE, Ranks
from hubft.machine.runtime import Runtime
from hubft.modality import Views

T = TypeVar("T")
Index = tuple[int, int]  # (view, index of the sample); view 0 is the evaluation's

PARTS = 8  # of a batch with --exact, whatever the number of processes
POOL = 16  # batches at most whose samples are put together by their costs; a quarter of an epoch, where that is less
WINDOW = 64  # batches that are out of order at most where results are put back in order


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return in how many batches an epoch is cut."""
    return -(-samples // batch_size)


class Batches(Sampler[list[Index]]):
    """The batches of a run from step `start` to before `stop`: each epoch a fresh order, cut evenly, none dropped.

    Even batches differ by one sample at most, so none is so small that batch norm fails or shakes. With
    `views` the epochs go through that many fixed views of each sample, the evaluation's first; with 0 every
    epoch has an augmented view of its own.

    Where samples differ in what they cost, a batch has samples of like costs: those of `POOL` batches of an epoch's
    order are sorted, and its batches then come in an order that is drawn.

    Of several processes each has `own` parts of every batch, one after the other; the order is the same for all.
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
        costs: Sequence[int] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """:param weights: float64 `[samples]`, where an epoch draws samples with these chances, with replacement.
        :param costs: of the samples, where they differ (`hubft.modality.Views.costs`).
        :param runtime: of the steps: whether they are computed by several processes, and in parts.
        :raises JobError: a batch has fewer samples than there are processes.
        """
        self.weights, self.costs = weights, None if costs is None else torch.as_tensor(costs)
        self.samples, self.seed, self.start, self.views = samples, seed, start, views
        self.per_epoch = steps_per_epoch(samples, batch_size)
        self.steps = self.per_epoch * epochs
        """Of the whole run, whatever part of it this is."""
        self.stop = self.steps if stop is None else stop
        self.ranks = runtime.ranks if runtime else ALONE
        least = samples // max(1, self.per_epoch)
        if least < self.ranks.world:
            why = f" {batch_size} of {samples} samples: {self.ranks.world} processes need one each in every batch"
            raise JobError(Option("batch_size"), why)
        self.parts = max(1, min(PARTS, least // 2)) if runtime and runtime.exact else self.ranks.world
        """In which the gradient of a batch is computed, by all processes together."""

    @property
    def own(self) -> Sequence[int]:
        """Which parts of each batch this process computes."""
        return self.ranks.own(range(self.parts))

    def __len__(self) -> int:
        return (self.stop - self.start) * len(self.own)

    def __iter__(self) -> Iterator[list[Index]]:
        for epoch in range(self.start // self.per_epoch, -(-self.stop // self.per_epoch)):
            random = draws.generator("order", self.seed, epoch)
            if self.weights is None:
                order = torch.randperm(self.samples, generator=random)
            else:
                order = torch.multinomial(self.weights, self.samples, replacement=True, generator=random)
            first = epoch * self.per_epoch
            view = epoch % self.views if self.views else epoch + 1
            cut: Sequence[Tensor] = order.tensor_split(self.per_epoch)
            if self.costs is not None:
                cut = alike(cut, self.costs, random)
            for batch in cut[max(0, self.start - first) : self.stop - first]:
                for part in self.ranks.own(batch.tensor_split(self.parts)):
                    yield [(view, i) for i in part.tolist()]


def alike(batches: Sequence[Tensor], costs: Tensor, random: torch.Generator) -> Sequence[Tensor]:
    """Return batches of the same samples and sizes, each of samples of like costs, in an order that is drawn."""
    found: list[Tensor] = []
    size = min(POOL, max(2, len(batches) // 4))  # else the same samples would meet in every epoch
    for at in range(0, len(batches), size):
        pool = batches[at : at + size]
        samples = torch.cat(list(pool))
        samples = samples[costs[samples].argsort(stable=True)]
        found += samples.split([len(batch) for batch in pool])
    return [found[place] for place in torch.randperm(len(found), generator=random).tolist()]


class Loader:
    """Batches: (inputs float32 `[b, 3, height, width]` on the device, targets as the task collates them, on the CPU).

    Pixels travel as bytes, a quarter of the size, and are normalised where they arrive.
    """

    def __init__(
        self, views: Views, order: Any, runtime: Runtime, workers: int, counting: Counting = nobody, what: str = ""
    ) -> None:
        """:param what: is done with them, as `counting` is told of their number."""
        self.views, self.batch_sampler, self.runtime = views, order, runtime
        self.counting, self.what = counting, what
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

    def shared(self, ranks: Ranks, even: bool = False) -> Loader:
        """Return the batches that are this process's, of an order that is a list.

        :param even: each has equally many: one that lacks a batch in the end has the last one of all.
        """
        own = list(ranks.own(self.batch_sampler))
        if even and len(own) * ranks.world < len(self.batch_sampler):
            own.append(self.batch_sampler[-1])
        return Loader(self.views, own, self.runtime, self.pictures.num_workers, self.counting, self.what)

    places: Sequence[Tensor] = ()
    """Of `in_order`, where samples come out of order: for each window of them, the places of those that come."""

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        for pictures, targets in counted(self.counting, _told(self.pictures), len(self), self.what):
            yield self.ready(pictures), targets


def _told(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches, and tell in a line what a worker process could not read: torch puts its traceback around it."""
    try:
        yield from batches
    except DataError as error:
        line = str(error).rstrip().rpartition("\n")[2]
        raise DataError(line.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error


def batches(views: Views, sampler: Batches, runtime: Runtime) -> Loader:
    """Return the training batches of a run, or of the part of it that `sampler` says."""
    for view in range(sampler.views) or (1,):
        views.keep(view)
    return Loader(views, sampler, runtime, runtime.workers)


def steps(parts: Iterable[T], sampler: Batches) -> Iterator[list[T]]:
    """Yield, for each step, what there is of each of this process's parts of its batch; there may be none.

    :param parts: a thing a part, in the sampler's order.
    """
    its, number = iter(parts), len(sampler.own)
    if number == 1:
        yield from ([one] for one in its)
        return
    for _ in range(sampler.stop - sampler.start):
        yield list(islice(its, number))


def in_order(
    views: Views, batch_size: int, runtime: Runtime, view: int = 0, counting: Counting = nobody, what: str = ""
) -> Loader:
    """Return one view of every sample; view 0 is the evaluation's.

    They come in order, or where they differ in what they cost, sorted by that within windows of `WINDOW` batches:
    `restored` puts back in order what is made of them.

    :param what: is done with them, as `counting` is told of their number.
    """
    views.keep(view)
    samples, costs = torch.arange(len(views.samples)), views.costs()
    windows = samples.split(WINDOW * batch_size)
    places: Sequence[Tensor] = ()
    if costs is not None:
        places = [torch.as_tensor(costs)[window].argsort(stable=True, descending=True) for window in windows]
        windows = tuple(window[place] for window, place in zip(windows, places, strict=True))
    order = [[(view, i) for i in batch.tolist()] for window in windows for batch in window.split(batch_size)]
    loader = Loader(views, order, runtime, min(runtime.workers, len(order)), counting, what)
    loader.places = places
    return loader


def share(batches: Iterable[Batch], ranks: Ranks, even: bool = False) -> Iterable[Batch]:
    """Return every world-th of these batches, from this process's on; those of a loader alone are read.

    :param even: of a loader, as of `Loader.shared`.
    """
    if ranks.alone:
        return batches
    return (
        batches.shared(ranks, even) if isinstance(batches, Loader) else islice(batches, ranks.rank, None, ranks.world)
    )


def restored(batches: Any, made: Iterable[T]) -> Iterator[T]:
    """Yield what was made of the batches of `in_order`, trees with a row a sample, in the order of the samples.

    :param batches: from elsewhere they are in order already.
    """
    its = iter(made)
    for window in getattr(batches, "places", ()):
        waiting: list[T] = []
        while sum(map(count, waiting)) < len(window):
            waiting.append(next(its))
        yield take(concat(waiting), window.argsort())
    yield from its


def typical(views: Views, number: int) -> list[Any]:
    """Return so many samples that cost as much as samples do on average; the first ones where all cost the same."""
    costs = views.costs()
    if costs is None:
        return list(views.samples[:number])
    off = (torch.as_tensor(costs).double() - sum(costs) / len(costs)).abs()
    return [views.samples[i] for i in off.argsort(stable=True)[:number].tolist()]
