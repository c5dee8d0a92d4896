"""A run, as a table of contents: prepared, trained, measured, compressed, reported, packaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubft import digest, load
from hubft.console import Console
from hubft.errors import CheckpointError, Stopped
from hubft.hookspecs import Batch, Loaded
from hubft.job import Job
from hubft.prepare import Prepared, prepare
from hubft.publish import package, selftest
from hubft.train import checkpoint, draws, frozen, loader, loop, metrics, pixels, recipe, report, transforms
from hubft.train.run import Run, StopRequest

CALIBRATION = 256  # training images that `compress` may look at


@dataclass(frozen=True)
class Result:
    run: Run
    metrics: dict[str, Any]
    """Of the packaged model on the validation images, as `metrics.classification` gives them."""
    uncompressed: dict[str, Any] | None
    """The same before compression, where there was one."""


def finetune(job: Job, console: Console | None = None) -> Result:
    """Return a finished run: trained, measured, reported, packaged.

    :raises HubftError: bad input, before anything is written; a run that must not go on.
    :raises Stopped: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    with draws.preserved():
        prepared = prepare(job)
        return _run(prepared, Run.create(prepared.job), console or Console(quiet=True))


def resume(folder: Path, console: Console | None = None) -> Result:
    """Return the finished run of a folder, gone on with from its newest intact checkpoint, to the same bits.

    :raises CheckpointError: no run, one that is finished, or one whose data changed.
    """
    run = Run(folder)
    job = run.job()
    if run.package.exists():
        raise CheckpointError(f"{str(folder)!r} is finished: its package is {run.package}")
    with draws.preserved():
        return _run(prepare(job), run, console or Console(quiet=True))


def _run(prepared: Prepared, run: Run, console: Console) -> Result:
    job, images = prepared.job, prepared.images
    _introduce(prepared, run, console)
    state = loop.start(prepared.loaded, job.recipe, prepared.runtime, job.task.outputs)
    meter = _restore(prepared, run, state, console)
    metrics = _train(prepared, run, state, meter, console)
    if state.average:
        state.average.keep()
    frozen.verify(state.model, state.proof)
    if state.proof:
        console.say(f"proved   not a bit moved in the {len(state.proof)} tensors that were frozen to the end")
    metrics = metrics or _measure(prepared, state.model)
    model = prepared.pm.hook.compress(model=state.model, method=job.compress, batches=_calibration(prepared))
    uncompressed = metrics if job.compress != "none" else None
    if uncompressed:
        metrics = _measure(prepared, model)
    result = Result(run, metrics, uncompressed)
    numbers = {"metrics": metrics, "uncompressed": uncompressed, "quarantined": images.quarantined}
    report.write(run.report, run.history(), images.classes, numbers)
    _package(prepared, result, model.cpu(), state.proof)
    return result


def _introduce(prepared: Prepared, run: Run, console: Console) -> None:
    images, job = prepared.images, prepared.job
    console.say(
        f"{job.reference} on {len(images.train)} training and {len(images.val)} validation images of "
        f"{len(images.classes)} classes, {prepared.runtime.device}, {prepared.runtime.precision} -> {run.folder}"
    )
    for path, reason in list(images.quarantined.items())[:5]:
        console.say(f"left out {path}: {reason}")
    if len(images.quarantined) > 5:
        console.say(f"and {len(images.quarantined) - 5} more, listed in {run.report / 'results.json'}")
    for note in images.notes:
        console.say(f"note: {note}")


def _restore(prepared: Prepared, run: Run, state: loop.State, console: Console) -> loop.Meter:
    newest, skipped = checkpoint.newest(run.checkpoints)
    for line in skipped:
        console.say(line)
    if newest is None:
        run.rewind(0)
        return loop.Meter()
    meta = checkpoint.restore(newest, state)
    if meta["data"] != prepared.data:
        raise CheckpointError(f"the images in {prepared.job.data!r} are not those of the run: bring them back")
    prepared.runtime.scaler.load_state_dict(meta["scaler"])
    run.rewind(state.step)
    console.say(f"going on from {newest.name}")
    if meta["versions"] != prepared.versions:
        console.say(f"note: it was written with {meta['versions']}: with other versions the bits may differ")
    return loop.Meter(*meta["meter"])


