"""A run, as a table of contents: prepared, trained, measured, compressed, reported, packaged."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubft.base import digest, draws
from hubft.base.console import Console
from hubft.base.errors import Diverged, Option
from hubft.base.files import writing
from hubft.data import seen
from hubft.families import plugins
from hubft.hookspecs import Loaded
from hubft.job import Job
from hubft.publish import package, selftest
from hubft.run import beside, keeping, outputs, report, resuming, teaching, training
from hubft.run.beside import Beside
from hubft.run.data import Data
from hubft.run.folder import Run
from hubft.run.introduction import introduce
from hubft.run.phases import testing, unseen
from hubft.run.plan import Plan, settle
from hubft.run.prepare import Prepared, prepare
from hubft.run.safeguard import diverged, few, mend
from hubft.share import load
from hubft.tasks.metrics import Metrics
from hubft.train import frozen, loop

CALIBRATION = 256  # training images that `compress` may look at


@dataclass(frozen=True)
class Result:
    run: Run
    metrics: Metrics
    """Of the packaged model on the validation images."""
    uncompressed: Metrics | None
    """The same before compression, where there was one."""
    test: Metrics | None = None
    """The same on the test part of the data, where there is one: measured once, when all is done."""
    beside: Beside | None = None
    """Its teacher and the same model without it, where there was a teacher."""


def finetune(job: Job, console: Console | None = None, data: Data | None = None, *, trust: bool = False) -> Result:
    """Return a finished run: trained, measured, reported, packaged.

    :param data: of the job, where it was read already.
    :param trust: also start from a package that is the fine-tune of a torch.hub repository, which runs its code.
    :raises HubftError: bad input, before anything is written; a run that must not go on.
    :raises Diverged: training left a model that is worse than none; the run is there, without a package.
    :raises Stopped: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    plugins.find(job.family, typed=True)
    with draws.preserved():
        with writing(Path(job.output or "runs"), "nothing was written; make room, or name another --output"):
            prepared = _prepared(job, data, trust)
            run = Run.create(prepared.job, prepared.data.facts())
        return _run(prepared, run, console or Console(quiet=True))


def resume(
    folder: Path,
    console: Console | None = None,
    data: Data | None = None,
    *,
    moved_to: Path | None = None,
    keep_anyway: bool = False,
) -> Result:
    """Return the finished run of a folder, gone on with from its newest intact checkpoint, to the same bits.

    :param data: of the run, where `resuming.data` gave it already.
    :param moved_to: where the data is now, if it was moved; written to its job.json.
    :param keep_anyway: make the package although training diverged; written there too.
    :raises CheckpointError: no run, one that is finished, or one whose data changed.
    """
    run = Run(folder)
    job = resuming.job(run, moved_to, keep_anyway)
    data = data or resuming.data(run, job)
    with draws.preserved():
        with writing(run.folder, f"make room, or mend that, and type it again: {run.resumed_by()}"):
            prepared = _prepared(job, data, trust=True)  # given when the run was begun
            if job != run.job():
                run.write_job(job)
        return _run(prepared, run, console or Console(quiet=True))


def _prepared(job: Job, data: Data | None, trust: bool) -> Prepared:
    """Return what a run needs, its teacher too, if it has one."""
    prepared = prepare(job, data, trust)
    name = prepared.job.teaching.teacher
    return teaching.joined(prepared, load.filled(load.package(name), trust)) if name else prepared


def _run(prepared: Prepared, run: Run, console: Console) -> Result:
    """Do what is left of a run; a disk that is full ends it so that it can go on."""
    with writing(run.folder, f"make room, or mend that, and go on with: {run.resumed_by()}"):
        return _finish(prepared, run, console)


def _finish(prepared: Prepared, run: Run, console: Console) -> Result:
    introduce(prepared, run, console)
    began, asked = time.perf_counter(), prepared.job
    prepared, plan = settle(prepared, run, console)
    with prepared.runtime.using_threads():
        teacher = teaching.measured(prepared, console) if prepared.teacher else None
        outcome, proof = _fit(prepared, run, plan, console)
        loss = prepared.data.task.score(*outcome).loss
        problem = "" if plan.probe else diverged(prepared, run.history(), loss)
        seconds = time.perf_counter() - began
        without = problem or _without(prepared, asked, run, console)
        prepared, outcome = _in_units(prepared, outcome)
        task, targets = prepared.data.task, outcome[1]
        metrics = task.measure(*outcome)
        model, forward = prepared.loaded.model, prepared.loaded.forward
        calibration = few(prepared, CALIBRATION, prepared.exact)
        model = prepared.pm.hook.compress(model=model, method=asked.compress, batches=calibration, forward=forward)
        uncompressed = metrics if asked.compress != "none" else None
        if uncompressed:
            outcome = training.outcome(prepared, model)
            metrics = task.measure(*outcome)
        tested = task.measure(*training.outcome(prepared, model, testing(prepared))) if prepared.data.test else None
        compared = beside.compared(prepared, teacher, outcome, without) if teacher else None
    result = Result(run, metrics, uncompressed, tested, compared)
    results = _results(prepared, result, plan, seconds)
    pictures = report.write(run.report, run.history(), task, results, metrics)
    if problem and not asked.keep_anyway:
        raise Diverged(
            f"{problem}. No package was made; try a lower ",
            Option("lr"),
            f" than {prepared.job.recipe.lr:.2g}. What was trained is in {run.folder}; to package it all the same: "
            f"{run.resumed_by('--keep-anyway')}",
        )
    if problem:
        console.say(f"note: {problem}; it is packaged because of --keep-anyway")
    elif usual := task.no_better(metrics, targets):
        console.say(f"note: {usual}")
    model = model.cpu().to(memory_format=torch.contiguous_format)
    _package(replace(prepared, job=asked), result, plan, model, proof, pictures)
    return result


