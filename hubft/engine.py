"""A run, as a table of contents: prepared, trained, measured, compressed, reported, packaged."""

from __future__ import annotations

import json
import math
import time
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
from hubft.images import transforms
from hubft.images.dataset import Images
from hubft.job import Job
from hubft.publish import package, selftest
from hubft.run import report, resuming
from hubft.run.folder import Run
from hubft.run.phases import testing
from hubft.run.plan import Plan, settle
from hubft.run.prepare import Prepared, prepare
from hubft.run.safeguard import diverged, few, mend, no_better_than
from hubft.run.training import measure, train
from hubft.share import load
from hubft.train import frozen, loop

CALIBRATION = 256  # training images that `compress` may look at


@dataclass(frozen=True)
class Result:
    run: Run
    metrics: dict[str, Any]
    """Of the packaged model on the validation images, as `metrics.classification` gives them."""
    uncompressed: dict[str, Any] | None
    """The same before compression, where there was one."""
    test: dict[str, Any] | None = None
    """The same on the test part of the data, where there is one: measured once, when all is done."""


def finetune(job: Job, console: Console | None = None, images: Images | None = None, *, trust: bool = False) -> Result:
    """Return a finished run: trained, measured, reported, packaged.

    :param images: of the job, where they were read already.
    :param trust: also start from a package that is the fine-tune of a torch.hub repository, which runs its code.
    :raises HubftError: bad input, before anything is written; a run that must not go on.
    :raises Diverged: training left a model that is worse than none; the run is there, without a package.
    :raises Stopped: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    plugins.find(job.family, typed=True)
    with draws.preserved():
        with writing(Path(job.output or "runs"), "nothing was written; make room, or name another --output"):
            prepared = prepare(job, images, trust)
            run = Run.create(prepared.job, prepared.images.facts())
        return _run(prepared, run, console or Console(quiet=True))


def resume(
    folder: Path,
    console: Console | None = None,
    images: Images | None = None,
    *,
    data: Path | None = None,
    keep_anyway: bool = False,
) -> Result:
    """Return the finished run of a folder, gone on with from its newest intact checkpoint, to the same bits.

    :param images: of the run, where `resuming.images` gave them already.
    :param data: where the images are now, if they were moved; written to its job.json.
    :param keep_anyway: make the package although training diverged; written there too.
    :raises CheckpointError: no run, one that is finished, or one whose data changed.
    """
    run = Run(folder)
    job = resuming.job(run, data, keep_anyway)
    images = images or resuming.images(run, job)
    with draws.preserved():
        with writing(run.folder, f"make room, or mend that, and type it again: {run.resumed_by()}"):
            prepared = prepare(job, images, trust=True)  # given when the run was begun
            if job != run.job():
                run.write_job(job)
        return _run(prepared, run, console or Console(quiet=True))


def _run(prepared: Prepared, run: Run, console: Console) -> Result:
    """Do what is left of a run; a disk that is full ends it so that it can go on."""
    with writing(run.folder, f"make room, or mend that, and go on with: {run.resumed_by()}"):
        return _finish(prepared, run, console)


def _finish(prepared: Prepared, run: Run, console: Console) -> Result:
    _introduce(prepared, run, console)
    began, asked = time.perf_counter(), prepared.job
    prepared, plan = settle(prepared, run, console)
    with prepared.runtime.using_threads():
        metrics, proof = _fit(prepared, run, plan, console)
        problem = "" if plan.probe else diverged(prepared, run.history(), metrics["loss"])
        seconds = time.perf_counter() - began
        model, forward = prepared.loaded.model, prepared.loaded.forward
        calibration = few(prepared, CALIBRATION, prepared.exact)
        model = prepared.pm.hook.compress(model=model, method=asked.compress, batches=calibration, forward=forward)
        uncompressed = metrics if asked.compress != "none" else None
        if uncompressed:
            metrics = measure(prepared, model)
        tested = measure(prepared, model, testing(prepared)) if prepared.images.test else None
    result = Result(run, metrics, uncompressed, tested)
    numbers = {
        "metrics": metrics,
        "uncompressed": uncompressed,
        "test": tested,
        "probe": plan.probed,
        "seconds": seconds,
        "quarantined": prepared.images.quarantined,
    }
    report.write(run.report, run.history(), prepared.images.classes, numbers)
    if problem and not asked.keep_anyway:
        raise Diverged(
            f"{problem}. No package was made; try a lower ",
            Option("lr"),
            f" than {prepared.job.recipe.lr:.2g}. What was trained is in {run.folder}; to package it all the same: "
            f"{run.resumed_by('--keep-anyway')}",
        )
    if problem:
        console.say(f"note: {problem}; it is packaged because of --keep-anyway")
    elif usual := no_better_than(prepared, metrics):
        console.say(f"note: it gets no more right than a model that always says {usual!r}, the most frequent class")
    model = model.cpu().to(memory_format=torch.contiguous_format)
    _package(replace(prepared, job=asked), result, plan, model, proof)
    return result


def _fit(prepared: Prepared, run: Run, plan: Plan, console: Console) -> tuple[dict[str, Any], dict[str, str]]:
    """Train to the end; return the metrics of the last state, and the proof of what was frozen to the end."""
    job, model = prepared.job, prepared.loaded.model
    solved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = loop.start(prepared.loaded, job.recipe, prepared.runtime, job.head.outputs)
    if job.recipe.epochs:
        metrics = train(prepared, run, state, console)
    else:  # all but the head is as it was loaded
        loop.begin_epoch(prepared.pm, state, replace(job.recipe, train="head"), 0.0)
        metrics = plan.probed
    if state.average:
        state.average.keep()
    if mend(prepared, run.history(), plan.probe, solved, console):
        metrics = None
    frozen.verify(model, state.proof)
    if state.proof:
        console.say(f"proved   not a bit moved in the {len(state.proof)} tensors that were frozen to the end")
    metrics = metrics or measure(prepared, model)
    if not math.isfinite(metrics["loss"]):
        raise Diverged("training diverged: the model gives no finite numbers; no package was made: try a lower --lr")
    return metrics, state.proof


def _introduce(prepared: Prepared, run: Run, console: Console) -> None:
    images, job = prepared.images, prepared.job
    console.say(
        f"{job.reference} on {len(images.train)} training and {len(images.val)} validation images"
        f"{f', and {len(images.test)} test images,' if images.test else ''} of {len(images.classes)} classes, "
        f"{prepared.runtime.device} -> {run.folder}"
    )
    for path, reason in list(images.quarantined.items())[:5]:
        console.say(f"left out {path!r}: {reason}")
    if len(images.quarantined) > 5:
        console.say(f"and {len(images.quarantined) - 5} more, listed in {run.report / 'results.json'}")
    for note in images.notes:
        console.say(f"note: {note}")
    if images.white:
        console.say(f"16-bit grey from 0, black, to {prepared.loaded.preprocess.white}, white; --white sets it")


def _package(prepared: Prepared, result: Result, plan: Plan, model: nn.Module, frozen: dict[str, str]) -> None:
    loaded = prepared.loaded
    others = {"uncompressed": result.uncompressed, "test": result.test}
    manifest = package.Manifest(
        job=prepared.job,
        classes=prepared.images.classes,
        preprocess=loaded.preprocess,
        base=loaded.base,
        metrics=result.metrics | {name: found for name, found in others.items() if found},
        data=_data(prepared),
        frozen={"tensors": len(frozen), "sha256": digest.of_state(frozen)},
        settled=plan.settled(),
        versions=prepared.versions,
    )
    transform = transforms.evaluation(loaded.preprocess)
    proof = selftest.make(replace(loaded, model=model), transform)
    files = {package.PICTURE: (result.run.report / report.MATRIX).read_bytes(), **extras(loaded, manifest)}
    manifest = package.write(result.run.package, manifest, model.state_dict(), proof, prepared.base, files)
    found = package.Package(result.run.package, manifest)  # written, read back and hashed a moment ago
    load.proved(found, trust=True)


def _data(prepared: Prepared) -> dict[str, Any]:
    """Return the fingerprints of the images, with a record of those that were trained on, here or in packages below."""
    train = seen.record((sample.sha256 for sample in prepared.images.train), prepared.seen)
    return {**prepared.data, "train": {**prepared.data["train"], **train}}


def extras(loaded: Loaded, manifest: package.Manifest) -> dict[str, bytes]:
    """Return config.json with its bytes, where the library of the family loads such a package without hubft."""
    if not loaded.config or manifest.job.package != "full":
        return {}
    labels = {"label_names": list(manifest.classes)} if "label_names" in loaded.config else {}
    return {package.CONFIG: (json.dumps({**loaded.config, **labels}, indent=1, allow_nan=False) + "\n").encode()}
