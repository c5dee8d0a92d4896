"""Batches on the device: mixed with themselves, or cut into parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from torchvision.transforms import v2

from hubft.base import draws
from hubft.hookspecs import Batch


class Mixing:
    """Mixup (https://arxiv.org/abs/1710.09412) or CutMix (https://arxiv.org/abs/1905.04899) of a whole batch.

    One of the two by a fair draw, with torchvision's own strengths of its reference training: Beta(0.2, 0.2) and
    Beta(1, 1).
    """

    def __init__(self, classes: int, seed: int) -> None:
        self.seed = seed
        self.choice = v2.RandomChoice(
            [v2.MixUp(alpha=0.2, num_classes=classes), v2.CutMix(alpha=1.0, num_classes=classes)]
        )

    def __call__(self, batch: Batch, step: int) -> Batch:
        """Return the batch of a step mixed: images `[b, 3, h, w]`, and targets as float probabilities `[b, classes]`.

        What is drawn is a function of (seed, step).
        """
        draws.seed("mix", self.seed, step)
        images, targets = self.choice(*batch)
        return images, targets


def parts(batch: Batch, count: int) -> Iterator[tuple[float, Batch]]:
    """Yield a batch in at most `count` even parts, each with its share of the images.

    A batch of two images or more is never cut to one: batch norm has no statistics of one feature vector, and its
    backward pass on the CPU is wrong for one image in torch 2.15.
    """
    images = len(batch[1])
    count = max(1, min(count, images // 2))
    if count == 1:
        yield 1.0, batch
        return
    ends = [images * i // count for i in range(count + 1)]
    for start, end in pairwise(ends):
        yield (end - start) / images, _rows(batch, slice(start, end))


def _rows(value: Any, rows: slice) -> Any:
    if isinstance(value, dict):
        return {name: _rows(item, rows) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_rows(item, rows) for item in value)
    return value[rows]
