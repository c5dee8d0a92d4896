"""One backbone on the user's data: prepared as a run prepares it, its head solved, its latency measured."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from hubft import engine
from hubft.choosing.rows import Outcome, Row
from hubft.deploy import latency
from hubft.job import Job
from hubft.run import plan, probing
from hubft.run.data import Data
from hubft.run.prepare import Prepared
from hubft.tasks.metrics import Measured, title


def look(job: Job, data: Data, seconds: float, trust: bool) -> tuple[Row, Measured | None, Outcome | None]:
    """Return what is known of a backbone before it is trained, the score of its probe, and what that gave.

    :param job: of its run.
    :param seconds: that the timing may take.
    :raises HubftError: it cannot be had, or does not take this data.
    """
    prepared = engine.ready(job, data, trust)
    solvable = prepared.job.recipe.probe
    recipe = replace(prepared.job.recipe, epochs=0, budget="")  # for so little work the machine is chosen
    prepared, _ = plan.computing(replace(prepared, job=replace(prepared.job, recipe=recipe)))
    with prepared.runtime.using_threads():
        began = time.perf_counter()
        its = probing.given(prepared) if solvable else "the head is the model's own"
        took = time.perf_counter() - began
        solved = None if isinstance(its, str) else probing.solved(prepared, its)
        row = Row(job.reference, _parameters(prepared), latency=_latency(prepared, seconds))
    if isinstance(its, str) or solved is None:
        return replace(row, unprobed=str(its)), None, None
    task, outputs = prepared.data.task, solved.outcome[0]
    score = task.measure(*solved.outcome).head
    if not math.isfinite(score.value):
        return replace(row, unprobed=f"its {title(task.headline)} is no number"), None, None
    return replace(row, features=took if its.computed else None), score, Outcome(outputs, task)


def _parameters(prepared: Prepared) -> int:
    return sum(parameter.numel() for parameter in prepared.loaded.model.parameters())


def _latency(prepared: Prepared, seconds: float) -> latency.Latency:
    """Return that of one sample, in the precision and on the device in which a run evaluates."""
    model = prepared.exact.place(prepared.loaded.model.eval())
    call = latency.answering(replace(prepared.loaded, model=model), 1, prepared.exact)
    return latency.measure({"": call}, seconds)[""]
