"""A run whose model is in shards (`--shard`): what goes with it, when it is split, and when it is whole again."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from hubft import methods
from hubft.base.errors import JobError, Option
from hubft.hookspecs import Loaded
from hubft.job import Compute, Job
from hubft.machine.choose import Choice
from hubft.machine.runtime import Runtime
from hubft.machine.timings import Setting
from hubft.train import sharded
from hubft.train.recipe import TORCH

if TYPE_CHECKING:
    from hubft.run.prepare import Prepared

DEVICES = ("cpu", "cuda")
"""Whose libraries can gather and split: gloo and NCCL."""
IN_SHARDS = "the model is in shards, and no process has all of it"


def check(job: Job) -> None:
    """Refuse what a run with `--shard` cannot do.

    :raises JobError: one of its options; the cure is in the message.
    """
    recipe, wanted = job.recipe, "it takes a model that is whole in one process"
    whole, compress = f"{wanted}; leave it out", f"{wanted}; compress the package, by hubft compress"
    optimizer = f"it is not proved to change each number by itself; take {', '.join(TORCH)}"
    refused: dict[str, tuple[bool, object, str]] = {
        "compress": (bool(methods.parse(job.compress)), job.compress, compress),
        "teacher": (bool(job.teaching.teacher), job.teaching.teacher, whole),
        "soup": (bool(job.soup), ", ".join(job.soup), whole),
        "quantize_base": (
            job.adapting.quantized,
            job.adapting.quantize_base,
            "packed weights are not split; leave it out",
        ),
        "budget": (bool(recipe.budget), recipe.budget, "it is kept by measuring a whole model; write --epochs"),
        "wise": (recipe.wise, "", "it needs a probe, which is solved on a whole model; leave it out"),
        "epochs": (not recipe.epochs, recipe.epochs, "nothing trains that could be in shards; leave one of them out"),
        "optimizer": (recipe.optimizer not in TORCH, recipe.optimizer, optimizer),
    }
    for name, (is_asked, value, why) in refused.items():
        if is_asked:
            raise JobError(Option(name), f" {value}".rstrip(), " beside ", Option("shard"), f": {why}")


def suits(loaded: Loaded, device: torch.device, reference: str) -> None:
    """Refuse a model that cannot be gathered a layer at a time, and a device on which nothing can.

    :raises JobError: this is one.
    """
    if device.type not in DEVICES:
        raise JobError(
            Option("shard"), f" is for {' and '.join(DEVICES)}, and the device is {device.type}: leave it out"
        )
    if not sharded.layers(loaded.model):
        why = (
            f": {reference} names no layers that can be gathered one by one, as models of transformers do; leave it out"
        )
        raise JobError(Option("shard"), why)


def unmeasured(compute: Compute) -> Choice:
    """Return how such a run computes, of which nothing is measured: what is safe, and what the user fixed."""
    its = Runtime(compute)
    setting = Setting("step", its.precision, its.memory_format, its.threads)
    way = replace(setting.compute(its.device, compute), workers=its.workers)
    evidence = {"predicted_seconds": 0.0, "measured_for": 0.0, "images_in_a_pass": 0, "table": [], "notes": [IN_SHARDS]}
    return Choice(way, way, 0.0, 0.0, 0.0, evidence)


def begun(prepared: Prepared) -> Prepared:
    """Return what was prepared with its model split over the processes, in place; as it is where that is not asked for.

    The first process keeps the model as it is now in main memory, for what is trained to be put into.
    """
    if not prepared.job.compute.shard:
        return prepared
    model = prepared.loaded.model
    kept = copy.deepcopy(model) if prepared.ranks.first else None
    sharded.split(model, prepared.ranks, prepared.runtime.device)
    return replace(prepared, whole=kept)


def over(prepared: Prepared) -> Prepared:
    """Return what was prepared with the trained model whole, in main memory, in the first process; in the others it is
    as it was. Each must call it."""
    if not prepared.job.compute.shard:
        return prepared
    whole, its = prepared.whole, sharded.gathered(prepared.loaded.model)
    now = whole.state_dict() if whole else {}
    for name, tensor in its:
        if whole:
            now[name].copy_(tensor)
    if not whole:
        return prepared
    compute = replace(prepared.job.compute, device="cpu", shard=False)
    return replace(
        prepared,
        job=replace(prepared.job, compute=compute),
        prefix=replace(prepared.prefix, device="cpu", shard=False),
        loaded=replace(prepared.loaded, model=whole),
        whole=None,
    )
