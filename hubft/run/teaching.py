"""What the teacher of a run says of its images: once for each view that comes back, else in every step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hubft import modality
from hubft.base.batches import count
from hubft.base.console import Console
from hubft.base.errors import PackageError, reason
from hubft.cut import sharing
from hubft.cut.features import Features
from hubft.cut.provenance import Source
from hubft.cut.provenance import whole as all_of
from hubft.data import seen
from hubft.hookspecs import Batch, Loaded
from hubft.machine.ranks import Ranks
from hubft.modality import Views
from hubft.run import hints, phases
from hubft.run.phases import PROOF, Inputs, Phase
from hubft.run.prepare import Prepared
from hubft.tasks.metrics import Metrics
from hubft.train import loader
from hubft.train.lessons import Lesson, Lessons, Teacher
from hubft.train.loader import Batches


def joined(prepared: Prepared, loaded: Loaded) -> Prepared:
    """Return what was prepared, now with its teacher, which was tried on images as the student sees them.

    :param loaded: the model of the teacher's package.
    :raises HubftError: it cannot see them, gives no numbers for them, or has no stages to hold the student's against.
    """
    assert prepared.teaches
    inputs, manifest = prepared.loaded.inputs, prepared.teaches.manifest
    if manifest.inputs.kind != inputs.kind:
        raise PackageError(f"the teacher takes {manifest.inputs.kind}, and the student {inputs.kind}")
    convert = modality.of(inputs).conversion(inputs, manifest.inputs)
    prepared.exact.place(loaded.model.eval().requires_grad_(False))
    few = phases.unaugmented(prepared, prepared.data.train[:PROOF])
    batch = prepared.exact.to_device(next(iter(loader.in_order(few, PROOF, prepared.exact))))
    teacher = Teacher(loaded, manifest.task, convert)
    try:
        said = teacher.says(batch[0])
    except (RuntimeError, AssertionError, ValueError) as error:
        raise PackageError(f"the teacher cannot see the student's {inputs}: {reason(error)}") from error
    if said.shape[1:] != (manifest.task.outputs,) or not said.isfinite().all():
        raise PackageError(f"the teacher {prepared.job.teaching.teacher!r} gives no numbers for the data as it should")
    if prepared.job.teaching.hints:
        prepared.exact.place(prepared.loaded.model)
        live = frozenset(name for phase in phases.phases(prepared) for name in phase.live)
        teacher = replace(teacher, places=hints.places(prepared.loaded, teacher, batch[0], live))
    began = time.perf_counter()
    teacher.says(batch[0])
    return replace(prepared, teacher=replace(teacher, seconds=(time.perf_counter() - began) / count(batch[0])))


def lessons(prepared: Prepared) -> Lessons | None:
    """Return what the run's model learns of its teacher, if it has one."""
    return Lessons(prepared.teacher, prepared.data.task, prepared.job) if prepared.teacher else None


def inputs(prepared: Prepared, phase: Phase, step: int, console: Console) -> Inputs:
    """Return what a phase computes on, with what the teacher says where that is known before the step."""
    found = phases.inputs(prepared, phase, step)
    if prepared.teacher:
        found = _taught(prepared, phase, step, found, console)
    if found.note:
        console.say(f"cache    {found.note}")
    return found


def _taught(prepared: Prepared, phase: Phase, step: int, found: Inputs, console: Console) -> Inputs:
    recipe, teacher, sampler = prepared.job.recipe, prepared.teacher, _sampler(found.batches)
    assert teacher
    one, word = (kind := modality.of(prepared.loaded.inputs)).one, kind.word
    views, why = [0] if recipe.augment == "none" else [], f"no augmented view of {one} comes twice"
    if not views and sampler.views and phases.repeats(prepared, phase):
        views = list(range(sampler.views))
    if views:
        began = time.perf_counter()
        said = answers(prepared, teacher, prepared.training, views)
        if not isinstance(said, str):
            took = f"computed once, in {time.perf_counter() - began:.1f} s" if said.computed else "found in the cache"
            many = f"{len(views)} views of each {word}" if len(views) > 1 else f"{word}s as they are"
            console.say(f"teacher  what it says of {many} was {took}")
            return replace(found, batches=Taught(found.batches, said))
        why = f"what it says cannot be kept: {said}"
    prepared.exact.place(teacher.loaded.model)
    cost = teacher.seconds * len(prepared.data.train)
    console.say(f"teacher  runs in every step, as {why}: about {cost:.3g} s an epoch")
    if found.feed is not nullcontext:
        return phases.whole(prepared, phase, step, sampler.views, "its frozen part runs every time: the teacher does")
    return found


def _sampler(batches: Any) -> Batches:
    sampler: Batches = batches.batch_sampler
    return sampler


@dataclass(frozen=True)
class Taught:
    """Batches with what the teacher says of them; what the loop expects of a loader."""

    batches: Iterable[Batch]
    said: Features
    """By the teacher, of all samples."""

    @property
    def batch_sampler(self) -> Batches:
        """Of the batches, which says the same order as often as it is asked."""
        return _sampler(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        views = self.said.views
        for (inputs, targets), indices in zip(self.batches, self.batch_sampler, strict=True):
            index = torch.tensor([i for _, i in indices])
            yield inputs, Lesson(targets, views[indices[0][0] % len(views)].take(index))


def answers(prepared: Prepared, teacher: Teacher, pictures: Views, views: Sequence[int]) -> Features | str:
    """Return what the teacher says of views of pictures, from the cache or computed, or why there is no room for it."""
    what = f"{teacher.places} of {teacher.loaded.inputs}"
    wanted = phases.source(prepared, pictures, prepared.exact, all_of(teacher.loaded.model, what), (teacher.numbers,))

    def compute(source: Source, ranks: Ranks) -> Iterator[Tensor]:
        prepared.exact.place(teacher.loaded.model)
        size, what = wanted.batch_size, "answers of the teacher"
        batches = loader.in_order(pictures, size, prepared.exact, source.view, prepared.counting, what)
        return sharing.computed(ranks, batches, teacher.says)

    sources = [replace(wanted, view=view) for view in views]
    return sharing.get(prepared.ranks, phases.kept(prepared), sources, pictures.targets(), compute, needed=True)


def measured(prepared: Prepared, console: Console) -> Metrics:
    """Return what the teacher reaches on the validation images as the student sees them, and say it."""
    assert prepared.teacher and prepared.teaches
    teacher, data = replace(prepared.teacher, places=()), prepared.data
    said = answers(prepared, teacher, prepared.validation, [0])
    assert not isinstance(said, str)  # a few numbers an image have room in memory
    found = teacher.task.measure(said.views[0].rows.float(), said.targets)
    word = modality.of(prepared.loaded.inputs).word
    console.say(f"teacher  {found} on the validation {word}s as the student sees them")
    its = prepared.teaches.manifest
    if its.inputs.side > prepared.loaded.inputs.side:
        console.say(
            f"note: the teacher takes {its.inputs}; it is given the student's {prepared.loaded.inputs}, enlarged"
        )
    known = seen.count(its.data.get("train"), (sample.sha256 for sample in data.val))
    if known:
        console.say(
            f"note: the teacher was trained on {known} of the validation {word}s: it may look better than it is"
        )
    return found