def _results(prepared: Prepared, result: Result, plan: Plan, seconds: float) -> dict[str, Any]:
    """Return what results.json holds, JSON types."""
    return {
        "classes": list(prepared.data.task.names),
        "metrics": result.metrics.plain(),
        "uncompressed": result.uncompressed and result.uncompressed.plain(),
        "test": result.test and result.test.plain(),
        "beside": result.beside and result.beside.plain(),
        "probe": plan.probed,
        "seconds": seconds,
        "quarantined": dict(prepared.data.quarantined),
    }


def _without(prepared: Prepared, asked: Job, run: Run, console: Console) -> nn.Module | str:
    """Return the same model as it is without a teacher, trained here where it is not yet; or why there is none."""
    found = beside.trained(
        prepared,
        run,
        begin=lambda: finetune(beside.job(prepared, asked, run), console, prepared.data, trust=True),
        go_on=lambda folder: resume(folder, console, prepared.data, moved_to=Path(asked.data)),
        console=console,
    )
    return found if isinstance(found, str) else load.model(load.package(found.package), trust=True)


def _in_units(prepared: Prepared, outcome: training.Outcome) -> tuple[Prepared, training.Outcome]:
    """Return what was prepared with the task and the model that a package holds, and what that gives.

    What the training rows tell that were held out is settled here, and the outputs get the user's unit.
    """
    data, loaded = prepared.data, prepared.loaded
    task = data.task
    if data.tune:
        task = task.tuned(*training.outcome(prepared, loaded.model, unseen(prepared)))
    folded = outputs.fold(loaded, task)
    changed = folded != task
    prepared = replace(prepared, data=replace(data, task=folded))
    return prepared, training.outcome(prepared, loaded.model) if changed else outcome


def _fit(prepared: Prepared, run: Run, plan: Plan, console: Console) -> tuple[training.Outcome, dict[str, str]]:
    """Train to the end; return what the last state gives for the validation images, and the proof of what was frozen
    to the end."""
    job, model = prepared.job, prepared.loaded.model
    solved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lessons = teaching.lessons(prepared)
    state = loop.start(prepared.loaded, job.recipe, prepared.runtime, prepared.data.task, lessons)
    outcome = None
    if job.recipe.epochs:
        outcome = training.train(prepared, run, state, console)
    else:  # all but the head is as it was loaded
        loop.begin_epoch(prepared.pm, state, replace(job.recipe, train="head"), 0.0)
    if state.average:
        state.average.keep()
    if mend(prepared, run.history(), plan.probe, solved, console):
        outcome = None
    frozen.verify(model, state.proof)
    if state.proof:
        console.say(f"proved   not a bit moved in the {len(state.proof)} tensors that were frozen to the end")
    proof = state.proof
    if job.recipe.keep == "best" and job.recipe.epochs:
        epoch = keeping.restore(run.folder, model)
        console.say(f"kept     epoch {epoch} of {job.recipe.epochs}, chosen on the validation images")
        proof, outcome = frozen.same(model, proof), None
    outcome = outcome or training.outcome(prepared, model)
    if not math.isfinite(prepared.data.task.score(*outcome).loss):
        raise Diverged("training diverged: the model gives no finite numbers; no package was made: try a lower --lr")
    return outcome, proof


def _package(
    prepared: Prepared, result: Result, plan: Plan, model: nn.Module, frozen: dict[str, str], pictures: Sequence[Path]
) -> None:
    loaded = prepared.loaded
    others = {"uncompressed": result.uncompressed, "test": result.test}
    beside = {"beside": result.beside.plain(public=True)} if result.beside else {}
    task = prepared.data.task
    manifest = package.Manifest(
        job=prepared.job,
        task=task,
        inputs=loaded.inputs,
        base=loaded.base,
        metrics=result.metrics.public() | {name: found.public() for name, found in others.items() if found} | beside,
        data=_data(prepared),
        frozen={"tensors": len(frozen), "sha256": digest.of_state(frozen)},
        settled=plan.settled(),
        versions=prepared.versions,
    )
    proof = selftest.make(replace(loaded, model=model))
    files = {**extras(loaded, manifest), **({package.PICTURE: pictures[0].read_bytes()} if pictures else {})}
    manifest = package.write(result.run.package, manifest, model.state_dict(), proof, prepared.base, files)
    found = package.Package(result.run.package, manifest)  # written, read back and hashed a moment ago
    load.proved(found, trust=True)
    (result.run.folder / keeping.FILE).unlink(missing_ok=True)


def _data(prepared: Prepared) -> dict[str, Any]:
    """Return the fingerprints of the images, with a record of those that were trained on, here or in packages below."""
    train = seen.record((sample.sha256 for sample in prepared.data.train), prepared.seen)
    return {**prepared.fingerprint, "train": {**prepared.fingerprint["train"], **train}}


def extras(loaded: Loaded, manifest: package.Manifest) -> dict[str, bytes]:
    """Return config.json with its bytes, where the library of the family loads such a package without hubft."""
    if not loaded.config or manifest.job.package != "full":
        return {}
    labels = {"label_names": list(manifest.task.names)} if "label_names" in loaded.config else {}
    return {package.CONFIG: (json.dumps({**loaded.config, **labels}, indent=1, allow_nan=False) + "\n").encode()}
