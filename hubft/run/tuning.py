"""Training that a method of `compress` asks for: the run's own loop and recipe, and norm statistics measured after it.

It has no checkpoints of its own: a run that is killed in it goes on from the end of its training, to the same bits.
"""

from __future__ import annotations

import math
from dataclasses import replace

from hubft.base.console import Console
from hubft.base.errors import Stopped
from hubft.job import Job, Recipe
from hubft.run import outputs, training
from hubft.run.folder import Run, StopRequest
from hubft.run.phases import inputs, phases, unseen
from hubft.run.prepare import Prepared
from hubft.run.safeguard import measured_anew
from hubft.train import loader, loop, norms
from hubft.train.meter import Meter

RATE = 3e-3
"""Peak learning rate of a model that lost half of its channels, which is closer to a fresh one than to a pretrained: an
EfficientNet-Lite0 of 94 % on 600 digits came back to 79 % at it, to 63 % at a third of it, to 27 % at a tenth."""


def recipe(asked: Job, prepared: Prepared) -> Recipe:
    """Return the recipe by which what was taken out is brought back: the run's own; where that has no epochs, the one
    by which the package was trained that it starts from, or the default's epochs.

    All of the model trains, at one rate for all stages: nothing in it is what it was pretrained to be. Where the rate
    was left open it is RATE, not what a probe has shown, which no longer holds.

    :param asked: the job before anything was settled.
    """
    own = asked.recipe
    if not own.epochs and prepared.parent:
        own = replace(prepared.parent.manifest.job.recipe, seed=own.seed, batch_size=own.batch_size)
    settled = prepared.job.recipe
    return replace(
        own,
        train="all",
        epochs=(settled.epochs if asked.recipe.epochs else own.epochs) or Recipe.epochs,
        lr=own.lr or RATE,
        layer_decay=1.0,
        augment=settled.augment if own.augment == "auto" else own.augment,
        budget="",
        stage_lr=(),
        patience=0,
        keep="last",
    )


def tune(prepared: Prepared, recipe: Recipe, share: float, run: Run, console: Console) -> Prepared:
    """Return what was prepared, its model trained for this share of the recipe's epochs, and its task fitted to it.

    Its outputs are in the user's unit before and after.

    :raises Stopped: SIGTERM or Ctrl-C; the run goes on from the end of its training.
    """
    recipe = replace(recipe, epochs=max(1, math.ceil(share * recipe.epochs)))
    task = outputs.unfold(prepared.loaded, prepared.data.task)
    job = replace(prepared.job, recipe=recipe, compute=replace(prepared.job.compute, compile="off"))
    under = replace(prepared, job=job, training=prepared.training.under(recipe), cuts={})
    state = loop.start(prepared.loaded, recipe, under.runtime, task)
    _fit(under, state, run, console)
    if state.average:
        state.average.keep()
    measured_anew(under, norms.live(state.model))
    return in_units(replace(prepared, data=replace(prepared.data, task=task)))


def _fit(prepared: Prepared, state: loop.State, run: Run, console: Console) -> None:
    recipe = prepared.job.recipe
    steps = loader.steps_per_epoch(len(prepared.data.train), recipe.batch_size) * recipe.epochs
    meter = Meter()
    with StopRequest() as stop, console.bar(steps, 0) as bar:
        for phase in phases(prepared):
            seen = inputs(prepared, phase, state.step)
            for step in loop.fit(prepared.pm, state, recipe, seen.batches, prepared.runtime, seen.feed):
                meter.add(step)
                bar.step(step.number, math.ceil(step.number * recipe.epochs / steps), meter)
                if stop.signal:
                    raise Stopped(stop.signal, str(run.folder))
    console.say(f"tuned    {recipe.epochs} epochs, loss {meter.loss():.4f}")


def in_units(prepared: Prepared) -> Prepared:
    """Return what was prepared with the task and the model that a package holds.

    What the training rows tell that were held out is settled here, and the outputs get the user's unit.
    """
    data, loaded = prepared.data, prepared.loaded
    task = data.task
    if task.tunes and data.tune:
        task = task.tuned(*training.outcome(prepared, loaded.model, unseen(prepared)))
    return replace(prepared, data=replace(data, task=outputs.fold(loaded, task)))


def settled(prepared: Prepared, outcome: training.Outcome) -> tuple[Prepared, training.Outcome]:
    """Return `in_units` of what was prepared, and what its model gives then.

    :param outcome: what it gives before.
    """
    found = in_units(prepared)
    same = not prepared.data.task.tunes and found.data.task == prepared.data.task
    return found, outcome if same else training.outcome(found, found.loaded.model)
