"""Boxes that a model gives beside those that are there: which belong together, and what is missed.

Given are `[n, k, 6]` and a dict a sample, as `Boxes` says.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchvision.ops import box_iou

from hubft.tasks.losses import Loss, Whole
from hubft.tasks.matched import Said, Truth

RIGHT = 0.5  # overlap (intersection over union) from which on a box is right


class Missed(Loss):
    """The mean over images of 1 - 2 S / (P + T): S is the sum of score times overlap of boxes that belong together, P
    the sum of all scores, T the number of true boxes.

    It is the Dice loss of boxes, weighted by scores (https://arxiv.org/abs/1606.04797, equation 1; its overlap is that
    of panoptic quality, https://arxiv.org/abs/1801.00868, equation 1): 0 where every object has one box that fits and
    a score of 1, 1 where nothing is found. It has no gradient of use: a detector trains by its own.
    """

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the mean, a scalar."""
        return self.samples(outputs, targets).mean()

    def samples(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the loss of each image, float32 `[n]`."""
        return torch.stack([_missed(*one) for one in zip(outputs.detach(), targets, strict=True)])

    def part(self, targets: Any, share: float) -> Self:
        """Return the loss of a part of a batch, which says what the batch is: by that the model's own loss divides."""
        part = copy.copy(self)
        part.whole = Whole(targets, share)
        return part


def _missed(given: Tensor, true: Mapping[str, Tensor]) -> Tensor:
    boxes, labels = _wanted(true)
    given = _counted(given, true, given[:, 4] > 0)
    pairs, overlap = _paired(given, boxes, labels, RIGHT)
    both = (given[pairs, 4] * overlap).sum()
    every = given[:, 4].sum() + len(boxes)
    return 1 - 2 * both / every if every > 0 else torch.zeros_like(both)


def errors(outputs: Tensor, targets: Sequence[Mapping[str, Tensor]], least: float) -> Tensor:
    """Return one minus F1 of each sample, float32 `[n]`: of boxes with this score at least; 0 where there is none and
    none is said, 1 where a number is NaN."""
    return torch.tensor([_error(*one, least) for one in zip(outputs, targets, strict=True)])


def _error(given: Tensor, true: Mapping[str, Tensor], least: float) -> float:
    if given.isnan().any():
        return 1.0
    boxes, labels = _wanted(true)
    given = _counted(given, true, given[:, 4] >= least)
    every = len(given) + len(boxes)
    return 1 - 2 * len(_paired(given, boxes, labels, RIGHT)[0]) / every if every else 0.0


def agreement(outputs: Tensor, others: Tensor, least: float) -> Tensor:
    """Return F1 of the boxes of two models, one as the truth, float32 `[n]`."""
    return 1 - errors(outputs, [_as_truth(one[one[:, 4] >= least]) for one in others], least)


def apart(outputs: Tensor, others: Tensor, largest: float) -> float:
    """Return the largest difference of boxes that belong together; NaN where a number is NaN.

    A box that the others lack counts by how much its score is above the least of theirs where their list is full, else
    by its score. Where a list is full, what is behind its end is not known.
    """
    if outputs.isnan().any() or others.isnan().any():
        return math.nan
    return max((_apart(ours, its, largest) for ours, its in zip(outputs, others, strict=True)), default=0.0)


def _apart(ours: Tensor, its: Tensor, largest: float) -> float:
    ends = [float(side[-1, 4]) if len(side) else 0.0 for side in (its, ours)]
    ours, its = ours[ours[:, 4] > 0], its[its[:, 4] > 0]
    near = (ours[:, None, :4] - its[None, :, :4]).abs().amax(2) / largest
    near = torch.maximum(near, (ours[:, None, 4] - its[None, :, 4]).abs())
    near = near.masked_fill(ours[:, None, 5] != its[None, :, 5], math.inf)
    alone = [_nearest(side, table, end) for side, table, end in ((ours, near, ends[0]), (its, near.T, ends[1]))]
    return max(alone)


def _nearest(side: Tensor, near: Tensor, end: float) -> float:
    """Return how far the boxes of a side lie from the nearest of the other, or stand out as what that lacks."""
    if not len(side):
        return 0.0
    lacking = (side[:, 4] - end).clamp(min=0)
    return float(torch.minimum(near.amin(1), lacking).max()) if near.shape[1] else float(lacking.max())


def sides(outputs: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> tuple[list[Said], list[Truth]]:
    """Return what a model said of each image, and what is there, as `hubft.tasks.boxed` measures it."""
    there = [one[one[:, 4] > 0].numpy() for one in outputs]
    said = [Said(one[:, :4], one[:, 4], one[:, 5].astype(int)) for one in there]
    return said, [Truth(*(one[name].numpy() for name in ("boxes", "labels", "crowd"))) for one in targets]


def _wanted(true: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    single = ~true["crowd"]
    return true["boxes"][single], true["labels"][single]


def _counted(given: Tensor, true: Mapping[str, Tensor], picked: Tensor) -> Tensor:
    """Return the boxes that count: those picked, without such as lie in a crowd, which is any number of objects."""
    given = given[picked]
    crowd = true["boxes"][true["crowd"]]
    if not len(crowd) or not len(given):
        return given
    corner = torch.maximum(given[:, None, :2], crowd[None, :, :2])
    inside = (torch.minimum(given[:, None, 2:4], crowd[None, :, 2:]) - corner).clamp(min=0).prod(2)
    whole = (given[:, 2:4] - given[:, :2]).clamp(min=0).prod(1).clamp(min=1e-9)
    return given[(inside / whole[:, None]).amax(1) < RIGHT]


def _paired(given: Tensor, boxes: Tensor, labels: Tensor, least: float) -> tuple[list[int], Tensor]:
    """Return which boxes are matched with a true one each, and the overlaps: the best score chooses first, as COCO's
    evaluation does."""
    pairs: list[int] = []
    found: list[float] = []
    if len(given) and len(boxes):
        overlap = box_iou(given[:, :4], boxes) * (given[:, 5:6] == labels[None])
        for place in given[:, 4].argsort(descending=True, stable=True).tolist():
            best = int(overlap[place].argmax())
            if (its := float(overlap[place, best])) >= least:
                pairs.append(place)
                found.append(its)
                overlap[:, best] = 0
    return pairs, given.new_tensor(found)


def _as_truth(its: Tensor) -> dict[str, Tensor]:
    return {"boxes": its[:, :4], "labels": its[:, 5].long(), "crowd": torch.zeros(len(its), dtype=torch.bool)}
