"""The package that a model learns from: found, and held against the data before anything is computed."""

from __future__ import annotations

from dataclasses import replace

from hubft.base.display import listed, quoted
from hubft.base.errors import JobError, Option, PackageError
from hubft.base.serialize import to_dict
from hubft.job import Job, Teaching
from hubft.publish.manifest import Manifest
from hubft.run import parent
from hubft.run.parent import Parent
from hubft.tasks.task import Task


def named(job: Job) -> Parent | None:
    """Return the teacher's package, its manifest read; None where the job has no teacher.

    :raises PackageError: there is none, or it is no package.
    :raises JobError: an option that has no meaning without a teacher, or options by which nothing is learned of it.
    """
    name = job.teaching.teacher
    if not name:
        given = [field for field, value in to_dict(job.teaching).items() if value != getattr(Teaching, field)]
        if given:
            why = " has no meaning without a teacher: leave it out, or name a package by "
            raise JobError(Option(given[0]), why, Option("teacher"))
        return None
    if not job.teaching.imitation and not job.teaching.hints:
        raise JobError(Option("imitation"), " 0: nothing is learned of the teacher; give a share, or ", Option("hints"))
    if not job.teaching.imitation and job.teaching.temperature:
        raise JobError(
            Option("temperature"), ": without ", Option("imitation"), " no answers are compared; leave it out"
        )
    try:
        return parent.named(name)
    except PackageError as error:
        makes = f"; hubft finetune {name} DATA makes a package of it" if ":" in name else ""
        raise PackageError(f"the teacher: {error}{makes}") from error


def settled(job: Job, teaches: Parent) -> Job:
    """Return a job with the teacher's name, which no later push and no other working folder changes the meaning of.

    :raises JobError: a run that does not train, which would not hear it; features of stages are asked for, and a
        compiled step, in which nothing can listen to them.
    """
    compute = job.compute
    if not job.recipe.epochs:
        why = " 0: the head is solved by the labels alone, and a teacher not heard; give one or more, or leave out "
        raise JobError(Option("epochs"), why, Option("teacher"))
    if job.teaching.hints and compute.compile == "on":
        raise JobError(Option("compile"), " on: a compiled step shows no features; leave out ", Option("hints"))
    if job.teaching.hints:
        compute = replace(compute, compile="off")
    name = teaches.reference.partition(":")[2]
    return replace(job, compute=compute, teaching=replace(job.teaching, teacher=name))


def check(job: Job, manifest: Manifest, task: Task) -> None:
    """Check that the teacher answers what the labels ask.

    :param task: of the data.
    :raises PackageError: it knows other labels.
    :raises JobError: an option of teaching that has no meaning for them.
    """
    its, name = manifest.task, quoted(str(job.teaching.teacher))
    if not task.like(its):
        raise PackageError(
            f"the teacher {name} cannot teach what {quoted(str(job.data))} says: {_apart(its, task)}; fine-tune one on "
            "these labels: hubft finetune REFERENCE DATA"
        )
    task.imitation(job.teaching.temperature)


def _apart(its: Task, task: Task) -> str:
    """Return in a phrase how two tasks differ."""
    if its.kind != task.kind:
        return f"it is a model of the kind {its.kind}, and these labels are {task.kind}"
    missing = [name for name in task.names if name not in its.names]
    spare = [name for name in its.names if name not in task.names]
    told = [f"it does not know the {task.word} {listed(missing)}"] if missing else []
    told += [f"the data has no {task.word} {listed(spare)}, which it knows"] if spare else []
    return ", and ".join(told) or "it has the same names, of columns in another order, or with another meaning"
