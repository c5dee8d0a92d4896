"""A run, as a table of contents: prepared, trained, measured, compressed, reported, packaged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from hubft.base import draws
from hubft.base.bars import Counting, nobody
from hubft.base.console import Console
from hubft.base.errors import Diverged, Option
from hubft.base.files import writing
from hubft.families import plugins
from hubft.families.trust import trusting
from hubft.job import Job
from hubft.machine.ranks import ALONE, Ranks
from hubft.report import reporting
from hubft.run import (
    before,
    beside,
    beyond,
    compressing,
    derived,
    diagnosis,
    keeping,
    left,
    processes,
    resuming,
    sharding,
    soup,
    teaching,
    tracked,
    training,
    trying,
    tuning,
)
from hubft.run.data import Data
from hubft.run.fitting import fit
from hubft.run.folder import Run
from hubft.run.introduction import introduce
from hubft.run.journal import Journal
from hubft.run.left import Result
from hubft.run.overfit import Overfit, one_batch
from hubft.run.phases import testing
from hubft.run.plan import settle
from hubft.run.prepare import Prepared, prepare
from hubft.run.safeguard import diverged
from hubft.share import load

__all__ = ["Result", "blend", "compress", "finetune", "ready", "resume"]


def finetune(
    job: Job, console: Console | None = None, data: Data | None = None, *, trust: bool = False, ranks: Ranks = ALONE
) -> Result:
    """Return a finished run: trained, measured, reported, packaged.

    :param data: of the job, where it was read already.
    :param ranks: the processes that train together; each calls this, and the first one finishes the run: the others
        end with `Silent` when training is over.
    :param trust: also start from a model of transformers with code of its own, or from a package that is built by code
        of a repository, which runs that code.
    :raises HubftError: bad input, before anything is written; a run that must not go on.
    :raises Diverged: training left a model that is worse than none; the run is there, without a package.
    :raises Stopped: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    plugins.find(job.family, typed=True)
    console = console or Console(quiet=True)
    with draws.preserved():
        with writing(Path(job.output or "runs"), "nothing was written; make room, or name another --output"):
            prepared = processes.prepared(ready(job, data, trust, console.counting), ranks)
            compressing.rehearse(prepared, console)
            run = ranks.same(lambda: Run.create(prepared.job, prepared.facts()))
        return _run(prepared, run, console)


def resume(
    folder: Path,
    console: Console | None = None,
    data: Data | None = None,
    *,
    moved_to: str | Path | None = None,
    keep_anyway: bool = False,
    devices: int | None = None,
    ranks: Ranks = ALONE,
) -> Result:
    """Return the finished run of a folder, gone on with from its newest intact checkpoint, to the same bits.

    :param data: of the run, where `resuming.data` gave it already.
    :param moved_to: where the data is now, if it was moved; written to its job.json.
    :param keep_anyway: make the package although training diverged; written there too.
    :param devices: how many processes go on with it, where that is to change.
    :param ranks: as of `finetune`.
    :raises CheckpointError: no run, one that is finished, or one whose data changed.
    """
    run = Run(folder)
    job = resuming.job(run, moved_to, keep_anyway, devices)
    console = console or Console(quiet=True)
    data = data or resuming.data(run, job, console.counting)
    with draws.preserved():
        with writing(run.folder, f"make room, or mend that, and type it again: {run.resumed_by()}"):
            own = ready(job, data, True, console.counting, run.code())  # trust was given when it began
            prepared = processes.prepared(own, ranks)
            if ranks.first and job != run.job():
                run.write_job(job)
        return _run(prepared, run, console)


def overfit(job: Job, console: Console | None = None, data: Data | None = None, *, trust: bool = False) -> Overfit:
    """Return what training on one batch alone comes to (`hubft.run.overfit`); nothing is written.

    :raises HubftError: as `finetune`.
    """
    tracked.refuse(job, "one batch")
    console = console or Console(quiet=True)
    with draws.preserved():
        return one_batch(ready(job, data, trust, console.counting), console)


def compress(
    package: str,
    data: str | Path,
    method: str,
    output: str | Path,
    console: Console | None = None,
    *,
    trust: bool = False,
) -> Result:
    """Return the run that made of a finished package a compressed one, by its own job: on the same parts of the data.

    :param package: folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    :param data: that it was trained on; what a method trains again, it trains on its training part.
    :param method: as `--compress` takes it: `int8`, `prune:0.5,int8`.
    :param output: the new run's folder.
    :param trust: also load what is built by code of a repository, which runs that code.
    """
    return finetune(derived.compressed(package, data, method, output), console, trust=trust)


