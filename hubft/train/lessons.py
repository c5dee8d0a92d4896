"""What a model learns of a teacher beside its labels: its answers, and features on the way to them.

What a teacher says of a sample is one row of numbers: its outputs, then its features place by place. So it is kept
and batched as one tensor, whether it was computed before or in the step itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from hubft.base import draws
from hubft.base.errors import FamilyError
from hubft.hookspecs import Batch, Loaded
from hubft.job import Job
from hubft.tasks.losses import Loss
from hubft.tasks.task import Task


class Lesson(NamedTuple):
    """The targets of a batch, with what a teacher says of it."""

    labels: Any
    """As the task collates them."""
    said: Tensor
    """Float32 `[b, numbers]`, as `Teacher.says` gives it."""


@dataclass(frozen=True)
class Place:
    """Where features of a student are held against those of its teacher."""

    student: str
    """Dotted name of a module; what it gives are the features."""
    teacher: str
    channels: tuple[int, int]
    """Of the student's and of the teacher's."""
    grid: tuple[int, int]
    """Height and width to which both are averaged."""
    scale: float = 1.0
    """Deviation of the teacher's numbers: errors are in units of it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the teacher's features of a sample."""
        return (self.channels[1], *self.grid)


@dataclass(frozen=True)
class Teacher:
    """A model that a student learns from."""

    loaded: Loaded
    """In eval mode, all of it frozen."""
    task: Task
    """What its outputs mean."""
    convert: Callable[[Any], Any]
    """Makes of the student's inputs its own."""
    places: tuple[Place, ...] = ()
    seconds: float = 0.0
    """That it takes for an image, as measured."""

    @property
    def numbers(self) -> int:
        """How many it says of a sample."""
        return self.task.outputs + sum(prod(place.shape) for place in self.places)

    @torch.no_grad()
    def says(self, inputs: Any) -> Tensor:
        """Return what it says of a batch as the student sees it, float32 `[b, numbers]`, computed in fp32."""
        with listening(self.loaded.model, [place.teacher for place in self.places]) as heard:
            outputs = self.loaded.forward(self.loaded.model, self.convert(inputs))
            features = [averaged(heard[place.teacher], place.grid).flatten(1) for place in self.places]
        return torch.cat([outputs.float(), *features], 1)

    def parts(self, said: Tensor) -> tuple[Any, list[Tensor]]:
        """Return its answers as `Task.imitation` takes them, and its features, `[b, *shape]` of each place."""
        outputs, *features = said.split([self.task.outputs, *(prod(place.shape) for place in self.places)], 1)
        shaped = [part.unflatten(1, place.shape) for part, place in zip(features, self.places, strict=True)]
        return self.task.answers(outputs), shaped


@contextmanager
def listening(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Give a dict that has what these modules gave in the latest forward pass, by name."""
    heard: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, output: heard.update({name: output})

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def as_map(features: Tensor) -> Tensor:
    """Return features as `[b, channels, height, width]`: vectors have one pixel, tokens lie in one column.

    Of four dimensions the last are the channels where the two before it are equal, and other than it.
    """
    if features.ndim == 2:
        return features[:, :, None, None]
    if features.ndim == 3:
        return features.transpose(1, 2)[..., None]
    _, first, second, third = features.shape
    return features.permute(0, 3, 1, 2) if first == second != third else features


def averaged(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return features as float32 `[b, channels, *grid]`, each pixel a mean."""
    return functional.adaptive_avg_pool2d(as_map(features).float(), grid)


class Lessons:
    """A teacher, how much of it is learned, and the adapters that are trained for it beside the model."""

    def __init__(self, teacher: Teacher, task: Task, job: Job) -> None:
        """:param task: the student's."""
        self.teacher, self.teaching = teacher, job.teaching
        self.imitation = task.imitation(job.teaching.temperature)
        draws.seed("hints", job.recipe.seed)
        self.adapters = nn.ModuleList(nn.Conv2d(*place.channels, 1) for place in teacher.places)
        self.heard: dict[str, Tensor] = {}
        self.asked = True

    @contextmanager
    def beside(self, model: nn.Module) -> Iterator[Self]:
        """Listen to the student's features for the time of a `with`."""
        with listening(model, [place.student for place in self.teacher.places]) as self.heard:
            yield self

    def given(self, parts: Sequence[Batch]) -> list[Batch]:
        """Return the parts of a batch, each with a `Lesson` for its targets: what the teacher says of it is computed if
        it is not there.

        :raises FamilyError: the batch before was trained on without asking the loss.
        """
        if not self.asked:
            raise FamilyError("the hook `train_step` computes its loss without the criterion: it cannot be distilled")
        self.asked = False
        self.heard.clear()
        return [
            (inputs, targets if isinstance(targets, Lesson) else Lesson(targets, self.teacher.says(inputs)))
            for inputs, targets in parts
        ]

    def missed(self, features: Sequence[Tensor]) -> Tensor:
        """Return the mean square of what the adapters miss of the teacher's features, a mean over the places.

        FitNets (https://arxiv.org/abs/1412.6550), with linear adapters. Where the student's come from frozen stages,
        there is nothing to learn.
        """
        errors = []
        for place, adapter, wanted in zip(self.teacher.places, self.adapters, features, strict=True):
            ours = self.heard.get(place.student)
            if ours is not None and ours.requires_grad:
                errors.append(functional.mse_loss(adapter(averaged(ours, place.grid)).float(), wanted) / place.scale**2)
        return torch.stack(errors).mean() if errors else features[0].new_zeros(())


class Taught(Loss):
    """The loss of the labels mixed with that of a teacher's answers, and what is missed of its features beside them.

    Targets are a `Lesson`.
    """

    def __init__(self, labels: Loss, lessons: Lessons) -> None:
        super().__init__()
        self.labels, self.imitation, self.lessons = labels, lessons.imitation, lessons

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the mixture, a mean."""
        self.lessons.asked = True
        teaching = self.lessons.teaching
        answers, features = self.lessons.teacher.parts(targets.said)
        loss: Tensor = outputs.new_zeros(())
        if teaching.imitation < 1:
            loss = loss + (1 - teaching.imitation) * self.labels(outputs, targets.labels)
        if teaching.imitation:
            loss = loss + teaching.imitation * self.imitation(outputs, answers)
        if features:
            loss = loss + teaching.hints * self.lessons.missed(features)
        return loss

    def part(self, targets: Any, share: float) -> Self:
        """Return the loss of a part of a batch; of features it is the part's own mean."""
        part: Self = type(self)(self.labels.part(targets.labels, share), self.lessons)
        part.imitation = self.imitation.part(self.lessons.teacher.parts(targets.said)[0], share)
        return part
