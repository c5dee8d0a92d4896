"""What a run settles before it trains: how it computes, where its head starts, how long and how fast it trains.

All of it is written to plan.json, so that a run that is resumed settles the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hubft.console import Console
from hubft.errors import CheckpointError
from hubft.files import write_json
from hubft.job import Compute, Job, Recipe
from hubft.phases import features, find
from hubft.plain import from_dict, to_dict
from hubft.prepare import Prepared
from hubft.train import probe, stages
from hubft.train.run import Run


@dataclass(frozen=True)
class Plan:
    """What was settled."""

    job: Job
    """In which nothing is left to choose."""
    forward: Compute
    """How the frozen part of the model computes, forward only."""
    probe: probe.Probe | None = None
    """What solving the head has shown; None where it was not solved."""
    machine: dict[str, Any] = field(default_factory=dict)
    """What was measured on this machine."""


def settle(prepared: Prepared, run: Run, console: Console) -> tuple[Prepared, Plan]:
    """Return what was prepared, its job settled and its head solved, and the plan, written to the run."""
    plan = _read(run)
    if plan is None:
        compute, forward, machine = prepared.job.compute, prepared.job.compute, {}
    else:
        compute, forward, machine = plan.job.compute, plan.forward, plan.machine
    prepared = replace(prepared, job=replace(prepared.job, compute=compute), prefix=forward)
    found = _solve(prepared, console) if prepared.job.recipe.probe else None
    if plan is None:
        job = replace(prepared.job, recipe=_recipe(prepared, found))
        plan = Plan(job, forward, found, machine)
        write_json(run.plan_file, to_dict(plan))
    return replace(prepared, job=plan.job), plan


def _read(run: Run) -> Plan | None:
    if not run.plan_file.exists():
        return None
    try:
        return from_dict(Plan, json.loads(run.plan_file.read_text(encoding="utf-8")), "plan")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(run.plan_file)!r} cannot be read ({error}): remove it, and resume") from error


def _solve(prepared: Prepared, console: Console) -> probe.Probe | None:
    """Solve the head on the features of the training images, as the evaluation sees them."""
    loaded, images, runtime = prepared.loaded, prepared.images, prepared.runtime
    runtime.place(loaded.model)
    cut = find(prepared, stages.trainable(loaded, "head", 0.0))
    known = cut if isinstance(cut, str) else features(prepared, cut, images.train, prepared.forward, [0])
    if isinstance(cut, str) or isinstance(known, str):
        console.say(f"note: the head starts at zero, no probe is solved: {known}")
        return None
    rows = runtime.to_device(known.views[0].take(torch.arange(len(images.train)))).float()

    def logits(part: Tensor) -> Tensor:
        with cut.feed(part) as blank:
            outputs: Tensor = loaded.model(blank)
        return outputs.float()

    loaded.model.eval()
    head = loaded.model.get_submodule(loaded.head)
    return probe.solve(head, logits, rows, known.targets.to(runtime.device), prepared.job.recipe.seed)


def _recipe(prepared: Prepared, found: probe.Probe | None) -> Recipe:
    return prepared.job.recipe