def blend(
    packages: Sequence[str],
    data: str | Path,
    output: str | Path,
    console: Console | None = None,
    *,
    greedy: bool = False,
    trust: bool = False,
) -> Result:
    """Return the run that made one package of several, whose weights it averages (`hubft.run.soup`).

    :param packages: folders of runs or of packages, or owner/name on the Hugging Face Hub: of one base and one task.
    :param data: on whose validation part it is measured.
    :param greedy: take only those that make that no worse.
    :raises HubftError: fewer than two packages, or such as make no soup; as `finetune`.
    """
    return finetune(derived.blended(packages, data, output, greedy), console, trust=trust)


def ready(
    job: Job, data: Data | None, trust: bool, counting: Counting = nobody, code: Mapping[str, str] | None = None
) -> Prepared:
    """Return what a run needs, its teacher too, if it has one; nothing is written.

    :param code: sha256 by name of the files of foreign code that may run; those that are there, if None.
    """
    with trusting(trust, code):
        prepared = prepare(job, data, trust, counting)
    soup.check(prepared)
    with counting("trying a step", None):
        prepared = trying.tried(prepared)
    name = prepared.job.teaching.teacher
    return teaching.joined(prepared, load.filled(load.package(name), trust)) if name else prepared


def _run(prepared: Prepared, run: Run, console: Console) -> Result:
    """Do what is left of a run; a disk that is full ends it so that it can go on."""
    cure = f"make room, or mend that, and go on with: {run.resumed_by()}"
    with Journal(run, console) as journal, writing(run.folder, cure):
        return _finish(prepared, journal, console)


def _finish(prepared: Prepared, journal: Journal, console: Console) -> Result:
    run, began, asked = journal.run, time.perf_counter(), prepared.job
    introduce(prepared, run, console)
    prepared, plan, solved = settle(prepared, run, console)
    prepared = sharding.begun(prepared)
    with prepared.runtime.using_threads():
        mixed = soup.mixed(prepared, lambda name: load.filled(load.package(name), trust=True), console)
        teacher = teaching.measured(prepared, console) if prepared.teacher else None
        untrained = before.measured(prepared)
        prepared, outcome, proof, way = fit(prepared, journal, plan, console)
        held_out = prepared.data.task.score(*outcome)
        problem = "" if plan.probe else diverged(prepared, run.history(), held_out.loss)
        parted = diagnosis.parted(prepared, run.history(), held_out)
        seconds = time.perf_counter() - began
        without = problem or _without(prepared, asked, run, console)
        prepared, outcome = tuning.settled(prepared, outcome)
        done = compressing.compress(prepared, outcome, asked, run, console)
        prepared, task = done.prepared, done.prepared.data.task
        metrics = task.measure(*done.outcome)
        model = prepared.loaded.model
        tested = task.measure(*training.outcome(prepared, model, testing(prepared))) if prepared.data.test else None
        compared = beside.compared(prepared, teacher, done.outcome, without) if teacher else None
        grown = before.compared(prepared, untrained, done.outcome)
        further = beyond.compared(prepared, solved, done.outcome)
    held = done.uncompressed if done.held != "none" else None
    result = Result(run, metrics, held, tested, done.steps, compared, grown, way, mixed, further)
    told = [parted, *task.diagnosis(metrics, done.outcome[1])]
    results = left.results(prepared, result, plan, seconds) | diagnosis.plain(told, run.history())
    pictures = reporting.keep(prepared, done.outcome, run, results, metrics, console)
    if problem and not asked.keep_anyway:
        reporting.written(run, console)
        raise Diverged(
            f"{problem}. No package was made; try a lower ",
            Option("lr"),
            f" than {prepared.job.recipe.lr:.2g}. What was trained is in {run.folder}; to package it all the same: "
            f"{run.resumed_by('--keep-anyway')}",
        )
    diagnosis.tell(results, problem, console)
    model.cpu().to(memory_format=torch.contiguous_format)
    packaged = replace(prepared, job=replace(asked, compress=done.held))
    found = left.package_of(packaged, result, plan, proof, done, pictures)
    load.proved(found, True, console.counting)
    (run.folder / keeping.FILE).unlink(missing_ok=True)
    reporting.written(run, console)
    return result


def _without(prepared: Prepared, asked: Job, run: Run, console: Console) -> nn.Module | str:
    """Return the same model as it is without a teacher, trained here where it is not yet; or why there is none."""
    found = beside.trained(
        prepared,
        run,
        begin=lambda: finetune(beside.job(prepared, asked, run), console, prepared.data, trust=True),
        go_on=lambda folder: resume(folder, console, prepared.data, moved_to=asked.data),
        console=console,
    )
    return found if isinstance(found, str) else load.model(load.package(found.package), trust=True)
