"""What a run checks at its end, on training images: that its norm statistics fit its weights, and that it learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base import draws
from hubft.base.console import Console
from hubft.families import stages
from hubft.hookspecs import Batch
from hubft.machine.runtime import Runtime
from hubft.run.phases import phases, unaugmented
from hubft.run.prepare import Prepared
from hubft.train import loader, loop, norms, states
from hubft.train.probe import Probe

IMAGES = 1024  # training images by which norm statistics are measured
LOOKED = 256  # of them, those on which loss and error are looked at: an error of 20 % is known to within 5 points
CLEAR = 0.5  # of the probe's loss on unseen images: a training loss that tells without a further look that all is well
WILD, DEAD = 2.0, 1.25  # times the loss of a model that knows nothing: above it weights ran away (see `diverged`)
LAGGED = 0.95  # share of the loss that is left when norm statistics are measured again, if they lagged behind


def mend(
    prepared: Prepared,
    history: Sequence[Mapping[str, Any]],
    probe: Probe | None,
    solved: Mapping[str, Tensor],
    console: Console,
) -> bool:
    """Leave the model with what evaluation needs; tell whether something had to be mended, and say what.

    Running statistics of norms lag behind the weights where a run is short or their momentum small: they are
    measured again, and kept if the loss on training images is clearly lower then. The probe errs little on its
    training images, and more on images that it has not seen. A model that errs more on its training images than
    half-way between, by more than the 95 % interval, has lost what it started with: the probe, `solved`, takes its
    place.

    :param history: of the run, an entry an epoch.
    """
    if not history:
        return False
    model, many = prepared.loaded.model, f"{prepared.data.word}s"
    stages.set_trainable(model, phases(prepared)[-1].live)
    moved = norms.live(model)
    clear = not prepared.teacher and probe is not None and history[-1]["loss"] <= CLEAR * probe.loss
    if not moved and (probe is None or clear):  # with a teacher, the loss is not that of the labels alone
        return False
    mended = False
    loss, error = _fit(prepared)
    if moved:
        before = measured_anew(prepared, moved)
        again = _fit(prepared)
        if again[0] < LAGGED * loss:
            console.say(f"mended   norm statistics lagged behind: loss on training {many} {loss:.3f} -> {again[0]:.3f}")
            (loss, error), mended = again, True
        else:
            norms.restore(model, before)
    if probe and not error <= probe.bound((probe.fitted + probe.error) / 2):
        console.say(
            f"mended   training ended with an error of {error:.1%} on its {many}, its probe with {probe.fitted:.1%} "
            f"on them and {probe.error:.1%} on {many} unseen: the probe is kept; try a lower --lr"
        )
        states.put(model, solved)
        mended = True
    return mended


def diverged(prepared: Prepared, history: Sequence[Mapping[str, Any]], held_out: float) -> str:
    """Return why the model, which has no probe to go back to, is worse than none; nothing, if it is not.

    A model that knows nothing and says so has the loss `Task.ignorance` (ln(classes), where it gives every class the
    same share), and a run that learns little stays near it. Weights that ran away give a loss on their own training
    images that is WILD times that; or DEAD times, and they err as one answer for all at best (the most frequent
    class); or more than that and WILD times the loss of the first epoch.

    :param held_out: loss on the validation images: where that is low, nothing needs to be looked at.
    """
    task = prepared.data.task
    nothing = task.ignorance
    if not history or held_out <= nothing:
        return ""
    loss, error = _fit(prepared)
    first = history[0]["loss"]
    bound = (WILD if error < task.constant() else DEAD) * nothing
    if loss <= min(bound, max(nothing, WILD * first)):
        return ""
    return (
        f"training diverged: on its training {prepared.data.word}s the loss is {loss:.4g} and the error {error:.0%}, "
        f"where a model that knows nothing has {nothing:.3g}, and the first epoch had {first:.3g}"
    )


def _fit(prepared: Prepared) -> tuple[float, float]:
    """Return the plain loss on training images, and how wrong they are on average, as evaluation would have it."""
    outputs, targets = looked(prepared)
    task = prepared.data.task
    loss = task.score(outputs, targets).loss
    return loss, 1.0 if outputs.isnan().any() else task.errors(outputs, targets).mean().item()


def looked(prepared: Prepared) -> tuple[Tensor, Any]:
    """Return outputs and targets of LOOKED training images, as evaluation has them (`loop.evaluate`)."""
    images, runtime = few(prepared, LOOKED, prepared.exact), prepared.exact
    return loop.evaluate(prepared.pm, prepared.loaded, prepared.data.task, images, runtime)


def measured_anew(prepared: Prepared, found: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Set the running statistics of norms to what training images give; return them as they were (`norms.estimate`)."""
    return norms.estimate(prepared.loaded, found, (inputs for inputs, _ in few(prepared, IMAGES, prepared.exact)))


def few(prepared: Prepared, number: int, runtime: Runtime) -> Iterator[Batch]:
    """Yield so many training images at most, always the same ones, as the evaluation sees them, on the device."""
    train, recipe = prepared.data.train, prepared.job.recipe
    order = torch.randperm(len(train), generator=draws.generator("calibration", recipe.seed))
    samples = [train[i] for i in order[:number].tolist()]
    views, what = unaugmented(prepared, samples), f"a look at training {prepared.data.word}s"
    for batch in loader.in_order(views, recipe.batch_size, runtime, 0, prepared.counting, what):
        yield runtime.to_device(batch)
