"""The line between the probe and what was trained: its best point, and how far from its base a model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from hubft.base.console import Console
from hubft.families import stages
from hubft.hookspecs import Loaded
from hubft.run import training
from hubft.run.phases import phases, unseen
from hubft.run.prepare import Prepared
from hubft.run.safeguard import measured_anew
from hubft.tasks.metrics import Measured, number, title
from hubft.train import norms, states
from hubft.train.probe import Probe

POINTS = tuple(place / 10 for place in range(11))
"""Shares of the way from the probe, 0, to what was trained, 1."""


@dataclass(frozen=True)
class Tried:
    """A point of the line."""

    point: float
    head: Measured
    """The headline on the samples that the point is chosen by."""
    loss: float

    def before(self, other: Tried) -> bool:
        """Tell whether this is to be had rather than another: of equal headlines by the loss."""
        if self.head.value == other.head.value:
            return self.loss < other.loss
        return self.head.beats(other.head)


@dataclass(frozen=True)
class Line:
    """The points that were tried, and the one that the model is at now."""

    headline: str
    chosen: Tried
    tried: Sequence[Tried]

    def plain(self) -> dict[str, Any]:
        """Return it as results.json states it, JSON types."""
        return {"point": self.chosen.point, "tried": [asdict(one) for one in self.tried]}

    def words(self, many: str) -> str:
        """Return it in a phrase.

        :param many: what the samples are called.
        """
        what, end = title(self.headline), self.tried[-1]
        return (
            f"{self.chosen.point:.0%} of the way from the probe to the end: {what} {number(self.chosen.head.value)} on "
            f"{end.head.n:,} training {many} held out, {number(end.head.value)} at the end"
        )


@dataclass(frozen=True)
class Way:
    """How a model was trained: how far it came from where it began, and what that took."""

    line: Line | None = None
    """Where it was chosen on the line back to the probe."""
    moved: Mapping[str, float] = field(default_factory=dict)
    """By stage, as `moved` gives it; nothing without epochs, or where adapters were trained in the stages' place."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What training took of it, JSON types: its peak (`hubft.base.memory.Peak`), and where it ran out, `parts`: steps
    done before, and the parts of a batch from then on. Nothing without epochs."""

    @property
    def facts(self) -> dict[str, float]:
        """What a package states of it."""
        parts = self.memory.get("parts")
        halved = {"parts of a batch, for memory": parts[-1][1]} if parts else {}
        return {**({"share of the way from the probe": self.line.chosen.point} if self.line else {}), **halved}


def chosen(prepared: Prepared, solved: Mapping[str, Tensor], probe: Probe | None, console: Console) -> Line | None:
    """Leave the model at the best point of the line, by training samples that were held out, and return what was tried;
    where `--wise` asks for it.

    WiSE-FT (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903): the weights of a fine-tune, averaged with those
    that it started from, err less where the data has shifted. There the start answers by the words of its labels;
    here it is the probe. What was frozen is equal at both ends, and stays as it is. Running statistics of norms that
    trained are measured anew at each point.

    :param solved: state of the model with its probe, before training.
    """
    recipe, model, task = prepared.job.recipe, prepared.loaded.model, prepared.data.task
    if not (recipe.wise and recipe.epochs):  # a budget may have had time for none
        return None
    if probe is None:
        console.say("note: no probe was solved, so there is no line from it to what was trained")
        return None
    trained = states.kept(model)
    stages.set_trainable(model, phases(prepared)[-1].live)
    moving = norms.live(model)

    def go_to(point: float) -> None:
        states.put(model, between(solved, trained, point))
        if moving and 0 < point < 1:
            measured_anew(prepared, moving)

    tried = []
    for point in POINTS:
        go_to(point)
        score = task.score(*training.outcome(prepared, model, unseen(prepared)))
        tried.append(Tried(point, score.head, score.loss))
    best = tried[-1]
    for one in reversed(tried):
        best = one if one.before(best) else best
    go_to(best.point)
    found = Line(task.headline, best, tried)
    console.say(f"wise     {found.words(f'{prepared.data.word}s')}")
    return found


def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], point: float) -> dict[str, Tensor]:
    """Return the tensors of a point on the line between two states; whole numbers are those of the end."""
    return {
        name: torch.lerp(start[name], tensor, point) if tensor.is_floating_point() and point > 0 else tensor
        for name, tensor in (end if point else start).items()
    }


def moved(loaded: Loaded, solved: Mapping[str, Tensor]) -> dict[str, float]:
    """Return how far each stage has come: the length of what its parameters changed by, as a share of their own; not of
    a head that started at zero.

    :param solved: state of the model before training.
    """
    of, change, length = stages.stage_of(loaded), dict.fromkeys(loaded.stages, 0.0), dict.fromkeys(loaded.stages, 0.0)
    for name, parameter in loaded.model.named_parameters():
        if parameter.is_floating_point():
            change[of[name]] += float((parameter.detach() - solved[name]).double().square().sum())
            length[of[name]] += float(solved[name].double().square().sum())
    return {stage: (change[stage] / length[stage]) ** 0.5 for stage in change if length[stage]}
