"""Loss and pace of an epoch."""

from __future__ import annotations

import math
import time

from hubft.base.errors import Option, TrainingError
from hubft.train.loop import Step


class Meter:
    """Mean loss and pace of an epoch; adding a step does not wait for the device, reading the loss does."""

    def __init__(self, total: float = 0.0, images: int = 0) -> None:
        self.total, self.images = total, images
        self.pending: list[Step] = []
        self.here, self.since = 0, time.perf_counter()  # of this process, for the pace

    def add(self, step: Step) -> None:
        self.pending.append(step)
        self.here += step.images

    def loss(self) -> float:
        """Return the mean loss over the epoch's images so far.

        :raises TrainingError: a loss that is not finite, named by its step.
        """
        for step, loss in zip(self.pending, [s.loss.item() for s in self.pending], strict=True):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of step {step.number} is {loss}: lower ",
                    Option("lr"),
                    ", or compute in ",
                    Option("precision"),
                    " fp32; no checkpoint was written since",
                )
            self.total += loss * step.images
            self.images += step.images
        self.pending.clear()
        return self.total / max(1, self.images)

    def state(self) -> tuple[float, int]:
        """Return what makes an equal meter again: `Meter(*state)`."""
        self.loss()
        return self.total, self.images

    def rate(self) -> float:
        """Return images per second since the meter was made."""
        return self.here / (time.perf_counter() - self.since)