def _train(
    prepared: Prepared, run: Run, state: loop.State, meter: loop.Meter, console: Console
) -> dict[str, Any] | None:
    """Train to the end of the run; return the metrics of its last epoch, if that ended here."""
    recipe, runtime, every = prepared.job.recipe, prepared.runtime, prepared.job.compute.checkpoint_every
    sampler = loader.Batches(len(prepared.images.train), recipe.batch_size, recipe.epochs, recipe.seed, state.step)
    images = prepared.images
    views = pixels.Views(images.folder, images.train, prepared.loaded.preprocess, recipe)
    batches = loader.batches(views, sampler, runtime)
    measured = None
    with StopRequest() as stop, console.bar(sampler.per_epoch * recipe.epochs, state.step) as bar:
        for step in loop.fit(prepared.pm, state, recipe, batches, runtime):
            meter.add(step)
            epoch, into = divmod(step.number, sampler.per_epoch)
            bar.step(step.number, epoch + bool(into), meter)
            if not into:
                measured = _measure(prepared, state.model, state.average)
                line = _line(step, epoch, meter, measured)
                run.log(line)
                console.epoch(line, recipe.epochs)
                meter = loop.Meter()
            if stop.signal or (step.number % every == 0 if every else not into):
                checkpoint.save(run.checkpoints, state, _meta(prepared, meter))
            if stop.signal:
                raise Stopped(stop.signal, str(run.folder))
    return measured


def _line(step: loop.Step, epoch: int, meter: loop.Meter, measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "step": step.number,
        "epoch": epoch,
        "lr": step.lr,
        "loss": meter.loss(),
        "val_loss": measured["loss"],
        "accuracy": measured["accuracy"],
        **{name: float(value) for name, value in step.scalars.items()},
        "images_per_second": meter.rate(),
    }


def _meta(prepared: Prepared, meter: loop.Meter) -> dict[str, Any]:
    return {
        "data": prepared.data,
        "scaler": prepared.runtime.scaler.state_dict(),
        "meter": meter.state(),
        "versions": prepared.versions,
    }


def _measure(prepared: Prepared, model: nn.Module, average: recipe.Average | None = None) -> dict[str, Any]:
    images, job = prepared.images, prepared.job
    views = pixels.Views(images.folder, images.val, prepared.loaded.preprocess)
    batches = loader.in_order(views, job.recipe.batch_size, prepared.runtime)
    with average.applied() if average else nullcontext():
        outputs, targets = loop.evaluate(prepared.pm, model, batches, prepared.runtime)
    return metrics.classification(outputs, targets, images.classes)


def _calibration(prepared: Prepared) -> Iterator[Batch]:
    images, job = prepared.images, prepared.job
    order = torch.randperm(len(images.train), generator=draws.generator("calibration", job.recipe.seed))
    samples = [images.train[i] for i in order[:CALIBRATION].tolist()]
    views = pixels.Views(images.folder, samples, prepared.loaded.preprocess)
    for batch in loader.in_order(views, job.recipe.batch_size, prepared.runtime):
        yield prepared.runtime.to_device(batch)


def _package(prepared: Prepared, result: Result, model: nn.Module, frozen: dict[str, str]) -> None:
    loaded = prepared.loaded
    manifest = package.Manifest(
        job=prepared.job,
        classes=prepared.images.classes,
        preprocess=loaded.preprocess,
        base=loaded.base,
        metrics=result.metrics | ({"uncompressed": result.uncompressed} if result.uncompressed else {}),
        data=prepared.data,
        frozen={"tensors": len(frozen), "sha256": digest.of_state(frozen)},
        versions=prepared.versions,
    )
    transform = transforms.evaluation(loaded.preprocess)
    proof = selftest.make(model, loaded.preprocess, transform)
    files = {package.PICTURE: (result.run.report / report.MATRIX).read_bytes(), **extras(loaded, manifest)}
    manifest = package.write(result.run.package, manifest, model.state_dict(), proof, prepared.base, files)
    found = package.Package(result.run.package, manifest)  # written, read back and hashed a moment ago
    load.proved(found, trust=True)


def extras(loaded: Loaded, manifest: package.Manifest) -> dict[str, bytes]:
    """Return config.json with its bytes, where the library of the family loads such a package without hubft."""
    if not loaded.config or manifest.job.package != "full":
        return {}
    labels = {"label_names": list(manifest.classes)} if "label_names" in loaded.config else {}
    return {package.CONFIG: (json.dumps({**loaded.config, **labels}, indent=1, allow_nan=False) + "\n").encode()}
