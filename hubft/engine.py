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

from hubft import modality
from hubft.base import digest, draws
from hubft.base.console import Console
from hubft.base.errors import Diverged, Option
from hubft.base.files import writing
from hubft.data import seen
from hubft.families import plugins
from hubft.hookspecs import Loaded
from hubft.job import PACKAGE, Job
from hubft.publish import package, selftest, tensors
from hubft.run import compressing, keeping, parent, report, resuming, training, tuning
from hubft.run.data import Data
from hubft.run.folder import Run
from hubft.run.phases import testing
from hubft.run.plan import Plan, settle
from hubft.run.prepare import Prepared, prepare
from hubft.run.safeguard import diverged, mend
from hubft.share import load
from hubft.tasks.metrics import Metrics
from hubft.train import frozen, loop


@dataclass(frozen=True)
class Result:
    run: Run
    metrics: Metrics
    """Of the packaged model on the validation images."""
    uncompressed: Metrics | None
    """The same before compression, where there was one."""
    test: Metrics | None = None
    """The same on the test part of the data, where there is one: measured once, when all is done."""
    steps: tuple[compressing.Step, ...] = ()
    """What each method of `--compress` came to, those that were left out too."""


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
            prepared = prepare(job, data, trust)
            compressing.rehearse(prepared)
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
            prepared = prepare(job, data, trust=True)  # given when the run was begun
            if job != run.job():
                run.write_job(job)
        return _run(prepared, run, console or Console(quiet=True))


def compress(package: str, data: str | Path, method: str, output: str | Path, console: Console | None = None) -> Result:
    """Return the run that made of a finished package a compressed one, by its own job: on the same parts of the data.

    :param package: folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    :param data: that it was trained on; what a method trains again, it trains on its training part.
    :param method: as `--compress` takes it: `int8`, `prune:0.5,int8`.
    :param output: the new run's folder.
    """
    own = parent.named(package).manifest.job
    recipe = replace(own.recipe, epochs=0, probe=False, budget="")
    job = replace(own, reference=f"{PACKAGE}:{package}", data=data, recipe=recipe, compress=method, output=output)
    return finetune(replace(job, package="full", max_drop=None, keep_anyway=False), console, trust=True)


def _run(prepared: Prepared, run: Run, console: Console) -> Result:
    """Do what is left of a run; a disk that is full ends it so that it can go on."""
    with writing(run.folder, f"make room, or mend that, and go on with: {run.resumed_by()}"):
        return _finish(prepared, run, console)


def _finish(prepared: Prepared, run: Run, console: Console) -> Result:
    _introduce(prepared, run, console)
    began, asked = time.perf_counter(), prepared.job
    prepared, plan = settle(prepared, run, console)
    with prepared.runtime.using_threads():
        outcome, proof = _fit(prepared, run, plan, console)
        loss = prepared.data.task.score(*outcome).loss
        problem = "" if plan.probe else diverged(prepared, run.history(), loss)
        seconds = time.perf_counter() - began
        prepared, outcome = tuning.settled(prepared, outcome)
        done = compressing.compress(prepared, outcome, asked, run, console)
        prepared, task = done.prepared, done.prepared.data.task
        metrics = task.measure(*done.outcome)
        model = prepared.loaded.model
        tested = task.measure(*training.outcome(prepared, model, testing(prepared))) if prepared.data.test else None
    result = Result(run, metrics, done.uncompressed if done.held != "none" else None, tested, done.steps)
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
    elif usual := task.no_better(metrics, done.outcome[1]):
        console.say(f"note: {usual}")
    model.cpu().to(memory_format=torch.contiguous_format)
    packaged = replace(prepared, job=replace(asked, compress=done.held))
    _package(packaged, result, plan, proof, done, pictures)
    return result


