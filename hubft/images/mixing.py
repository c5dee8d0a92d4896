"""Batches of images mixed with themselves, on the device."""

from __future__ import annotations

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
