"""One backbone on the user's data: prepared as a run prepares it, its head solved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hubft import engine
from hubft.base.console import Console
from hubft.choosing.rows import Outcome, Row
from hubft.deploy import latency
from hubft.job import Job
from hubft.run import plan, probing
from hubft.run.data import Data
from hubft.tasks.metrics import Measured, title


@dataclass(frozen=True)
class Looked:
    """What is known of a backbone before it is trained."""

    row: Row
    """Without its latency."""
    call: Callable[[], object]
    """Answers one sample, in the precision and on the device in which a run evaluates."""
    score: Measured | None = None
    """Of its probe, if it has one."""
    outcome: Outcome | None = None
    """What the probe gave for the validation samples."""


def look(job: Job, data: Data, trust: bool, console: Console) -> Looked:
    """Return what is known of the backbone of a job before it is trained.

    :raises HubftError: it cannot be had, or does not take this data.
    """
    with console.aside():  # its weights may be downloaded, under bars of their own
        prepared = engine.ready(job, data, trust, console.counting)
    solvable = prepared.job.recipe.probe
    recipe = replace(prepared.job.recipe, epochs=0, budget="")  # for so little work the machine is chosen
    prepared, _ = plan.computing(replace(prepared, job=replace(prepared.job, recipe=recipe)), console.hushed())
    with prepared.runtime.using_threads():
        began = time.perf_counter()
        its = probing.given(prepared) if solvable else "the head is the model's own"
        took = time.perf_counter() - began
        solved = None if isinstance(its, str) else probing.solved(prepared, its)
    model = prepared.exact.place(prepared.loaded.model.eval())
    call = latency.answering(replace(prepared.loaded, model=model), 1, prepared.exact)
    row = Row(job.reference, sum(parameter.numel() for parameter in model.parameters()))
    if isinstance(its, str) or solved is None:
        return Looked(replace(row, unprobed=str(its)), call)
    task = prepared.data.task
    score = task.measure(*solved.outcome).head
    if not math.isfinite(score.value):
        return Looked(replace(row, unprobed=f"its {title(task.headline)} is no number"), call)
    row = replace(row, features=took if its.computed else None)
    return Looked(row, call, score, Outcome(solved.outcome[0], task))
