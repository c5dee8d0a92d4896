"""The adapters of a run: given to the model before it trains, folded into its weights when it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from hubft.hookspecs import Loaded
from hubft.job import Job, Recipe
from hubft.train import norms

PLUGIN = "adapter"  # name of what holds all but the adapters and the head
LAYER_DECAY = 1.0
"""Of a recipe that leaves it open: no layer has to be kept near its base."""


@dataclass(frozen=True)
class Folded:
    """What is left of adapters that were folded in."""

    record: dict[str, Any]
    config: bytes
    tensors: Mapping[str, Tensor]
    """Of the adapters, and the weights without them, by name."""

    @property
    def files(self) -> dict[str, bytes]:
        """What a package holds of it beside the weights, by name."""
        return {lora.CONFIG: self.config}

    @property
    def facts(self) -> dict[str, str]:
        """What a package states of it in words."""
        return {"adapter": structure.words([self.record])[0]}


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
    adapted = adapters.give(loaded, job.adapting, blank, own)
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


def folded(pm: pluggy.PluginManager, model: nn.Module, adapted: Adapted) -> Folded:
    """Fold the adapters of a run's trained model into its weights, in place, and return what a package needs of them:
    from now on the model is plain, and all of it may train."""
    pm.unregister(name=PLUGIN)
    return Folded(adapted.record, adapted.config, adapters.fold(model, adapted.record))


def proof(before: Mapping[str, str], its: Folded, apart: bool) -> dict[str, str]:
    """Return the proof of what was frozen, by the names of a plain model.

    :param apart: the adapter is packaged alone: else the weights that it was folded into are other ones now.
    """
    layers = {f"{name}.{stages.ADAPTED}.": f"{name}." for name in its.record["layers"]}
    found = {}
    for name, sha256 in before.items():
        inner = next((prefix for prefix in layers if name.startswith(prefix)), "")
        plain = layers[inner] + name.removeprefix(inner) if inner else name
        if apart or not (inner and plain.endswith(".weight")):
            found[plain] = sha256
    return found
