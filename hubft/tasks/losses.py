"""Losses: means over the labels that are there. One that is missing counts in neither the sum nor its denominator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from hubft.base.display import listed
from hubft.base.errors import JobError, Option, suggest
from hubft.recipe import Recipe

MISSING = -100  # of a class: `ignore_index` of torch's cross entropy; elsewhere a missing label is NaN
LEAST = 1e-12  # of a denominator

Each = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) -> the loss of each label, `[n]` or `[n, labels]`."""


@dataclass(frozen=True)
class Whole:
    """The batch that a part is of."""

    targets: Any
    """Of all its samples, as the task collates them, on any device."""
    share: float
    """Of its samples that the part has: what the part's loss is weighted by."""


class Loss(nn.Module):
    """A weighted mean of the losses of labels, called as `loss(outputs, targets)`."""

    total: Tensor | float | None = None
    """The denominator; without one it is the sum of the weights."""
    whole: Whole | None = None
    """Of a part of a batch whose loss the model computes itself: the batch."""

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the loss of each label, `[n]` or `[n, labels]`; of a missing one any finite number."""
        raise NotImplementedError

    def weights(self, targets: Any) -> Tensor:
        """Return the weight of each label in the mean, of the same shape: 0 where it is missing."""
        raise NotImplementedError

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the mean; 0 where no label is there."""
        weights = self.weights(targets)
        total = weights.sum().clamp(min=LEAST) if self.total is None else self.total
        return (self.losses(outputs, targets) * weights).sum() / total

    def samples(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the mean of each sample, `[n]`; 0 where it has no label."""
        weights, losses = self.weights(targets), self.losses(outputs, targets)
        if weights.ndim == 1:
            return losses * (weights > 0)
        return (losses * weights).sum(1) / weights.sum(1).clamp(min=LEAST)

    def part(self, targets: Any, share: float) -> Self:
        """Return the loss of a part of a batch, so that the parts' means, weighted by their shares, give the batch's.

        :param targets: of the whole batch.
        :param share: of its samples that the part has.
        """
        part = copy.copy(self)
        part.total = self.weights(targets).sum().clamp(min=LEAST) * share
        return part


class CrossEntropy(Loss):
    """Cross entropy of one class a sample: targets int64 `[n]`, or class probabilities float32 `[n, classes]`."""

    def __init__(self, weight: Tensor | None = None, smoothing: float = 0.0, focus: float = 0.0) -> None:
        """:param weight: of each class, `[classes]`.
        :param smoothing: share of the target that is spread over all classes.
        :param focus: exponent of the focal loss (https://arxiv.org/abs/1708.02002, equation 4)."""
        super().__init__()
        self.weight, self.smoothing, self.focus = weight, smoothing, focus

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the mean, where nothing is weighted by torch's own reduction."""
        if self.weight is None and self.total is None and not self.focus:
            mean: Tensor = functional.cross_entropy(outputs, targets, label_smoothing=self.smoothing)
            return mean
        return super().forward(outputs, targets)

    def part(self, targets: Any, share: float) -> Self:
        """Return the loss of a part: itself, where every sample counts alike."""
        if not isinstance(targets, Tensor):  # a tree of a family that computes its loss itself
            return self
        alike = self.weight is None and (targets.is_floating_point() or not bool((targets == MISSING).any()))
        return self if alike else super().part(targets, share)

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the cross entropy of each sample, `[n]`."""
        losses = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=self.smoothing)
        if self.focus:
            losses = losses * (1 - torch.exp(-losses)) ** self.focus
        return losses

    def weights(self, targets: Any) -> Tensor:
        """Return the weight of each sample's class, `[n]`."""
        weights: Tensor
        if targets.is_floating_point():  # probabilities of classes that were mixed
            weights = targets.sum(1) if self.weight is None else targets @ self.weight.to(targets)
            return weights
        weights = (targets != MISSING).float()
        return weights if self.weight is None else weights * self.weight.to(targets.device)[targets.clamp(min=0)]


class Masked(Loss):
    """The mean of a loss over the labels that are not NaN: targets float32 `[n, labels]`."""

    def __init__(self, each: Each, weight: Tensor | None = None) -> None:
        """:param weight: of each label, `[labels]`."""
        super().__init__()
        self.each, self.weight = each, weight

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the loss of each label, `[n, labels]`."""
        return self.each(outputs, targets.nan_to_num(0.0))

    def weights(self, targets: Any) -> Tensor:
        """Return 1, or its label's weight, where a label is there, `[n, labels]`."""
        weights: Tensor = (~targets.isnan()).float()
        return weights if self.weight is None else weights * self.weight.to(targets.device)


class Scaled(Masked):
    """A masked loss of numbers in units of their deviation: targets are in the user's unit."""

    def __init__(self, each: Each, mean: Tensor, scale: Tensor, standardised: bool) -> None:
        """:param mean: of the numbers, `[columns]`, and `scale` their deviation.
        :param standardised: whether outputs are in units of the deviation; else they are in the user's."""
        super().__init__(each)
        self.mean, self.scale, self.standardised = mean, scale, standardised

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the loss of each number, `[n, columns]`."""
        mean, scale = self.mean.to(outputs.device), self.scale.to(outputs.device)
        outputs = outputs if self.standardised else (outputs - mean) / scale
        return super().losses(outputs, (targets - mean) / scale)


def whole_of(criterion: nn.Module) -> Whole | None:
    """Return the batch that this is the loss of a part of, for a family that computes its loss itself. None where it is
    the loss of all of a batch."""
    return criterion.whole if isinstance(criterion, Loss) else None


def there(loss: Loss, targets: Any) -> Tensor:
    """Return which samples have a label at all, bool `[n]`."""
    weights = loss.weights(targets) > 0
    return weights if weights.ndim == 1 else weights.any(1)


def binary(positive: Tensor | None = None) -> Each:
    """Return binary cross entropy.

    :param positive: weights of the positives of each label, `[labels]`.
    """

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        weight = None if positive is None else positive.to(outputs.device)
        return functional.binary_cross_entropy_with_logits(outputs, targets, pos_weight=weight, reduction="none")

    return each


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared difference."""
    return functional.mse_loss(outputs, targets, reduction="none")


def l1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the absolute difference."""
    return functional.l1_loss(outputs, targets, reduction="none")


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return half the squared difference up to 1, a deviation of the numbers, and the absolute one beyond."""
    return functional.huber_loss(outputs, targets, reduction="none")


def asymmetric(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the asymmetric loss of several labels (https://arxiv.org/abs/2009.14119), `[n, labels]`.

    With the authors' values: an exponent of 1 for positives and 4 for negatives, whose probability is cut by 0.05.
    """
    logs, shares = functional.logsigmoid(outputs), (outputs.sigmoid() - 0.05).clamp(min=0)
    return -(targets * (1 - logs.exp()) * logs + (1 - targets) * shares**4 * torch.log1p(-shares))


def chosen(recipe: Recipe, known: Sequence[str], kind: str) -> str:
    """Return the loss of a task: the one that was asked for, or the first that is known.

    :raises JobError: it is none of those of this task; weights are given to heads, of which there is one.
    """
    refuse(recipe, kind, "head_weights")
    asked = recipe.loss
    if asked == "auto":
        return known[0]
    if asked not in known:
        raise JobError(Option("loss"), f" {asked}: the losses of {kind} are {', '.join(known)}.{suggest(asked, known)}")
    return asked


def class_weights(asked: Sequence[str], names: Sequence[str], counts: Sequence[int]) -> Tensor | None:
    """Return what `--class-weights` says, float32 `[names]`; None where it says nothing.

    :param asked: `balanced`: samples over classes times count, so that each class has the same part in the loss; or
        NAME=WEIGHT for single classes, 1 for the others.
    :param counts: training rows of each name.
    :raises JobError: an unknown name.
    """
    if not asked:
        return None
    if tuple(asked) == ("balanced",):
        rows = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
        return rows.sum() / (len(rows) * rows)
    return named_weights("class_weights", asked, names)


def named_weights(option: str, asked: Sequence[str], names: Sequence[str]) -> Tensor:
    """Return weights that are given as NAME=WEIGHT, 1 for the other names, float32 `[names]`.

    :raises JobError: an unknown name.
    """
    weight = torch.ones(len(names))
    for text in asked:
        name, _, number = text.rpartition("=")
        if name not in names:
            raise JobError(Option(option), f": {name!r} is none of {listed(names)}.{suggest(name, names)}")
        weight[list(names).index(name)] = float(number)
    return weight


def refuse(recipe: Recipe, kind: str, *fields: str) -> None:
    """Refuse options of a recipe that have no meaning for a kind of task.

    :raises JobError: one of these fields is not as it is by default.
    """
    for field in fields:
        if (value := getattr(recipe, field)) != getattr(Recipe(), field):
            shown = " ".join(value) if isinstance(value, tuple) else value
            raise JobError(Option(field), f" {shown}: it has no meaning for {kind}; leave it out")
