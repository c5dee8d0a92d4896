"""The model of a job: what training starts from and what a package is loaded into are built by the same three."""

from __future__ import annotations

from dataclasses import replace

import pluggy
from torch import nn

from hubft import structure
from hubft.errors import FamilyError, JobError, Option
from hubft.hookspecs import Loaded
from hubft.job import Job
from hubft.train import stages, transforms


def load_base(pm: pluggy.PluginManager, job: Job, pretrained: bool) -> Loaded:
    """Return the model that the job starts from, with its original head, checked against the contract of `load`."""
    with structure.asked_size(job.size):
        loaded = pm.hook.load(name=job.name, pretrained=pretrained)
    if not isinstance(loaded, Loaded):
        raise FamilyError(f"family {job.family!r}: the hook `load` gave {type(loaded).__name__}, not hubft.Loaded")
    try:
        stages.stage_of(loaded)
        loaded.model.get_submodule(loaded.head)
    except (ValueError, AttributeError) as error:
        raise FamilyError(f"family {job.family!r}, {job.reference}: {error}") from error
    if job.size:
        loaded = replace(loaded, preprocess=transforms.at_size(loaded.preprocess, job.size))
    return loaded


def adapt(pm: pluggy.PluginManager, job: Job, loaded: Loaded) -> Loaded:
    """Return `loaded` with the job's head, checked.

    :raises JobError: `--pool`, for a model that has a head.
    """
    if job.task.pool != "auto" and not isinstance(loaded.model.get_submodule(loaded.head), nn.Identity):
        raise JobError(
            Option("pool"),
            f" {job.task.pool}: {job.reference} has a head of its own, {loaded.head!r}, and what that is put on is "
            "settled: leave it out",
        )
    adapted = pm.hook.adapt_head(loaded=loaded, task=job.task)
    if not isinstance(adapted, Loaded):
        got = type(adapted).__name__
        raise FamilyError(f"family {job.family!r}: the hook `adapt_head` gave {got}, not hubft.Loaded")
    return adapted


def build(pm: pluggy.PluginManager, job: Job, pretrained: bool) -> Loaded:
    """Return the job's model with its new head: with the base's weights, or the architecture alone."""
    return adapt(pm, job, load_base(pm, job, pretrained))
