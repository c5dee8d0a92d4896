"""Where a run starts: its head solved on features of the base, and what that tells of how to go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hubft.base import draws
from hubft.base.console import Console
from hubft.cut.features import Features
from hubft.cut.feed import Cut
from hubft.families import stages
from hubft.job import Recipe
from hubft.run.phases import features, find
from hubft.run.prepare import Prepared
from hubft.run.sharding import IN_SHARDS
from hubft.run.training import Outcome, outcome
from hubft.tasks.metrics import Metrics
from hubft.tasks.task import Task
from hubft.train import loader, probe, states

RATE_PER_ERROR = 5e-6  # learning rate of AdamW for each training image that the probe got wrong
RATE_PER_STEP = 2e-5  # and for each step that there is to come back from the first ones
WHOLE = 40  # steps from which on that holds; with fewer it is less, in proportion
LEAST, MOST = 1e-5, 1e-3  # of that rate
LOOK = 256  # training images whose augmented views are looked at
UNPROBED = 3e-4  # where there is no probe: the head starts at zero


@dataclass(frozen=True)
class Solved:
    """A head that was solved."""

    probe: probe.Probe
    metrics: Metrics
    """On the validation images: its headline and loss."""
    outcome: Outcome
    """What it gave for them."""
    task: Task
    """What that means: the unit of numbers, the thresholds of labels."""


@dataclass(frozen=True)
class Given:
    """Features of the base: those that a head is solved on, and those that it is measured on."""

    cut: Cut
    known: Features
    held: Features

    @property
    def computed(self) -> bool:
        """Whether all of them were computed now; else some were in the cache."""
        return bool(self.known.computed and self.held.computed)


def solve(prepared: Prepared, console: Console) -> Solved | None:
    """Solve the head on the features of the training images, as the evaluation sees them, and measure it.

    A head that goes on from that of a package is the start instead, unless a solved one errs less.
    """
    its = given(prepared)
    if isinstance(its, str):
        head = prepared.loaded.model.get_submodule(prepared.loaded.head)
        fresh = "is drawn" if any(bool(one.any()) for one in head.parameters()) else "starts at zero"
        start = "goes on from that of the package" if prepared.continued else fresh
        console.say(f"note: the head {start}, no probe is solved: {its}")
        return None
    found = _shared(prepared, its)
    which = "held out from it" if found.probe.decay else "as it is in the package"
    console.say(f"probe    {found.metrics}; error on training {prepared.data.word}s {which} {found.probe.error:.1%}")
    return found


def _shared(prepared: Prepared, its: Given) -> Solved:
    """Return the head solved on these features, which the model then has: now, or by a run that shares its heads."""
    if prepared.continued:
        return solved(prepared, its)
    head = stages.head_of(prepared.loaded)
    form = tuple((name, tensor.shape) for name, tensor in head.state_dict().items())
    key = (its.known.keys, its.held.keys, prepared.job.recipe.seed, form)
    if key in prepared.heads:
        found: Solved
        found, state = prepared.heads[key]
        states.put(head, state)
        return found
    found = solved(prepared, its)
    prepared.heads[key] = found, states.kept(head)
    return found


def given(prepared: Prepared) -> Given | str:
    """Return the features of the training and of the validation images, from the cache or computed, or why there are
    none that a head could be solved on."""
    if prepared.job.compute.shard:
        return IN_SHARDS
    prepared.runtime.place(prepared.loaded.model)
    cut = find(prepared, stages.trainable(prepared.loaded, "head", 0.0))
    known = cut if isinstance(cut, str) else features(prepared, cut, prepared.training, prepared.forward)
    held = cut if isinstance(cut, str) else features(prepared, cut, prepared.validation, prepared.exact)
    if isinstance(cut, str) or isinstance(known, str) or isinstance(held, str):
        return str(known if isinstance(known, str) else held)
    return Given(cut, known, held)


def solved(prepared: Prepared, its: Given) -> Solved:
    """Return the head solved on these features, which the model then has, and what it gives for validation images."""
    loaded, data, runtime, cut = prepared.loaded, prepared.data, prepared.runtime, its.cut
    rows = runtime.to_device(its.known.views[0].take(torch.arange(len(data.train)))).float()

    def logits(part: Tensor) -> Tensor:
        with cut.feed(part) as blank:
            outputs: Tensor = cut.call(blank)
        return outputs.float()

    loaded.model.eval()
    head = stages.head_of(loaded)
    with runtime.using_threads():
        strata = [next(iter(data.task.strata(sample.target))) for sample in data.train]
        targets, seed = runtime.to_device(its.known.targets), prepared.job.recipe.seed
        known = probe.Known(data.task, logits, rows, targets, strata, seed, prepared.counting)
        found = probe.better(head, known) if prepared.continued else probe.solve(head, known)
        batches = its.held.in_order(prepared.job.recipe.batch_size)
        reached = outcome(prepared, loaded.model, batches, cut.feed)
    return Solved(found, data.task.score(*reached), reached, data.task)


def augmentation(prepared: Prepared, solved: Solved | None) -> Literal["auto", "none", "light", "standard", "strong"]:
    """Return the augmentation: where it is open, `light` if the solved head knows training images by it.

    It has seen these images as they are. If it errs more on their augmented views than on images that it had not seen
    at all, by more than the 95 % interval, then a view is no longer of its image's class, as where a
    digit is mirrored: too much to be learned in passing.
    """
    recipe = prepared.job.recipe
    if recipe.augment != "auto" or solved is None or not recipe.epochs:
        return "light" if recipe.augment == "auto" else recipe.augment
    model, found, views = prepared.loaded.model, solved.probe, prepared.training
    order = torch.randperm(len(views.samples), generator=draws.generator("augment", recipe.seed))
    wrong = 0.0
    with torch.no_grad(), prepared.runtime.using_threads():
        prepared.forward.place(model)
        views.keep(1)
        batches = [[(1, i) for i in part.tolist()] for part in order[:LOOK].split(recipe.batch_size)]
        runtime, what = prepared.forward, "a look at augmented views"
        for batch, targets in loader.Loader(views, batches, runtime, runtime.workers, prepared.counting, what):
            with prepared.forward.autocast():
                outputs = prepared.loaded.forward(model, batch)
            wrong += float(prepared.data.task.errors(outputs.float().cpu(), targets).sum())
        prepared.runtime.place(model)
    return "light" if wrong / min(LOOK, len(order)) <= found.bound(found.error) else "none"


def held_by_nothing(recipe: Recipe, exact: bool) -> Recipe:
    """Return the recipe for a model that nobody trained, where it leaves that open: there is nothing in it to keep, so
    that its norms train too, and every stage learns at one rate, the largest there is.

    :param exact: its norms stay frozen: their statistics would be those of a part of a batch.
    """
    train = "all" if recipe.train == Recipe.train and not exact else recipe.train
    decay = 1.0 if recipe.layer_decay is None else recipe.layer_decay
    return replace(recipe, train=train, layer_decay=decay, lr=recipe.lr or MOST)


def learning_rate(found: probe.Probe | None, images: int, steps: int) -> float:
    """Return the peak learning rate for a head that starts from this probe, on so many training images.

    What the features do not tell apart yet is all there is to learn, and few examples of it bear only small steps:
    the rate grows with the number of images that the probe got wrong. A short run has no time to mend what its first
    steps break, which Adam makes as large as all others: the rate grows with the number of steps too. The constants
    are those of benchmarks/recipe.py, where runs of 13 steps ended below their probe at three times this rate; half of
    the bound by steps is as good, no better (benchmarks/accuracy.md).
    """
    if found is None:
        return UNPROBED
    rate = min(RATE_PER_ERROR * found.error * images, RATE_PER_STEP * steps, MOST) * min(1.0, steps / WHOLE)
    return max(LEAST, rate)
