"""Answers that are a mean: of several packages, or of one on several views of a picture; beside each alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from hubft import modality
from hubft.base.bounds import check
from hubft.base.display import listed
from hubft.base.errors import JobError, Option
from hubft.hookspecs import Loaded
from hubft.inputs import Framed
from hubft.publish.manifest import Manifest
from hubft.share.opened import Opened
from hubft.tasks import averaged, paired
from hubft.tasks.metrics import Measured, Metrics, title
from hubft.tasks.task import Task

ZOOM = 7 / 8
"""Sides of a crop, as a share of the model's input, to which it is enlarged again."""
PLAIN = "one view"


def _flips(inputs: Tensor) -> list[Tensor]:
    return [inputs, inputs.flip(-1)]


def _crops(inputs: Tensor) -> list[Tensor]:
    height, width = inputs.shape[-2:]
    tall, wide = max(1, round(ZOOM * height)), max(1, round(ZOOM * width))
    corners = [(top, left) for top in (0, height - tall) for left in (0, width - wide)]
    cut = [inputs[..., top : top + tall, left : left + wide] for top, left in corners]
    return [inputs, *(interpolate(one, (height, width), mode="bilinear", align_corners=False) for one in cut)]


WAYS: Mapping[str, Callable[[Tensor], list[Tensor]]] = {"flips": _flips, "crops": _crops}
"""`--tta`: images `[b, channels, height, width]` -> the views that are averaged, the images themselves first: a picture
and its mirror image, or the whole and its four corners."""


@dataclass(frozen=True)
class Averaging:
    """Of what an answer is the mean."""

    tta: str = ""
    """Of the views of a picture that `WAYS` names; nothing takes it as it is."""
    others: Mapping[str, Opened] = field(default_factory=dict)
    """Of further models, by what they are called."""
    name: str = "the package"
    """What the first model is called."""

    def members(self, opened: Opened) -> dict[str, Opened]:
        """Return the models whose answers are averaged, by what they are called; one, where it is asked alone.

        :param opened: the first of them.
        :raises JobError: they do not answer alike, or have no mean.
        """
        name = self.name
        check(not self.tta or self.tta in WAYS, "tta", self.tta, f"one of {', '.join(WAYS)}")
        if self.tta and self.others:
            raise JobError(Option("tta"), " and --with: the one is of a single package; leave one of them out")
        if self.tta:
            return {PLAIN: viewed(opened, self.tta)}
        if self.others:
            averaged.require(opened.manifest.task, "--with")
            for other, its in self.others.items():
                _require_alike(name, opened.manifest, other, its.manifest)
        return {name: opened, **self.others}


def viewed(opened: Opened, way: str) -> Opened:
    """Return a model that answers by the mean over views of a picture.

    :raises JobError: its inputs are no pictures, or its answers have no mean.
    """
    inputs, task = opened.manifest.inputs, opened.manifest.task
    if not isinstance(inputs, Framed):
        word = modality.of(inputs).word
        raise JobError(Option("tta"), f" {way}: it has no meaning here, a {word} is no picture; leave it out")
    averaged.require(task, f"--tta {way}")

    def load() -> Loaded:
        loaded = opened.loaded
        plain = loaded.forward

        def forward(model: Any, images: Tensor) -> Tensor:
            return averaged.mean(task, [plain(model, view) for view in WAYS[way](images)])

        return replace(loaded, forward=forward)

    return Opened(opened.manifest, load, opened.family)


def _require_alike(name: str, manifest: Manifest, other: str, its: Manifest) -> None:
    ours, theirs = (f"{one.task.kind} of {modality.of(one.inputs).word}s" for one in (manifest, its))
    if ours != theirs:
        raise JobError(f"--with {other}: it is a model for {theirs}, and {name} one for {ours}: take another")
    if not manifest.task.like(its.task):
        names = [listed(one.task.names) for one in (its, manifest)]
        why = (
            f"its answers are {names[0]}, and those of {name} are {names[1]}: they must be the same, in the same order"
        )
        raise JobError(f"--with {other}: {why}")


@dataclass(frozen=True)
class Compared:
    """A mean of answers beside those that it is of, on the same samples."""

    alone: Mapping[str, Metrics]
    """What each reached alone, by what it is called."""
    best: str
    """Which of them is best, by the headline."""
    difference: Measured
    """The headline of the mean minus that of the best, with its 95 % interval, paired by samples."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        alone = {name: one.plain() for name, one in self.alone.items()}
        return {"alone": alone, "best": self.best, "difference": asdict(self.difference)}

    def __str__(self) -> str:
        """Return the difference in a phrase."""
        what = title(next(iter(self.alone.values())).headline)
        return f"{what} of the mean minus that of {self.best}: {self.difference}, on the same samples"


def compared(tasks: Mapping[str, Task], outputs: Mapping[str, Tensor], together: Tensor, targets: Any) -> Compared:
    """Return a mean of answers beside what it is of.

    :param tasks: of each, by what they are called; that of the first is the mean's.
    :param outputs: of each.
    :param together: the mean of them.
    """
    alone = {name: task.measure(outputs[name], targets) for name, task in tasks.items()}
    best = next(iter(alone))
    for name, metrics in alone.items():
        best = name if metrics.head.beats(alone[best].head) else best
    first = next(iter(tasks.values()))
    return Compared(alone, best, paired.difference(first, together, outputs[best], targets, tasks[best]))
