"""Batches as trees: tensors with a row a sample, dicts and tuples of trees, and lists with an item a sample.

This is the one place that counts, slices, moves or joins them. A list is never a structure: the targets of a detector
are a list of dicts, one an image, and a slice of it is a shorter list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

EMPTY = torch.finfo(torch.float32).min
"""What fills up float32 where a sample has less than others: no model gives it, and it is finite."""


def count(tree: Any) -> int:
    """Return how many samples a batch has.

    :raises ValueError: nothing in it has a row for each sample, or its parts do not agree.
    """
    found = set(_counts(tree))
    if len(found) != 1:
        raise ValueError(f"a batch whose parts have {sorted(found) or 'no'} samples")
    return found.pop()


def _counts(tree: Any) -> list[int]:
    if isinstance(tree, Tensor):
        return [len(tree)] if tree.ndim else []
    if isinstance(tree, list):
        return [len(tree)]
    return [number for part in _parts(tree) for number in _counts(part)]


def shape_of(tree: Any) -> tuple[int, ...]:
    """Return the sizes of its tensors without their samples, one after the other."""
    if isinstance(tree, Tensor):
        return tuple(tree.shape[1:])
    return tuple(size for part in _parts(tree) for size in shape_of(part))


def leaves(tree: Any) -> list[Tensor]:
    """Return the tensors of a batch, one after the other."""
    return [tree] if isinstance(tree, Tensor) else [leaf for part in _parts(tree) for leaf in leaves(part)]


def filled(tree: Any, tensors: Sequence[Tensor]) -> Any:
    """Return a batch of the structure of another, with these for its tensors."""
    rest = iter(tensors)
    return each(tree, lambda _: next(rest))


def rows(tree: Any, start: int, stop: int) -> Any:
    """Return the samples from `start` to before `stop`; what is no tensor and no list stays as it is."""
    if isinstance(tree, Tensor):
        return tree[start:stop] if tree.ndim else tree
    if isinstance(tree, list):
        return tree[start:stop]
    return _rebuilt(tree, lambda part: rows(part, start, stop))


def take(tree: Any, index: Tensor) -> Any:
    """Return the samples of an index, int64, in its order."""
    if isinstance(tree, Tensor):
        return tree[index] if tree.ndim else tree
    if isinstance(tree, list):
        return [tree[place] for place in index.tolist()]
    return _rebuilt(tree, lambda part: take(part, index))


def concat(trees: Sequence[Any]) -> Any:
    """Return batches of one structure as one, their samples in order."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(list(trees)) if first.ndim else first
    if isinstance(first, list):
        return [sample for tree in trees for sample in tree]
    if isinstance(first, dict):
        return type(first)((name, concat([tree[name] for tree in trees])) for name in first)
    if isinstance(first, tuple):
        return _sequence(first, [concat(parts) for parts in zip(*trees, strict=True)])
    return first


def stacked(samples: Any) -> Any:
    """Return a list of tensors, one a sample, `[length, sizes...]` each, as one tensor `[n, longest, sizes...]`, filled
    up with EMPTY; anything else as it is."""
    if not isinstance(samples, list):
        return samples
    return pad_sequence(samples, batch_first=True, padding_value=EMPTY)


def each(tree: Any, function: Callable[[Any], Any], kind: type = Tensor) -> Any:
    """Return a tree with `function` applied to every tensor of it, or leaf of another kind, in single samples too."""
    if isinstance(tree, kind):
        return function(tree)
    return _rebuilt(tree, lambda part: each(part, function, kind))


def to(tree: Any, device: torch.device, images: torch.memory_format = torch.preserve_format) -> Any:
    """Return a batch with every tensor on the device.

    :param images: memory format of its images, floating-point tensors of four dimensions.
    """

    def moved(tensor: Tensor) -> Tensor:
        pictures = tensor.ndim == 4 and tensor.is_floating_point()
        return tensor.to(device, non_blocking=True, memory_format=images if pictures else torch.preserve_format)

    return each(tree, moved)


def even(tree: Any, parts: int) -> list[tuple[float, Any]]:
    """Return a batch in at most so many even parts, each with its share of the samples.

    A batch of two samples or more is never cut to one: batch norm has no statistics of one feature vector, and its
    backward pass on the CPU is wrong for one image in torch 2.15.
    """
    samples = count(tree)
    parts = max(1, min(parts, samples // 2))
    if parts == 1:
        return [(1.0, tree)]
    ends = [samples * i // parts for i in range(parts + 1)]
    return [((stop - start) / samples, rows(tree, start, stop)) for start, stop in pairwise(ends)]


def _parts(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return list(tree.values())
    return list(tree) if isinstance(tree, tuple) else []


def _rebuilt(tree: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return type(tree)((name, function(part)) for name, part in tree.items())
    if isinstance(tree, tuple | list):
        return _sequence(tree, [function(part) for part in tree])
    return tree


def _sequence(like: Any, parts: list[Any]) -> Any:
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)
