"""A run's training, from the start to the model that is packaged: trained, mended, chosen, proved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from hubft.base.console import Console
from hubft.base.errors import Diverged, NotFinite
from hubft.base.memory import Peak
from hubft.run import keeping, nonfinite, processes, teaching, training, unquantized, wise
from hubft.run.journal import Journal
from hubft.run.plan import Plan, halving
from hubft.run.prepare import Prepared
from hubft.run.safeguard import mend
from hubft.run.wise import Way
from hubft.train import frozen, loop, states


def fit(
    prepared: Prepared, journal: Journal, plan: Plan, console: Console
) -> tuple[Prepared, training.Outcome, dict[str, str], Way]:
    """Train to the end; return what was prepared, its model trained and plain, what that gives for the validation
    images, the proof of what was frozen to the end, and how far the model came.

    Of several processes the first one alone comes back.
    """
    job, run, model = prepared.job, journal.run, prepared.loaded.model
    if prepared.ranks.first:
        journal.begin(job)
    solved = {} if job.compute.shard else states.kept(model)
    lessons = teaching.lessons(prepared)
    state = loop.start(prepared.loaded, job.recipe, prepared.runtime, prepared.data.task, lessons)
    state.parts = halving(plan, run, console)
    peak = Peak(prepared.runtime.device)
    prepared, outcome = _trained(prepared, journal, state, solved, console)
    model = prepared.loaded.model
    took = {**peak.plain(), "parts": [*state.parts.since.items()]} if job.recipe.epochs else {}
    if mend(prepared, run.history(), plan.probe, solved, console):
        outcome = None
    frozen.verify(model, state.proof)
    if state.proof:
        console.say(f"proved   not a bit moved in the {len(state.proof)} tensors that were frozen to the end")
    proof = state.proof
    if job.recipe.keep == "best" and job.recipe.epochs:
        epoch = keeping.restore(run.folder, model)
        console.say(f"kept     epoch {epoch} of {job.recipe.epochs}, chosen on the validation part")
        proof, outcome = frozen.same(model, proof), None
    line = wise.chosen(prepared, solved, plan.probe, console)
    if line:
        proof, outcome = frozen.same(model, proof), None
    far = wise.moved(prepared.loaded, solved) if job.recipe.epochs and solved and not prepared.adapted else {}
    if prepared.adapted:
        prepared, proof, outcome = unquantized.folded(prepared, proof, outcome, console)
    outcome = outcome or training.outcome(prepared, model)
    if not math.isfinite(prepared.data.task.score(*outcome).loss):
        raise Diverged("training diverged: the model gives no finite numbers; no package was made: try a lower --lr")
    return prepared, outcome, proof, Way(line, far, took)


def _trained(
    prepared: Prepared, journal: Journal, state: loop.State, solved: Mapping[str, Tensor], console: Console
) -> tuple[Prepared, training.Outcome | None]:
    """Train to the end; return what was prepared, to go on with in one process, and what the last epoch gave, if one
    ended now."""
    if not prepared.job.recipe.epochs:  # all but the head is as it was loaded
        loop.begin_epoch(prepared.pm, state, replace(prepared.job.recipe, train="head"), 0.0)
        return processes.alone(prepared), None
    try:
        outcome = training.train(prepared, journal, state, console)
    except NotFinite as told:
        raise (nonfinite.explained(prepared, journal.run, solved, told) if solved else told) from told
    if state.average:
        state.average.keep()
    return processes.alone(prepared), outcome
