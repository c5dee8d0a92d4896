"""A package, or a file exported from one, at work: measured on labelled images, asked about others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft import modality
from hubft.base.bars import Counting
from hubft.base.console import Console
from hubft.base.errors import DataError, JobError, Option, PackageError
from hubft.data import seen
from hubft.data.asked import Input
from hubft.data.rows import Source
from hubft.hookspecs import Loaded
from hubft.job import Columns, Compute
from hubft.machine.runtime import Runtime, cores
from hubft.modality import Modality, Sample
from hubft.publish.manifest import Manifest
from hubft.run.data import Labelled, labelled
from hubft.share.averaging import PLAIN, Averaging, Compared, compared
from hubft.share.opened import Answer, Opened
from hubft.share.writing import Tell, untold, written
from hubft.tasks import averaged
from hubft.tasks.metrics import Metrics
from hubft.tasks.task import Task
from hubft.train import loader, loop
from hubft.writing import Writing

BATCH = 32  # images; evaluation holds no gradients, so any machine that trains can do more
READERS = 8  # threads at most
ALONE = Averaging()


@dataclass(frozen=True)
class Outcome:
    """What a package made of one labelled image."""

    image: str
    """As the data names it: a path, or a place in a table."""
    true: Mapping[str, Any]
    """Its label, in the words of the task."""
    said: Mapping[str, Any]
    """What the package says, as `Task.decode` gives it."""
    error: float
    """How wrong that is, 0 to 1 (`Task.errors`)."""


@dataclass(frozen=True)
class Evaluation:
    """A package measured on labelled images."""

    metrics: Metrics
    left_out: Mapping[str, str]
    """Path or row -> reason, of all that was not used."""
    outcomes: tuple[Outcome, ...]
    """One an image, in the order of the data."""
    trained_on: int | None
    """How many of the images the package was trained on, by their bytes; None where it does not know."""
    title: str = ""
    """What the images are called where they lie."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the data was taken."""
    word: str = "image"
    """What a sample is called."""
    beside: Compared | None = None
    """Each of what the answers are the mean of, alone, where they are one."""


def evaluate(
    opened: Opened,
    folder: str | Path,
    console: Console | None = None,
    columns: Columns | None = None,
    how: Averaging = ALONE,
) -> Evaluation:
    """Return what a model reaches on labelled images, measured as a run does.

    :param folder: or table, or data set of the Hub, as for training.
    :param columns: of a table, where they are not called as those that were trained on.
    :param how: of what its answers are the mean, if they are one.
    :raises DataError: no usable images, or labels that the package does not know.
    :raises PackageError: the model gives numbers that are not finite.
    """
    manifest = opened.manifest
    task, members = manifest.task, how.members(opened)
    console = console or Console(quiet=True)
    counting, kind = console.counting, modality.of(manifest.inputs)
    found = labelled(str(folder), manifest.job.labels, columns, task, kind.kind, counting)
    kind.suits(manifest.inputs, found.samples)
    each, (targets, *_) = zip(*(_outputs(one, found, counting) for one in members.values()), strict=True)
    outputs, beside = each[0] if len(each) == 1 else averaged.mean(task, each), None
    if how.others:
        tasks = {name: one.manifest.task for name, one in members.items()}
        beside = compared(tasks, dict(zip(members, each, strict=True)), outputs, targets)
    elif how.tta:
        beside = compared({PLAIN: task}, {PLAIN: _outputs(opened, found, counting)[0]}, outputs, targets)
    places = [found.shown(sample) for sample in found.samples]
    errors = task.errors(outputs, targets).tolist()
    rows = zip(places, found.samples, task.decode(outputs), errors, strict=True)
    framed = partial(_framed, kind, manifest, found.source)
    outcomes = tuple(Outcome(place, task.state(s.target), framed(s, said), error) for place, s, said, error in rows)
    known = [seen.count(one.manifest.data.get("train"), (s.sha256 for s in found.samples)) for one in members.values()]
    trained_on = None if None in known else max(number or 0 for number in known)
    measured = task.measure(outputs, targets)
    return Evaluation(measured, found.left_out, outcomes, trained_on, found.title, found.notes, kind.word, beside)


def _outputs(opened: Opened, found: Labelled, counting: Counting) -> tuple[Tensor, Any]:
    """Return what a model gives for labelled samples, and their targets."""
    manifest, runtime = opened.manifest, Runtime(Compute())
    loaded = opened.loaded
    loaded.model.to(runtime.device)
    views = modality.of(manifest.inputs).views(found.source, manifest.task, found.samples, manifest.inputs)
    batches = loader.in_order(views, BATCH, runtime, counting=counting, what="batch")
    outputs, targets = loop.evaluate(opened.hooks(), loaded, manifest.task, batches, runtime)
    _require_finite(outputs, [found.shown(sample) for sample in found.samples])
    return outputs, targets


