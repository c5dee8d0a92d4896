"""How far a model is beyond what needs no training: its solved head, and one answer for every sample."""

from __future__ import annotations

from hubft.run.prepare import Prepared
from hubft.run.probing import Solved
from hubft.run.training import Outcome
from hubft.tasks import blind
from hubft.tasks.metrics import Measured
from hubft.tasks.paired import difference


def compared(prepared: Prepared, solved: Solved | None, after: Outcome) -> dict[str, Measured]:
    """Return the headline of the packaged model minus that of its probe and that of the base rate, paired by samples
    (`paired.difference`), by the name under which results and facts keep what it is held against.

    :param solved: the head that training began with; a run that trains nothing is not held against it.
    """
    task, (outputs, targets) = prepared.data.task, after
    found = {}
    if solved and prepared.job.recipe.epochs:
        found["probe"] = difference(task, outputs, solved.outcome[0], targets, solved.task)
    if (said := blind.said(task, len(outputs))) is not None:
        found["base_rate"] = difference(task, outputs, said, targets)
    return found
