"""A package at work: measured on labelled images, asked about others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hubft.base import urls
from hubft.base.console import Console
from hubft.base.errors import DataError, PackageError
from hubft.data import asked, seen
from hubft.families import plugins
from hubft.hookspecs import Loaded
from hubft.images import dataset
from hubft.images.decode import decode
from hubft.images.pixels import Views
from hubft.job import Compute
from hubft.machine.runtime import Runtime, cores
from hubft.publish.package import Manifest, Package
from hubft.share.load import filled
from hubft.tasks import metrics
from hubft.train import loader, loop

BATCH = 32  # images; evaluation holds no gradients, so any machine that trains can do more
READERS = 8  # threads at most


@dataclass(frozen=True)
class Outcome:
    """What a package made of one labelled image."""

    image: Path
    true: str
    predicted: str
    probability: float
    """Of the predicted class."""

    @property
    def correct(self) -> bool:
        return self.true == self.predicted


@dataclass(frozen=True)
class Evaluation:
    """A package measured on labelled images."""

    metrics: dict[str, Any]
    """As `metrics.classification` gives them."""
    left_out: dict[str, str]
    """Path -> reason, of every file that was not used."""
    outcomes: tuple[Outcome, ...]
    """One an image, in the order of the folder."""
    trained_on: int | None
    """How many of the images the package was trained on, by their bytes; None where it does not know."""


@dataclass(frozen=True)
class Answer:
    """What a package says of one image."""

    image: Path
    probabilities: dict[str, float]
    """Of every class, the likeliest first; empty where there is an error."""
    error: str = ""
    """Why there is no answer: the file cannot be read, or the model gives no numbers for it."""


def evaluate(package: Package, folder: Path, trust: bool = False, console: Console | None = None) -> Evaluation:
    """Return what the package reaches on a folder's images, measured as a run does.

    :raises DataError: a folder without usable images, or with classes that the package lacks.
    :raises PackageError: the model gives numbers that are not finite.
    """
    manifest = package.manifest
    samples, quarantined = dataset.labelled(folder, manifest.classes)
    trained_on = seen.count(manifest.data.get("train"), (sample.sha256 for sample in samples))
    runtime = Runtime(Compute())
    loaded = filled(package, trust)
    loaded.model.to(runtime.device)
    batches = loader.in_order(Views(folder, samples, manifest.preprocess), BATCH, runtime)
    shown = (console or Console(quiet=True)).counted(batches, len(batches), "batch")
    outputs, targets = loop.evaluate(plugins.manager(manifest.built.family), loaded, shown, runtime)
    files = [folder / sample.path for sample in samples]
    _require_finite(outputs, files)
    measured = metrics.classification(outputs, targets, manifest.classes)
    shares, found = outputs.softmax(1).max(1)
    names = manifest.classes
    rows = zip(files, targets.tolist(), found.tolist(), shares.tolist(), strict=True)
    outcomes = tuple(Outcome(file, names[true], names[guess], share) for file, true, guess, share in rows)
    return Evaluation(measured, quarantined, outcomes, trained_on)


def _require_finite(outputs: Tensor, files: Sequence[Path]) -> None:
    odd = (~outputs.isfinite().all(1)).nonzero().flatten().tolist()
    if odd:
        raise PackageError(
            f"the model gives numbers that are not finite for {len(odd)} of {len(files)} images, as for "
            f"{str(files[odd[0]])!r}: there is nothing to measure"
        )


def predict(package: Package, paths: str | Path | Iterable[str | Path], trust: bool = False) -> Iterator[Answer]:
    """Return the answers for files, and for the images in folders, in order, as they are made.

    What cannot be read has an answer that says why, and the others go on. At most `2 * BATCH` images are held.

    :raises DataError: there is nothing to be read; before the model is loaded.
    """
    files = asked.pictures(paths).files
    return _answers(filled(package, trust), package.manifest, files)


@torch.inference_mode()
def _answers(loaded: Loaded, manifest: Manifest, files: Iterable[Path]) -> Iterator[Answer]:
    model = loaded.model
    read = partial(_inputs, model.preprocess, manifest.preprocess.white)  # type: ignore[arg-type]
    with closing(_ahead(read, files)) as found:
        while batch := list(islice(found, BATCH)):
            readable = [inputs for _, inputs in batch if isinstance(inputs, Tensor)]
            shares = iter(loaded.forward(model, torch.stack(readable)).float().softmax(1) if readable else ())
            for file, inputs in batch:
                if isinstance(inputs, str):
                    yield Answer(file, {}, inputs)
                else:
                    yield _answer(file, manifest.classes, next(shares))


def _answer(file: Path, classes: Sequence[str], shares: Tensor) -> Answer:
    if not shares.isfinite().all():
        return Answer(file, {}, "the model gives numbers that are not finite")
    found = zip(classes, shares.tolist(), strict=True)
    return Answer(file, dict(sorted(found, key=lambda one: -one[1])))


def _inputs(preprocess: Callable[[Image.Image], Tensor], white: int, file: Path) -> Tensor | str:
    """Return the model's inputs `[3, height, width]` for a file, or why it has none."""
    if not urls.there(file):
        return urls.answer(file) or "no such file"
    try:
        return preprocess(decode(file, white=white))
    except (DataError, OSError) as error:
        return " ".join(str(error).split())


def _ahead(read: Callable[[Path], Tensor | str], files: Iterable[Path]) -> Generator[tuple[Path, Tensor | str]]:
    """Yield each file with what is read of it, in order; threads read the next `BATCH` meanwhile."""
    waiting: deque[tuple[Path, Future[Tensor | str]]] = deque()
    with ThreadPoolExecutor(min(READERS, cores())) as pool:
        try:
            for file in files:
                waiting.append((file, pool.submit(read, file)))
                if len(waiting) > BATCH:
                    first, its = waiting.popleft()
                    yield first, its.result()
            while waiting:
                first, its = waiting.popleft()
                yield first, its.result()
        finally:
            for _, its in waiting:
                its.cancel()