def _framed(kind: Modality, manifest: Manifest, source: Source, sample: Sample, said: Mapping[str, Any]) -> Any:
    """Return what was said of a sample in places of it, where it says such."""
    task = manifest.task
    if not task.located:
        return said
    return task.placed(said, kind.frame(manifest.inputs, source.open(sample.place)))


def _require_finite(outputs: Tensor, places: Sequence[str]) -> None:
    odd = (~outputs.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    if odd:
        raise PackageError(
            f"the model gives numbers that are not finite for {len(odd)} of {len(places)} samples, as for "
            f"{places[odd[0]]!r}: there is nothing to measure"
        )


def predict(
    opened: Opened,
    images: str | Path | Iterable[str | Path],
    columns: Columns | None = None,
    averaging: Averaging = ALONE,
) -> Iterator[Answer]:
    """Return the answers for images, in order, as they are made; `answers` says more.

    :param images: files, folders of them, and tables that name them.
    :param columns: of a table, those with the inputs; found, where one column alone holds such.
    :raises DataError: there is nothing to be read; before the model is loaded.
    """
    return answers(opened, modality.of(opened.manifest.inputs).asked(images, columns).inputs, averaging=averaging)


def answers(
    opened: Opened,
    inputs: Iterable[Input],
    how: Writing | None = None,
    tell: Tell = untold,
    averaging: Averaging = ALONE,
) -> Iterator[Answer]:
    """Return the answers for inputs that `Modality.asked` gave, in order, as they are made.

    What cannot be read has an answer that says why, and the others go on. At most `2 * BATCH` images are held.

    :param how: a model writes that does so.
    :param tell: gets each piece of what it writes.
    :param averaging: of what the answers are the mean, if they are one.
    :raises JobError: `how` to write is said to a model that does not, or answers have no mean.
    """
    members = averaging.members(opened)
    if opened.manifest.task.writes:
        return written(opened, inputs, how or Writing(), tell)
    if how is not None and how != Writing():
        options = [name for name in vars(how) if getattr(how, name) != getattr(Writing, name)]
        raise JobError(
            Option(options[0]), f": a model of the kind {opened.manifest.task.kind} does not write; leave it out"
        )
    return _answers([(one.loaded, one.manifest) for one in members.values()], inputs)


@torch.inference_mode()
def _answers(members: Sequence[tuple[Loaded, Manifest]], files: Iterable[Input]) -> Iterator[Answer]:
    manifest = members[0][1]
    kind, task = modality.of(manifest.inputs), manifest.task
    readers = [kind.reader(its.inputs) for _, its in members]
    read = partial(_inputs, readers, partial(kind.frame, manifest.inputs) if task.located else None)
    with closing(_ahead(read, files)) as found:
        while batch := list(islice(found, BATCH)):
            readable = [its[0] for _, its in batch if not isinstance(its, str)]
            outputs = iter(_said(members, readable) if readable else ())
            for file, its in batch:
                if isinstance(its, str):
                    yield Answer(file.name, {}, its)
                else:
                    yield _answer(file.name, task, next(outputs), its[1])


def _said(members: Sequence[tuple[Loaded, Manifest]], inputs: Sequence[Sequence[Any]]) -> Tensor:
    """Return what models give for samples, float32, the mean of them if they are several.

    :param inputs: of each sample, one for each model.
    """
    each = []
    for (loaded, manifest), own in zip(members, zip(*inputs, strict=True), strict=True):
        joined = modality.of(manifest.inputs).together(own, manifest.inputs)
        each.append(loaded.forward(loaded.model, joined).float())
    return each[0] if len(each) == 1 else averaged.mean(members[0][1].task, each)


def _answer(image: str, task: Task, outputs: Tensor, frame: Any) -> Answer:
    if not outputs.isfinite().all():
        return Answer(image, {}, "the model gives numbers that are not finite")
    said = task.decode(outputs[None])[0]
    return Answer(image, task.placed(said, frame) if task.located else said)


Read = Callable[[Path | BytesIO], Any]


def _inputs(readers: Sequence[Read], frame: Read | None, asked_for: Input) -> tuple[Any, Any] | str:
    """Return the models' inputs for a sample, without the dimension of the batch, and where the sample lies in them; or
    why there are none."""
    try:
        return [read(asked_for.open()) for read in readers], frame(asked_for.open()) if frame else None
    except (DataError, OSError) as error:
        return " ".join(str(error).split())


def _ahead(read: Callable[[Input], Any], files: Iterable[Input]) -> Generator[tuple[Input, Any]]:
    """Yield each image with what is read of it, in order; threads read the next `BATCH` meanwhile."""
    waiting: deque[tuple[Input, Future[Any]]] = deque()
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
