"""Features that several processes compute, each its share of the batches; the first of them writes the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from hubft.cut.features import Cache, Features
from hubft.cut.provenance import Source
from hubft.machine.ranks import ALONE, Ranks
from hubft.train import loader

Compute = Callable[[Source, Ranks], Iterator[Tensor]]
"""Gives the features of a source, batch by batch in order, computed by these processes together (`computed`)."""


def get(
    ranks: Ranks, cache: Cache, sources: Sequence[Source], targets: Any, compute: Compute, needed: bool = False
) -> Features | str:
    """Return what `Cache.get` does; each process must call it, and each gets the same.

    The first process looks into the cache, and tells the others what there is to compute. When all is written, the
    others read it; where nothing can be written, each computes it for itself.
    """
    if ranks.alone:
        return cache.get(sources, targets, lambda source: compute(source, ALONE), needed)
    found: Features | str = ""
    if ranks.first:
        found = cache.get(sources, targets, lambda source: _told(ranks, sources.index(source), source, compute), needed)
        ranks.same(lambda: -1)
    else:
        while (number := ranks.same(int)) >= 0:
            for _ in compute(sources[number], ranks):
                pass
    problem = ranks.same(lambda: found if isinstance(found, str) else "")
    if problem or ranks.first:
        return problem or found
    return cache.get(sources, targets, lambda source: compute(source, ALONE), needed)


def _told(ranks: Ranks, number: int, source: Source, compute: Compute) -> Iterator[Tensor]:
    ranks.same(lambda: number)
    yield from compute(source, ranks)


def computed(ranks: Ranks, batches: loader.Loader, make: Callable[[Any], Tensor]) -> Iterator[Tensor]:
    """Yield what is made of the inputs of each batch of `loader.in_order`, in the order of the samples."""
    own = (make(inputs) for inputs, _ in loader.share(batches, ranks))
    every = own if ranks.alone else rounds(ranks, (one.cpu() for one in own), len(batches))
    yield from loader.restored(batches, every)


def rounds(ranks: Ranks, own: Iterator[Tensor], number: int) -> Iterator[Tensor]:
    """Yield what all processes compute, in order; each must go through it. Where the first one does not go to the end,
    as where its disk is full, the others do not either.

    :param own: what this process computes: every world-th of them.
    :param number: of all of them.
    """
    try:
        for _ in range(0, number, ranks.world):
            if not ranks.same(lambda: True):
                return
            yield from (one for one in ranks.told(next(own, None)) if one is not None)
    except GeneratorExit:
        if ranks.first:
            ranks.same(lambda: False)
        raise
