"""A run's training: its phases one after the other, an epoch measured when it is over, checkpoints in between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor, nn

from hubft.base.console import Console
from hubft.base.errors import CheckpointError, Stopped
from hubft.hookspecs import Batch
from hubft.machine.ranks import ALONE, Ranks
from hubft.run import keeping
from hubft.run.folder import Run, StopRequest
from hubft.run.journal import Journal
from hubft.run.phases import Inputs, phases, validation
from hubft.run.prepare import Prepared
from hubft.run.teaching import inputs
from hubft.tasks.metrics import title
from hubft.train import checkpoint, loader, loop, together
from hubft.train.meter import Meter

Outcome = tuple[Tensor, Any]
"""Outputs float32 `[n, outputs]`, and the targets, both on the CPU."""

APART = 1.0
"""Seconds between checkpoints at the least, where they are written after epochs: a head that trains alone, on cached
features, has epochs of ten milliseconds, and a checkpoint takes forty."""


def train(prepared: Prepared, journal: Journal, state: loop.State, console: Console) -> Outcome | None:
    """Train from the newest checkpoint to the end; return what the last state gave, if its epoch ended here.

    Of several processes each calls it. The first one writes, and tells the others what the files of the run say.

    :raises TrainingError: their weights are not the same any more.
    """
    run, recipe, every = journal.run, prepared.job.recipe, prepared.job.compute.checkpoint_every
    meter, ranks = _restore(prepared, run, state, console), prepared.ranks
    per_epoch = loader.steps_per_epoch(len(prepared.data.train), recipe.batch_size)
    steps = per_epoch * recipe.epochs
    measured, saved, headline = None, time.monotonic(), prepared.data.task.headline

    def is_over() -> bool:
        return ranks.same(lambda: keeping.is_over(run.history, headline, recipe))

    with StopRequest() as stop, console.bar(steps, state.step) as bar:
        for phase in phases(prepared):
            over = is_over()  # a run that was killed after its last epoch
            if over or state.step >= phase.epochs.stop * per_epoch:
                continue
            with meter.timing("features"):
                seen = inputs(prepared, phase, state.step, console)
            for step in loop.fit(prepared.pm, state, recipe, seen.batches, prepared.runtime, seen.feed):
                meter.add(step)
                journal.step(step)
                epoch, into = divmod(step.number, per_epoch)
                bar.step(step.number, epoch + bool(into), meter)
                if not into:
                    measured = _epoch_over(prepared, journal, state, seen, _line(step, epoch, meter), meter, console)
                    meter = Meter()
                last, stopped = state.step == steps, ranks.most(stop.signal or 0)
                if stopped or (state.step % every == 0 if every else not into and (last or _due(ranks, saved))):
                    with meter.timing("checkpoints"):
                        _save(prepared, run, state, meter)
                    saved = time.monotonic()
                if stopped:
                    ranks.told(None)  # the checkpoint is there
                    raise Stopped(stopped, str(run.folder))
                if not into and not last and is_over():
                    console.say(f"stopped  no better {title(headline)} in {recipe.patience} epochs")
                    return measured
    return measured


def _due(ranks: Ranks, saved: float) -> bool:
    """Return whether the last checkpoint lies far enough back, by the first process's clock: in shards all write, or
    none does."""
    return ranks.same(lambda: time.monotonic() - saved >= APART)


def _epoch_over(
    prepared: Prepared,
    journal: Journal,
    state: loop.State,
    seen: Inputs,
    line: dict[str, Any],
    meter: Meter,
    console: Console,
) -> Outcome:
    """Return what the model gives at the end of an epoch, which is told, logged, and kept if it is the best."""
    run, recipe, first = journal.run, prepared.job.recipe, prepared.ranks.first
    with meter.timing("evaluation"):
        together.agreed(prepared.ranks, state.model)
        measured = outcome(prepared, state.model, seen.validation, seen.feed, state)
        score = prepared.data.task.score(*measured)
    line |= {"val_loss": score.loss, score.headline: asdict(score.head), "seconds": meter.seconds}
    if first:
        journal.epoch(line)
    console.epoch(line, recipe.epochs, str(score))
    if recipe.keep == "best" and prepared.ranks.same(lambda: _is_best(run, score.headline, line["epoch"])):
        with averaged(state):
            keeping.save(run.folder, state.model, line["epoch"], first)
    return measured


def _is_best(run: Run, headline: str, epoch: int) -> bool:
    return keeping.best(run.history(), headline) == epoch


def averaged(state: loop.State) -> AbstractContextManager[None]:
    """Have the model carry the weights that are evaluated, for the time of a `with`."""
    return state.average.applied() if state.average else nullcontext()


def _save(prepared: Prepared, run: Run, state: loop.State, meter: Meter) -> None:
    """Write a checkpoint: the first process does, or where the model is in shards, all of them."""
    shared = prepared.job.compute.shard
    if shared or prepared.ranks.first:
        checkpoint.save(run.checkpoints, state, _meta(prepared, meter), prepared.ranks if shared else ALONE)


def _restore(prepared: Prepared, run: Run, state: loop.State, console: Console) -> Meter:
    ranks = prepared.ranks
    newest, skipped = ranks.same(lambda: checkpoint.newest(run.checkpoints))
    for line in skipped:
        console.say(line)
    if ranks.first:
        run.rewind(int(newest.name.rpartition("-")[2]) if newest else 0)
    if newest is None:
        return Meter()
    if not newest.exists():
        raise CheckpointError(
            f"{str(newest)!r} is not here: the folder of a run must be on a file system of all machines"
        )
    meta = checkpoint.restore(newest, state)
    if meta["data"] != prepared.fingerprint:
        raise CheckpointError(f"{str(prepared.job.data)!r} is not the data of the run: bring that back")
    if meta.get("teacher", "") != prepared.teacher_sha256:
        raise CheckpointError(
            f"the teacher {prepared.job.teaching.teacher!r} is not the one that the run began with: bring that back"
        )
    console.say(f"going on from {newest.name}")
    if note := _differently(prepared, meta.get("processes", {"number": 1, "exact": False})):
        console.say(note)
    if meta["versions"] != prepared.versions:
        console.say(f"note: it was written with {meta['versions']}: with other versions the bits may differ")
    return Meter(*meta["meter"])


def _differently(prepared: Prepared, before: Mapping[str, Any]) -> str:
    """Return that a run goes on with other processes than it had, and what of its bits that changes; or nothing."""
    now = _processes(prepared)
    if now == before or (now["exact"] and before["exact"]):
        return ""
    return (
        f"note: it was written by {before['number']} processes{' with --exact' if before['exact'] else ''}, and there "
        f"are {now['number']} now: sums of gradients are added in another order, and the last bits may differ"
    )


def _processes(prepared: Prepared) -> dict[str, Any]:
    return {"number": prepared.ranks.world, "exact": prepared.job.compute.exact}


def _line(step: loop.Step, epoch: int, meter: Meter) -> dict[str, Any]:
    """Return what training itself tells of an epoch; its last step's loss is waited for before the clock is read."""
    return {
        "step": step.number,
        "epoch": epoch,
        "lr": step.lr,
        "loss": meter.loss(),
        "gradient_norm": meter.gradients(),
        "images_per_second": meter.rate(),
        **{name: float(value) for name, value in step.scalars.items()},
    }


def _meta(prepared: Prepared, meter: Meter) -> dict[str, Any]:
    return {
        "data": prepared.fingerprint,
        "meter": meter.state(),
        "versions": prepared.versions,
        "teacher": prepared.teacher_sha256,
        "processes": _processes(prepared),
    }


def outcome(
    prepared: Prepared,
    model: nn.Module,
    batches: Iterable[Batch] | None = None,
    feed: loop.Feed = nullcontext,
    state: loop.State | None = None,
) -> Outcome:
    """Return what a model gives for the held-out images: as pixels, or as features in `batches` with their `feed`.

    :param state: of a run, where its averaged weights are to be measured.
    """
    batches = validation(prepared) if batches is None else batches
    with averaged(state) if state else nullcontext():
        loaded = replace(prepared.loaded, model=model)
        return loop.evaluate(prepared.pm, loaded, prepared.data.task, batches, prepared.exact, feed)
