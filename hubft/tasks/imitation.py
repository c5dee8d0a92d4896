"""Losses of a model that shall answer as a teacher does, whatever the labels say: a mean over samples and answers.

A teacher answers everything: where a label is missing, there is still something to learn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hubft.tasks.losses import Each, Loss

TEMPERATURE = 4.0
"""For a student that is much smaller than its teacher, Hinton et al. (https://arxiv.org/abs/1503.02531, section 3)
found 2.5 to 4 best; the comparison of Tian et al. (https://arxiv.org/abs/1910.10699) has 4, with 0.9 of the loss from
the teacher. In benchmarks/distill.py that did better than 2 with one half."""


class Imitation(Loss):
    """The mean of a loss over all answers of a teacher, `[n, outputs]`."""

    def __init__(self, each: Each, columns: bool = True) -> None:
        """:param columns: whether each answer has a loss of its own; else a sample has one."""
        super().__init__()
        self.each, self.columns = each, columns

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the loss of each answer, `[n, outputs]`, or of each sample, `[n]`."""
        return self.each(outputs.float(), targets)

    def weights(self, targets: Any) -> Tensor:
        """Return 1 for each loss."""
        return torch.ones_like(targets if self.columns else targets[:, 0])


def classes(temperature: float) -> Each:
    """Return the divergence from the teacher's softmax at a temperature, times its square.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2: the square keeps the gradients as large as they
    are without a temperature.
    """

    def each(outputs: Tensor, theirs: Tensor) -> Tensor:
        ours, wanted = (functional.log_softmax(logits / temperature, 1) for logits in (outputs, theirs))
        return functional.kl_div(ours, wanted, reduction="none", log_target=True).sum(1) * temperature**2

    return each


def labels(temperature: float) -> Each:
    """Return `classes` for labels that are there or not, each by itself: a softmax of two is a sigmoid."""

    def each(outputs: Tensor, theirs: Tensor) -> Tensor:
        wanted = (theirs / temperature).sigmoid()
        cross = functional.binary_cross_entropy_with_logits(outputs / temperature, wanted, reduction="none")
        least = functional.binary_cross_entropy_with_logits(theirs / temperature, wanted, reduction="none")
        return (cross - least) * temperature**2

    return each
