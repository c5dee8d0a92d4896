"""A run that goes on: whether it can, and on which images. Without torch, so that a refusal comes at once."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from hubft.base.bars import Counting, nobody
from hubft.base.display import quoted
from hubft.base.errors import CheckpointError
from hubft.data.reading import is_there
from hubft.job import Job
from hubft.run.data import Data, read
from hubft.run.folder import Run
from hubft.run.remarks import TITLES


def job(run: Run, moved_to: str | Path | None = None, keep_anyway: bool = False, devices: int | None = None) -> Job:
    """Return the job of a run that is not finished, and whose images lie where it says.

    :param moved_to: where the images are now, if they were moved.
    :param keep_anyway: make the package although training diverged.
    :param devices: how many processes go on with it, if others than began it.
    :raises CheckpointError: no run, a finished one, or one whose images are not there.
    """
    stored = run.job()
    if run.package.exists():
        epochs = str(stored.recipe.epochs or 1)
        further = ["hubft", "finetune", f"package:{run.folder}", str(stored.data), "--epochs", epochs]
        raise CheckpointError(
            f"{str(run.folder)!r} is finished: its package is {run.package}; to train it further: {shlex.join(further)}"
        )
    if moved_to is None and not is_there(str(stored.data)):
        raise CheckpointError(
            f"the data of the run was in {stored.data!r}, which is not there now; say where it is: "
            f"{run.resumed_by('--data', 'DATA')}"
        )
    compute = stored.compute if devices is None else replace(stored.compute, devices=devices)
    keep = keep_anyway or stored.keep_anyway
    return replace(stored, data=str(moved_to or stored.data), keep_anyway=keep, compute=compute)


def data(run: Run, asked: Job, counting: Counting = nobody) -> Data:
    """Return the data of a run's job, proved to be what it began with.

    :raises DataError: they cannot be trained on.
    :raises CheckpointError: they are others; it says in what, and how to go on.
    """
    then = run.facts()
    found = read(asked, then.get("classes", []), counting=counting)
    now = found.facts()
    if then and all(now[part]["sha256"] == then.get(part, {}).get("sha256") for part in found.fingerprint()):
        return found
    if not then and asked.head.outputs == found.task.outputs:  # an older hubft began it: its checkpoints know them
        return found
    before, after = then.get("classes", []), now["classes"]
    told = [f"the {found.task.word} {quoted(name)} is new" for name in after if name not in before and then]
    told += [f"the {found.task.word} {quoted(name)} is not there" for name in before if name not in after]
    if not then:
        told = [f"it had {asked.head.outputs} classes, and there are {len(after)}"]
    for part, title in TITLES.items():
        old, new = (facts.get(part, {}).get("samples") for facts in (then, now))
        told += [f"it had {old or 0:,} {title} samples, and there are {new or 0:,}"] if then and old != new else []
    more = f", and {len(told) - 3} more differences" if len(told) > 3 else ""
    raise CheckpointError(
        f"{asked.data!r} is not the data of the run: "
        f"{'; '.join(told[:3]) or 'other samples or labels'}{more}; bring it back, or say where it is: "
        f"{run.resumed_by('--data', 'DATA')}"
    )
