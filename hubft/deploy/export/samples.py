"""The user's samples, as an exporter needs them: for training to calibrate on, for validation to judge by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base import batches, draws
from hubft.base.bars import Counting, nobody
from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.deploy.export import exportable
from hubft.families import plugins
from hubft.hookspecs import Loaded
from hubft.inputs import Inputs, images
from hubft.job import Compute
from hubft.machine.runtime import Runtime
from hubft.modality import Views
from hubft.publish.manifest import Manifest
from hubft.run import data as run_data
from hubft.run.data import Data
from hubft.share.opened import Opened
from hubft.tasks.metrics import Measured
from hubft.train import loader, loop

CALIBRATION = 256  # training samples that a quantizer may look at
BATCH = 32


@dataclass(frozen=True)
class Samples:
    """Labelled samples, split as the run of the package split them."""

    manifest: Manifest
    data: Data
    pixels: bool = False
    """Whether the file takes pixels."""
    max_drop: float = 1.0
    """Points of the task's score that a file may lose."""
    counting: Counting = nobody

    @property
    def inputs(self) -> Inputs:
        """What comes from the samples before the file gets it."""
        own = self.manifest.inputs
        return exportable.raw(images(own)) if self.pixels else own

    @property
    def word(self) -> str:
        """What a sample is called."""
        return modality.of(self.inputs).word

    @property
    def runtime(self) -> Runtime:
        return Runtime(Compute(device="cpu", precision="fp32", workers=0))

    def calibration(
        self, number: int = CALIBRATION, batch: int = 1, whole: bool = False
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches of training samples as the file takes them, drawn by the seed of the package's run.

        :param whole: filled up to their largest sizes.
        """
        kind = modality.of(self.inputs)
        for inputs, _ in self._batches(self._few(number), batch, self.inputs, "calibration"):
            yield given(kind.whole(inputs, self.inputs) if whole else inputs, self.pixels)

    def _few(self, number: int) -> list[Any]:
        train = self.data.train
        order = torch.randperm(len(train), generator=draws.generator("calibration", self.manifest.job.recipe.seed))
        return [train[i] for i in order[:number].tolist()]

    def _batches(self, samples: Any, batch: int, inputs: Inputs, what: str) -> loader.Loader:
        views: Views = modality.of(inputs).views(self.data.source, self.manifest.task, samples, inputs)
        return loader.in_order(views, batch, self.runtime, counting=self.counting, what=what)

    def measured(self, model: nn.Module) -> tuple[Tensor, Any]:
        """Return what a module gives for the validation samples, and their targets."""
        return self._measured(Loaded(model, "", {}, self.inputs, self.manifest.base), self.data.val)

    def told(self, opened: Opened) -> tuple[Tensor, Any]:
        """Return the same of the package's own model, which takes its own inputs."""
        return self._measured(opened.loaded, self.data.val)

    def _measured(self, loaded: Loaded, samples: Any) -> tuple[Tensor, Any]:
        its = self._batches(samples, BATCH, loaded.inputs, f"{self.word}s answered")
        return loop.evaluate(plugins.core(), loaded, self.manifest.task, its, self.runtime)

    def score(self, run: Callable[..., numpy.ndarray], number: int = CALIBRATION) -> float:
        """Return the task's score on training samples, more being better: what a quantizer may steer by.

        Not the validation samples: those judge what it made.
        """
        model = Called(run, self.pixels)
        outputs, targets = self._measured(Loaded(model, "", {}, self.inputs, self.manifest.base), self._few(number))
        return signed(self.manifest.task.score(outputs, targets).head)


class Called(nn.Module):
    """A function of numpy as a module."""

    def __init__(self, run: Callable[..., numpy.ndarray], pixels: bool) -> None:
        super().__init__()
        self.run, self.pixels = run, pixels

    def forward(self, inputs: Any) -> Tensor:
        return torch.from_numpy(numpy.array(self.run(*(one.numpy() for one in given(inputs, self.pixels)))))


def given(inputs: Any, pixels: bool) -> tuple[Tensor, ...]:
    """Return a batch as a file takes it.

    :param pixels: it takes those, and the batch is of `Samples.inputs`.
    """
    return (exportable.to_pixels(inputs),) if pixels else tuple(batches.leaves(inputs))


def signed(measured: Measured) -> float:
    """Return a score so that more is better."""
    return measured.value if measured.better == "higher" else -measured.value


def read(manifest: Manifest, source: str, pixels: bool, max_drop: float, counting: Counting = nobody) -> Samples:
    """Return labelled samples for a package, split as its own run would split them.

    :raises DataError: no usable samples, or labels that are not those of the package.
    """
    known = manifest.task.names
    found = run_data.read(replace(manifest.job, data=source), known, (manifest.inputs.kind,), counting)
    there = found.task.names
    if found.task.kind != manifest.task.kind or known != there:
        raise DataError(
            f"{source!r} has the {found.task.word} names {listed(there)}, and the package {listed(known)}: they must "
            "be the same"
        )
    return Samples(manifest, found, pixels, max_drop, counting)
