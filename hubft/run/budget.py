"""What `--budget` has time for: how many epochs, and where not even one fits, how many of the training samples."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace

import torch

from hubft import modality
from hubft.base.store import Scratch
from hubft.data.split import split
from hubft.families import stages
from hubft.job import Recipe
from hubft.machine import choose
from hubft.run.phases import phases, repeats
from hubft.run.prepare import Prepared
from hubft.run.safeguard import LOOKED
from hubft.run.wise import POINTS
from hubft.train import loop

FEWEST = 256
"""Training samples at least: with fewer there is little to learn from, whatever the budget."""
MARGIN = 0.9
"""Share of the time that samples are counted by; what was measured of a few is not exact for all."""


@dataclass(frozen=True)
class Costs:
    """Seconds that a run takes, by what was measured of it."""

    probing: float
    """Of a training sample whose features are computed for the probe."""
    training: float
    """Of a training sample in an epoch in which the model runs: its step, and its share of what updates the weights."""
    asking: float
    """Of a teacher that is asked about it in the step."""
    measuring: float
    """Of the held-out samples, once."""
    ending: float
    """Of the look at training samples when all is done (`safeguard`, `wise`)."""
    whole: int
    """Epochs in which the model runs; a head that trains alone, on cached features, takes next to nothing."""

    @classmethod
    def of(cls, prepared: Prepared, choice: choose.Choice) -> Costs:
        """Return those of a run as its machine was measured."""
        recipe, data = prepared.job.recipe, prepared.data
        asking = prepared.teacher.seconds if prepared.teacher else 0.0
        runs = whole(prepared)
        update = updating(prepared) / min(recipe.batch_size, len(data.train)) if runs else 0.0
        each = choice.step_seconds + choice.decode_seconds + update
        probing = choice.forward_seconds if recipe.probe and not data.task.uncut else 0.0
        seen = min(LOOKED, len(data.train)) + (len(POINTS) * len(data.tune) if recipe.wise else 0)
        measuring, ending = (number * choice.forward_seconds for number in (len(data.val), seen))
        return cls(probing, each, asking, measuring, ending, runs)

    def step(self, recipe: Recipe) -> float:
        """Return the seconds of a training sample; a teacher is not asked again about views that come back."""
        return self.training + (self.asking if recipe.augment != "none" else 0.0)


@dataclass(frozen=True)
class Share:
    """What of the training samples a budget has time for."""

    rows: int = 0
    """How many; 0 is all of them."""
    epochs: int = 0
    """Epochs at least, over these: they were counted for that."""


def share(prepared: Prepared, costs: Costs, spent: float) -> Share:
    """Return how many training samples the budget has time for, where it has not for all of them once: as many as can
    be probed and trained on once, for a model learns more from those than from a probe of all. Where these are too few
    to train on, as many as can be probed.

    :param spent: seconds, before.
    """
    recipe, rows = prepared.job.recipe, len(prepared.data.train)
    if rows <= FEWEST:
        return Share()
    left = MARGIN * (recipe.seconds - spent) - costs.measuring
    if costs.whole and (each := costs.probing + costs.step(recipe)):
        once = int((left - costs.measuring - costs.ending) / each)
        if once >= FEWEST:
            return Share() if once >= rows else Share(once, 1)
    probed = int(left / costs.probing) if costs.probing else rows
    return Share() if probed >= rows else Share(max(FEWEST, probed))


def drawn(prepared: Prepared, rows: int) -> Prepared:
    """Return what was prepared with so many of its training samples, of each class its share; 0 is all of them."""
    data = prepared.data
    if not rows:
        return prepared
    out = 1 - rows / len(data.train)
    train, _ = split(
        data.train, lambda sample: data.task.strata(sample.target), out, prepared.job.recipe.seed, "budget"
    )
    kind, inputs = modality.of(prepared.loaded.inputs), prepared.loaded.inputs
    views = kind.views(data.source, data.task, train, inputs, prepared.job.recipe, Scratch())
    return replace(prepared, data=replace(data, train=tuple(train)), training=views)


def epochs(recipe: Recipe, rows: int, costs: Costs, spent: float, least: int) -> int:
    """Return as many epochs as the budget has time for, at most those of the recipe.

    :param rows: training samples of an epoch.
    :param spent: seconds, before.
    :param least: how many at least.
    """
    if not costs.whole:
        return recipe.epochs
    epoch = rows * costs.step(recipe) + costs.measuring
    left = recipe.seconds - spent - costs.ending
    fitting = int(left / epoch * recipe.epochs / costs.whole) if left > 0 else 0
    return min(recipe.epochs, max(fitting, least))


def whole(prepared: Prepared) -> int:
    """Return in how many epochs the model runs: a head that trains alone, on cached features, takes next to nothing."""
    head = stages.trainable(prepared.loaded, "head", 0.0)
    cached = [p for p in phases(prepared) if p.live == head and repeats(prepared, p) and prepared.job.compute.cache]
    return prepared.job.recipe.epochs - sum(len(phase.epochs) for phase in cached)


def updating(prepared: Prepared) -> float:
    """Return the seconds that the optimizer and the average take in a step, by one on a copy of the model."""
    recipe, live = prepared.job.recipe, phases(prepared)[-1].live
    copied = replace(prepared.loaded, model=copy.deepcopy(prepared.loaded.model))
    recipe = replace(recipe, lr=recipe.lr or 1.0)
    state, took = loop.start(copied, recipe, prepared.runtime, prepared.data.task), 0.0
    if state.average:
        state.average.include(live)
    for _ in range(2):  # the first makes what the optimizer keeps
        for name, parameter in state.model.named_parameters():
            parameter.grad = torch.zeros_like(parameter) if name in live else None
        began = time.perf_counter()
        loop.update(state, recipe)
        took = time.perf_counter() - began
    return took