def _results(prepared: Prepared, result: Result, plan: Plan, seconds: float) -> dict[str, Any]:
    """Return what results.json holds, JSON types."""
    return {
        "classes": list(prepared.data.task.names),
        "metrics": result.metrics.plain(),
        "uncompressed": result.uncompressed and result.uncompressed.plain(),
        "test": result.test and result.test.plain(),
        "compression": [step.plain() for step in result.steps],
        "probe": plan.probed,
        "seconds": seconds,
        "quarantined": dict(prepared.data.quarantined),
    }


def _fit(prepared: Prepared, run: Run, plan: Plan, console: Console) -> tuple[training.Outcome, dict[str, str]]:
    """Train to the end; return what the last state gives for the validation images, and the proof of what was frozen
    to the end."""
    job, model = prepared.job, prepared.loaded.model
    solved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = loop.start(prepared.loaded, job.recipe, prepared.runtime, prepared.data.task)
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


def _introduce(prepared: Prepared, run: Run, console: Console) -> None:
    data, job = prepared.data, prepared.job
    console.say(
        f"{job.reference} on {len(data.train)} training and {len(data.val)} validation images"
        f"{f', and {len(data.test)} test images,' if data.test else ''} {data.task.summary()}, "
        f"{prepared.runtime.device} -> {run.folder}"
    )
    for place, reason in list(data.quarantined.items())[:5]:
        console.say(f"left out {place!r}: {reason}")
    if len(data.quarantined) > 5:
        console.say(f"and {len(data.quarantined) - 5} more, listed in {run.report / 'results.json'}")
    for note in data.notes:
        console.say(f"note: {note}")
    if job.recipe.augment == "strong" and not data.task.mixes:
        console.say(
            f"note: images are not mixed, which has no meaning for {data.task.kind}; --augment strong does the rest"
        )
    for remark in modality.of(prepared.loaded.inputs).remarks(prepared.loaded.inputs, data.train):
        console.say(remark)


def _package(
    prepared: Prepared,
    result: Result,
    plan: Plan,
    proof: dict[str, str],
    done: compressing.Compression,
    pictures: Sequence[Path],
) -> None:
    loaded, state = prepared.loaded, prepared.loaded.model.state_dict()
    frozen = {} if done.tuned else proof
    others = {"uncompressed": result.uncompressed, "test": result.test}
    task = prepared.data.task
    manifest = package.Manifest(
        job=prepared.job,
        task=task,
        inputs=loaded.inputs,
        base=loaded.base,
        metrics=result.metrics.public() | {name: found.public() for name, found in others.items() if found},
        data=_data(prepared),
        frozen={"tensors": len(frozen), "sha256": digest.of_state(frozen)},
        settled=plan.settled(),
        versions=prepared.versions,
        structure=done.structure,
    )
    files = {**extras(loaded, manifest), **({package.PICTURE: pictures[0].read_bytes()} if pictures else {})}
    manifest = package.write(result.run.package, manifest, state, selftest.make(loaded), prepared.base, files)
    found = package.Package(result.run.package, manifest)  # written, read back and hashed a moment ago
    load.proved(found, trust=True)
    (result.run.folder / keeping.FILE).unlink(missing_ok=True)


def _data(prepared: Prepared) -> dict[str, Any]:
    """Return the fingerprints of the images, with a record of those that were trained on, here or in packages below."""
    train = seen.record((sample.sha256 for sample in prepared.data.train), prepared.seen)
    return {**prepared.fingerprint, "train": {**prepared.fingerprint["train"], **train}}


def extras(loaded: Loaded, manifest: package.Manifest) -> dict[str, bytes]:
    """Return config.json with its bytes, where the library of the family loads such a package without hubft."""
    own = not loaded.config or manifest.job.package != "full" or manifest.structure
    if own or tensors.in_int8(loaded.model.state_dict()):
        return {}
    labels = {"label_names": list(manifest.task.names)} if "label_names" in loaded.config else {}
    return {package.CONFIG: (json.dumps({**loaded.config, **labels}, indent=1, allow_nan=False) + "\n").encode()}
