"""The adapters of a run: given to the model before it trains, folded into its weights when it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pluggy
from torch import Tensor, nn

from hubft import modality
from hubft.adapting import FASTER
from hubft.base import draws
from hubft.base.errors import JobError, Option
from hubft.compress import lora, structure
from hubft.families import adapters, stages
from hubft.families.adapters import Adapted
from hubft.families.quantized import SCALE, Quantized
from hubft.hookspecs import Loaded
from hubft.job import Job, Recipe
from hubft.machine.runtime import find_device
from hubft.tasks.metrics import Measured, Metrics, title
from hubft.tasks.paired import told
from hubft.train import norms

PLUGIN = "adapter"  # name of what holds all but the adapters and the head
LAYER_DECAY = 1.0
"""Of a recipe that leaves it open: no layer has to be kept near its base."""


@dataclass(frozen=True)
class Narrow:
    """What adapters gave over the base in few bits that they were trained on, beside what they give over the base."""

    quantized: Quantized
    metrics: Metrics
    """Of the model as it was trained, on the validation samples."""
    change: Measured
    """Of the headline, from there to the model that the package gives, on the same samples (`paired.difference`)."""

    def plain(self) -> dict[str, Any]:
        """Return it as results.json states it, JSON types."""
        return {**asdict(self.quantized), "metrics": self.metrics.plain(), "change": asdict(self.change)}

    def __str__(self) -> str:
        """Return it in a phrase."""
        return (
            f"in {self.quantized.how} {title(self.metrics.headline)} was {self.metrics.head}; over the base as it is, "
            f"as packaged, the paired difference is {told(self.change)}"
        )


@dataclass(frozen=True)
class Folded:
    """What is left of adapters that were folded in."""

    record: dict[str, Any]
    config: bytes
    tensors: Mapping[str, Tensor]
    """Of the adapters, and the weights without them, by name."""
    quantized: Quantized | None = None
    """Which layers of the base were in few bits while it trained."""
    narrow: Narrow | None = None
    """What it gave over these, where that was measured."""

    @property
    def files(self) -> dict[str, bytes]:
        """What a package holds of it beside the weights, by name."""
        return {lora.CONFIG: self.config}

    @property
    def facts(self) -> dict[str, str]:
        """What a package states of it in words."""
        few = {"quantized base": f"{self.quantized.words}; {self.narrow}"} if self.quantized and self.narrow else {}
        return {"adapter": structure.words([self.record])[0], **few}


def apart(job: Job) -> Job:
    """Return a job with adapters that are packaged alone as one on the base as its own library builds it."""
    own = job.adapting.apart and job.head.pool == "auto"
    return replace(job, head=replace(job.head, pool="own")) if own else job


def given(pm: pluggy.PluginManager, job: Job, loaded: Loaded) -> tuple[Job, Adapted | None]:
    """Return the job and the adapters that the model has now, where its job asks for them.

    :raises JobError: layers that can have none, or something else that would move.
    """
    if not job.adapting.on:
        return job, None
    draws.seed("adapter", job.recipe.seed)
    blank, own = modality.of(loaded.inputs).blank(loaded.inputs, 2), not job.head.outputs
    adapted = adapters.give(loaded, job.adapting, blank, own, find_device(job.compute.device))
    pm.register(adapted, name=PLUGIN)
    live = pm.hook.freeze(loaded=loaded, train=job.recipe.train, progress=1.0)
    if not live & adapted.live:
        why = f" {job.recipe.train!r}: no adapter would train with it; leave it out, or leave "
        raise JobError(Option("train"), why, Option("adapter"), " out")
    stages.set_trainable(loaded.model, live)
    if moving := [name for name in norms.live(loaded.model) if not adapted.of_head(name)]:
        why = f" {job.adapting.adapter} does not work for {job.reference}: the statistics of its norm {moving[0]!r} "
        raise JobError(Option("adapter"), why, "move in training, and an adapter does not hold them")
    return _laid_out(job, adapted), adapted


def _laid_out(job: Job, adapted: Adapted) -> Job:
    """Return the job with a memory format that peft computes the adapters in.

    :raises JobError: it asks for another.
    """
    if not adapted.contiguous:
        return job
    if job.compute.memory_format == "channels_last":
        why = " channels_last: peft does not compute "
        raise JobError(Option("memory_format"), why, Option("dora"), " of convolutions in it: leave it out")
    return replace(job, compute=replace(job.compute, memory_format="contiguous"))


def rates(recipe: Recipe, adapted: Adapted) -> Recipe:
    """Return a recipe with the rates of adapters where it leaves them open: FASTER times that of a head which trains
    beside them; without one, that of the recipe."""
    last = (FASTER if adapted.record["head"] else 1.0) if recipe.body_lr is None else recipe.body_lr
    decay = LAYER_DECAY if recipe.layer_decay is None else recipe.layer_decay
    return replace(recipe, body_lr=last, layer_decay=decay)


def folded(
    pm: pluggy.PluginManager, model: nn.Module, adapted: Adapted, base: Mapping[str, nn.Module] = adapters.NOTHING
) -> Folded:
    """Fold the adapters of a run's trained model into its weights, in place, and return what a package needs of them:
    from now on the model is plain, and all of it may train.

    :param base: layers that were in few bits, as they are in the base, by name.
    """
    pm.unregister(name=PLUGIN)
    return Folded(adapted.record, adapted.config, adapters.fold(model, adapted.record, base), adapted.quantized)


def proof(before: Mapping[str, str], its: Folded, apart: bool, base: Mapping[str, str]) -> dict[str, str]:
    """Return the proof of what was frozen, by the names of a plain model.

    :param apart: the adapter is packaged alone: else the weights that it was folded into are other ones now.
    :param base: sha256 of the tensors of the base: a layer that was in few bits is that of the base again.
    """
    layers = {f"{name}.{stages.ADAPTED}.": f"{name}." for name in its.record["layers"]}
    narrow = its.quantized.layers if its.quantized else ()
    found = {}
    for name, sha256 in before.items():
        inner = next((prefix for prefix in layers if name.startswith(prefix)), "")
        plain = layers[inner] + name.removeprefix(inner) if inner else name
        layer, _, own = plain.rpartition(".")
        if (apart or not (inner and own == "weight")) and not (layer in narrow and own == SCALE):
            found[plain] = base[plain] if layer in narrow else sha256
    return found
