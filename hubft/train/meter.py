"""Loss, gradients and pace of an epoch, and where its time went."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hubft.base.errors import NotFinite
from hubft.train.loop import Step


class Meter:
    """Mean loss, gradients and pace of an epoch; adding a step waits for no device but the CPU, reading them does."""

    def __init__(
        self,
        total: float = 0.0,
        images: int = 0,
        steps: int = 0,
        squares: Mapping[str, float] | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.total, self.images, self.steps, self.squares = total, images, steps, dict(squares or {})
        self.seconds = dict(seconds or {})
        """By part of the work: `data`, `forward`, `backward` of the steps, and what was timed besides."""
        self.pending: list[Step] = []
        self.here, self.since = 0, time.perf_counter()  # of this process, for the pace

    def add(self, step: Step) -> None:
        """:raises NotFinite: as `loss`, on a CPU at once."""
        self.pending.append(step)
        self.here += step.images
        for part, seconds in step.seconds.items():
            self._count(part, seconds)
        if step.loss.device.type == "cpu":
            self._read()

    def _read(self) -> None:
        for step in self.pending:
            loss = step.loss.item()
            if not math.isfinite(loss):
                raise NotFinite(step.number, loss)
            self.total += loss * step.images
            self.images += step.images
            norms = step.norms.tolist()
            if not all(map(math.isfinite, norms)):
                continue  # in fp16, a step that was left out because its scale was too large
            self.steps += 1
            for stage, norm in zip(step.stages, norms, strict=True):
                self.squares[stage] = self.squares.get(stage, 0.0) + norm * norm
        self.pending.clear()

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Count the time of a `with` for a part of the work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._count(part, time.perf_counter() - began)

    def _count(self, part: str, seconds: float) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def loss(self) -> float:
        """Return the mean loss over the epoch's images so far.

        :raises NotFinite: a loss that is not finite, named by its step.
        """
        if self.pending:  # a device is waited for
            with self.timing("steps"):
                self._read()
        return self.total / max(1, self.images)

    def gradients(self) -> dict[str, float]:
        """Return the norm of the gradient of each stage that trains, the root of its mean square over the steps, before
        it was clipped."""
        self._read()
        return {stage: (square / max(1, self.steps)) ** 0.5 for stage, square in self.squares.items()}

    def state(self) -> tuple[float, int, int, dict[str, float], dict[str, float]]:
        """Return what makes an equal meter again: `Meter(*state)`."""
        self._read()
        return self.total, self.images, self.steps, self.squares, self.seconds

    def rate(self) -> float:
        """Return images per second since the meter was made."""
        return self.here / (time.perf_counter() - self.since)
