"""What a run checks at its end, on training images: that its norm statistics fit its weights, and that it learned."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hubft.base import draws
from hubft.base.console import Console
from hubft.families import stages
from hubft.hookspecs import Batch
from hubft.images import pixels
from hubft.machine.runtime import Runtime
from hubft.run.phases import phases
from hubft.run.prepare import Prepared
from hubft.tasks.metrics import proportion
from hubft.train import loader, loop, norms
from hubft.train.probe import Probe

IMAGES = 1024  # training images that are looked at
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
    measured again, and kept if the loss on training images is clearly lower then. The probe gets few of its training
    images wrong, and more of images that it has not seen. A model that gets more of its training images wrong than
    half-way between, by more than the 95 % interval, has lost what it started with: the probe, `solved`, takes its
    place.

    :param history: of the run, an entry an epoch.
    """
    if not history:
        return False
    model = prepared.loaded.model
    stages.set_trainable(model, phases(prepared)[-1].live)
    moved = norms.live(model)
    if not moved and (probe is None or history[-1]["loss"] <= CLEAR * probe.loss):
        return False
    mended = False
    loss, error = _fit(prepared)
    if moved:
        before = norms.estimate(prepared.loaded, moved, (inputs for inputs, _ in few(prepared, IMAGES, prepared.exact)))
        again = _fit(prepared)
        if again[0] < LAGGED * loss:
            console.say(f"mended   norm statistics lagged behind: loss on training images {loss:.3f} -> {again[0]:.3f}")
            (loss, error), mended = again, True
        else:
            norms.restore(model, before)
    if probe and not error <= _bound(probe):
        console.say(
            f"mended   training ended with {error:.1%} of its images wrong, its probe with {probe.fitted:.1%} of them "
            f"and {probe.error:.1%} of images unseen: the probe is kept; try a lower --lr"
        )
        model.load_state_dict(solved)
        mended = True
    return mended


def diverged(prepared: Prepared, history: Sequence[Mapping[str, Any]], held_out: float) -> str:
    """Return why the model, which has no probe to go back to, is worse than none; nothing, if it is not.

    A model that knows nothing and says so gives every class the same share: its loss is ln(classes), and a run that
    learns little stays near it. Weights that ran away give a loss on their own training images that is WILD times
    that; or DEAD times, and they name the most frequent class at best; or more than that and WILD times the loss of
    the first epoch.

    :param held_out: loss on the validation images: where that is low, nothing needs to be looked at.
    """
    nothing = math.log(len(prepared.images.classes))
    if not history or held_out <= nothing:
        return ""
    loss, error = _fit(prepared)
    counts, first = Counter(sample.label for sample in prepared.images.train), history[0]["loss"]
    bound = (WILD if 1 - error > max(counts.values()) / counts.total() else DEAD) * nothing
    if loss <= min(bound, max(nothing, WILD * first)):
        return ""
    return (
        f"training diverged: on its own training images the loss is {loss:.4g} and {error:.0%} are wrong, where a "
        f"model that knows nothing has {nothing:.3g}, and the first epoch had {first:.3g}"
    )


def no_better_than(prepared: Prepared, metrics: Mapping[str, Any]) -> str:
    """Return the most frequent class of the validation images if always naming it gets as many right, or nothing."""
    (label, count), *_ = Counter(sample.label for sample in prepared.images.val).most_common(1)
    measured = metrics["accuracy"]
    return prepared.images.classes[label] if measured["value"] <= count / measured["n"] else ""


def _bound(probe: Probe) -> float:
    """Return the share of training images above which a model has lost what its probe knew."""
    return float(proportion(round((probe.fitted + probe.error) / 2 * probe.images), probe.images)["high"])


def _fit(prepared: Prepared) -> tuple[float, float]:
    """Return the loss on training images, and the share of them that is wrong, as evaluation would have it."""
    images = few(prepared, IMAGES, prepared.exact)
    outputs, targets = loop.evaluate(prepared.pm, prepared.loaded, images, prepared.exact)
    wrong = outputs.argmax(1) != targets
    return cross_entropy(outputs, targets).item(), 1.0 if outputs.isnan().any() else wrong.float().mean().item()


def few(prepared: Prepared, number: int, runtime: Runtime) -> Iterator[Batch]:
    """Yield so many training images at most, always the same ones, as the evaluation sees them, on the device."""
    images, recipe = prepared.images, prepared.job.recipe
    order = torch.randperm(len(images.train), generator=draws.generator("calibration", recipe.seed))
    samples = [images.train[i] for i in order[:number].tolist()]
    views = pixels.Views(images.folder, samples, prepared.loaded.preprocess)
    for batch in loader.in_order(views, recipe.batch_size, runtime):
        yield runtime.to_device(batch)
