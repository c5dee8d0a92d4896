"""What a run settles before it trains: how it computes, where its head starts, how long and how fast it trains.

All of it is written to plan.json, so that a run that is resumed settles the same.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

from hubft import modality
from hubft.base.console import Console
from hubft.base.errors import CheckpointError, JobError
from hubft.base.files import write_json
from hubft.base.serialize import from_dict, to_dict
from hubft.base.store import Scratch
from hubft.job import Compute, Job, Recipe
from hubft.machine import choose
from hubft.machine.runtime import Runtime
from hubft.run import adapting, budget, sharding
from hubft.run.folder import Run
from hubft.run.phases import PROOF
from hubft.run.prepare import Prepared
from hubft.run.probing import Solved, augmentation, held_by_nothing, learning_rate, solve
from hubft.tasks import metrics
from hubft.train import loader, norms, probe
from hubft.train.gradient import Parts


@dataclass(frozen=True)
class Plan:
    """What was settled."""

    job: Job
    """In which nothing is left to choose."""
    forward: Compute
    """How the frozen part of the model computes, forward only."""
    probe: probe.Probe | None = None
    """What solving the head has shown; None where it was not solved."""
    probed: dict[str, Any] = field(default_factory=dict)
    """Metrics of the solved head on the validation images, as JSON types."""
    machine: dict[str, Any] = field(default_factory=dict)
    """What was measured on this machine."""
    rows: int = 0
    """How many training samples the budget had time for, where it had none for all; else 0."""
    parts: tuple[tuple[int, int], ...] = ()
    """(Steps done, parts): from then on a batch was computed in at least so many parts, for memory ran out."""

    def settled(self) -> dict[str, Any]:
        """Return what a package states of it."""
        recipe, compute = self.job.recipe, self.job.compute
        probed = self.probed and metrics.read(self.probed)
        probe = {f"{metrics.title(probed.headline)} of the probe": probed.head.value} if probed else {}
        trained = {"peak learning rate": recipe.lr} if recipe.epochs else {}
        return probe | {
            "epochs": recipe.epochs,
            **trained,
            "precision": compute.precision,
            "memory format": compute.memory_format,
            "compile": compute.compile,
            "threads": compute.threads,
        }


def settle(prepared: Prepared, run: Run, console: Console) -> tuple[Prepared, Plan, Solved | None]:
    """Return what was prepared, its job settled; the plan, written to the run; and its head as it was solved.

    Of several processes each calls it. The first one settles what a clock tells, and writes.
    """
    ranks = prepared.ranks
    if plan := ranks.same(lambda: _read(run)):
        prepared = budget.drawn(_computing(prepared, plan.job.compute, plan.forward), plan.rows)
        solved = solve(prepared, Console(quiet=True)) if plan.probe else None
        return _under(prepared, replace(plan.job, compute=prepared.job.compute)), plan, solved
    began = time.perf_counter()
    prepared, choice = computing(prepared, console)
    costs = ranks.same(lambda: budget.Costs.of(prepared, choice) if prepared.job.recipe.budget else None)
    prepared, part = _within(prepared, costs, began, console)
    solved = solve(prepared, console) if prepared.job.recipe.probe else None
    found, probed = (solved.probe, solved.metrics.plain()) if solved else (None, {})
    recipe = replace(prepared.job.recipe, augment=augmentation(prepared, solved))
    if recipe.epochs and recipe.probe and not solved and _is_blank(prepared):
        recipe = held_by_nothing(recipe, exact := prepared.job.compute.exact)
        held = "its norms alone are held back, for --exact" if exact else "nothing of it is held back"
        console.say(f"note: no norm of the model has seen a batch: nobody trained it, and {held}")
    if costs:
        least = part.epochs or int(not found or bool(prepared.teacher))
        spent, rows = ranks.same(lambda: time.perf_counter() - began), len(prepared.data.train)
        recipe = replace(recipe, epochs=budget.epochs(recipe, rows, costs, spent, least))
    recipe = _rated(recipe, prepared, found)
    plan = Plan(replace(prepared.job, recipe=recipe), choice.forward, found, probed, choice.evidence, part.rows)
    if ranks.first:
        write_json(run.plan_file, to_dict(plan))
    trained = f", peak learning rate {recipe.lr:.2g}, augmentation {recipe.augment}"
    untrained = ": the head as it was solved" if solved else ": the model as it is"
    console.say(f"recipe   {recipe.epochs} epochs{trained if recipe.epochs else untrained}")
    return _under(prepared, plan.job), plan, solved


def halving(plan: Plan, run: Run, console: Console) -> Parts:
    """Return in how many parts a run computes its batches, where memory ran out; what is new is put into its plan."""

    def tell(step: int, number: int) -> None:
        now = replace(plan, parts=tuple(its.since.items()))
        write_json(run.plan_file, to_dict(now))
        console.say(f"memory   ran out in step {step + 1}: from there on a batch is computed in {number} parts")

    its = Parts(dict(plan.parts), tell)
    return its


def noted(run: Run) -> Parts:
    """Return what `halving` put into the plan of a run."""
    plan = _read(run)
    return Parts(dict(plan.parts)) if plan else Parts()


def computing(prepared: Prepared, console: Console) -> tuple[Prepared, choose.Choice]:
    """Return what was prepared, its job settled in how it computes on this machine, and how that was chosen."""
    with prepared.counting("measuring this machine", None):
        choice = prepared.ranks.same(lambda: _chosen(prepared))
    _say_machine(choice, console)
    return _computing(prepared, choice.compute, choice.forward), choice


def _chosen(prepared: Prepared) -> choose.Choice:
    if prepared.job.compute.shard:
        return sharding.unmeasured(prepared.job.compute)
    return choose.choose(prepared.pm, prepared.job, prepared.loaded, _work(prepared))


def _within(
    prepared: Prepared, costs: budget.Costs | None, began: float, console: Console
) -> tuple[Prepared, budget.Share]:
    """Return what was prepared with the training samples that the budget has time for, and what share they are."""
    if costs is None:
        return prepared, budget.Share()
    spent = prepared.ranks.same(lambda: time.perf_counter() - began)
    part, all_ = budget.share(prepared, costs, spent), len(prepared.data.train)
    if not part.rows:
        return prepared, part
    asked, word = prepared.job.recipe.budget, prepared.data.word
    prepared = budget.drawn(prepared, part.rows)
    taken = len(prepared.data.train)
    console.say(f"budget   {asked} has time for {taken:,} of {all_:,} training {word}s: a longer one takes more")
    return prepared, part


def _is_blank(prepared: Prepared) -> bool:
    return not prepared.adapted and norms.unmeasured(prepared.loaded.model)


def _under(prepared: Prepared, job: Job) -> Prepared:
    return replace(prepared, job=job, training=prepared.training.under(job.recipe))


def _say_machine(choice: choose.Choice, console: Console) -> None:
    def way(compute: Compute) -> str:
        return f"{compute.precision} {compute.memory_format}{' compiled' if compute.compile == 'on' else ''}"

    evidence = choice.evidence
    short = "not measured" if choice.compute.shard else "too short a run to measure"
    how = f"measured for {evidence['measured_for']:.0f} s" if evidence["table"] else short
    console.say(
        f"machine  steps in {way(choice.compute)}, frozen parts in {way(choice.forward)}, "
        f"{choice.compute.threads} threads, {choice.compute.workers} workers ({how})"
    )


def _computing(prepared: Prepared, compute: Compute, forward: Compute) -> Prepared:
    if not prepared.ranks.alone:  # each process has a device of its own
        own = str(prepared.runtime.device)
        compute, forward = replace(compute, device=own), replace(forward, device=own)
    return replace(prepared, job=replace(prepared.job, compute=compute), prefix=forward)


def _work(prepared: Prepared) -> choose.Work:
    """Return what the run will compute, for the machine to be measured by."""
    recipe, data = prepared.job.recipe, prepared.data
    epochs = budget.whole(prepared)
    views = recipe.views if epochs < recipe.epochs else int(recipe.probe)
    its, scratch = loader.typical(prepared.training, PROOF), Scratch()
    inputs = prepared.loaded.inputs
    few = modality.of(inputs).views(data.source, data.task, its, inputs, recipe, scratch)
    few.keep(1)  # as the run keeps them
    batch = next(iter(loader.in_order(few, PROOF, Runtime(Compute(device="cpu", workers=0)))))
    return choose.Work(
        data.task.criterion(),
        batch,
        steps=len(data.train) * epochs,
        forwards=len(data.train) * views + len(data.val) * (epochs + bool(views)),
        decode=lambda: [few[1, i] for i in range(len(few.samples))],
    )


def _read(run: Run) -> Plan | None:
    if not run.plan_file.exists():
        return None
    try:
        return from_dict(Plan, json.loads(run.plan_file.read_text(encoding="utf-8")), "plan")
    except (OSError, ValueError, JobError) as error:
        raise CheckpointError(f"{str(run.plan_file)!r} cannot be read ({error}): remove it, and resume") from error


def _rated(recipe: Recipe, prepared: Prepared, found: probe.Probe | None) -> Recipe:
    """Return the recipe with its learning rates."""
    rows = len(prepared.data.train)
    if not recipe.lr:
        steps = loader.steps_per_epoch(rows, recipe.batch_size) * recipe.epochs
        recipe = replace(recipe, lr=learning_rate(found, rows, steps))
    return adapting.rates(recipe, prepared.adapted) if prepared.adapted else recipe
