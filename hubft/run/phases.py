"""A run in phases, each with its own frozen part. What is frozen in front is computed once, where that saves work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft import modality
from hubft.base.batches import rows
from hubft.cut import cut, sharing
from hubft.cut.features import Cache, Features
from hubft.cut.feed import Cut
from hubft.cut.provenance import Source, prefix
from hubft.families import stages
from hubft.hookspecs import Batch
from hubft.machine.ranks import Ranks
from hubft.machine.runtime import DTYPES, Runtime
from hubft.modality import Sample, Views
from hubft.run.prepare import Prepared
from hubft.train import loader
from hubft.train.loop import Feed

RECORDED = 3  # images on which the calls of a model are recorded
PROOF = 8  # images on which a step on features must give what a step on the whole model gives
TOLERANCE = {"fp32": 1e-3, "fp16": 0.01, "bf16": 0.05}
"""How far such a step may be off, as a share of the largest number, by the precision of the features."""
UNCUT = "nothing leading is frozen"


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs in which the same parameters train."""

    epochs: range
    live: frozenset[str]
    """Names of the parameters that train."""


@dataclass(frozen=True)
class Inputs:
    """What a phase trains on and is measured on."""

    batches: Iterable[Batch]
    validation: Iterable[Batch]
    feed: Feed
    """Makes of a batch's inputs what the model is called with."""
    note: str = ""
    """What a user should know of it."""


def phases(prepared: Prepared) -> list[Phase]:
    """Return the phases of the run: the hook `freeze` is asked for every epoch."""
    recipe = prepared.job.recipe
    ask = prepared.pm.hook.freeze
    live = [
        frozenset(ask(loaded=prepared.loaded, train=recipe.train, progress=epoch / recipe.epochs))
        for epoch in range(recipe.epochs)
    ]
    groups = [list(group) for _, group in groupby(range(recipe.epochs), key=live.__getitem__)]
    return [Phase(range(group[0], group[-1] + 1), live[group[0]]) for group in groups]


def inputs(prepared: Prepared, phase: Phase, step: int) -> Inputs:
    """Return what the phase computes on from `step` on: cached features of its frozen part where they save work.

    While the model can be cut, epochs go through the same few views of an image whether these are cached or not: what
    the cache has room for changes no result.
    """
    job = prepared.job
    found = UNCUT if job.recipe.augment == "strong" or job.compute.shard else find(prepared, phase.live)
    if isinstance(found, str):
        return whole(prepared, phase, step, 0, "" if found == UNCUT else f"its frozen part runs every time: {found}")
    if not repeats(prepared, phase):
        return whole(prepared, phase, step, job.recipe.views, "")
    views = sorted({epoch % job.recipe.views for epoch in phase.epochs})
    train = features(prepared, found, prepared.training, prepared.forward, views)
    held = features(prepared, found, prepared.validation, prepared.exact, [0])
    if isinstance(train, str) or isinstance(held, str):
        reason = train if isinstance(train, str) else held
        return whole(prepared, phase, step, job.recipe.views, f"its frozen part is not cached: {reason}")
    sampler = _sampler(prepared, phase, step, job.recipe.views)
    note = f"features before {found.entry} {'computed once' if train.computed else 'found in the cache'}, "
    word = prepared.data.word
    hint = ": --views 4 augments three" if job.recipe.augment != "none" else ""
    note += f"{len(views)} views of each {word}" if len(views) > 1 else f"of {word}s as they are{hint}"
    return Inputs(train.batches(sampler), list(held.in_order(job.recipe.batch_size)), found.feed, note)


def repeats(prepared: Prepared, phase: Phase) -> bool:
    """Tell whether a phase shows the model a view twice: then what is frozen in front of it is computed once."""
    return prepared.job.recipe.augment != "strong" and len(phase.epochs) > prepared.job.recipe.views


def whole(prepared: Prepared, phase: Phase, step: int, views: int, note: str) -> Inputs:
    """Return what a phase computes on where the whole model runs.

    :param views: through which the epochs go; 0 gives each its own.
    """
    sampler = _sampler(prepared, phase, step, views)
    return Inputs(loader.batches(prepared.training, sampler, prepared.runtime), validation(prepared), nullcontext, note)


def _sampler(prepared: Prepared, phase: Phase, step: int, views: int) -> loader.Batches:
    recipe, n = prepared.job.recipe, len(prepared.data.train)
    per_epoch = loader.steps_per_epoch(n, recipe.batch_size)
    start, stop = phase.epochs.start * per_epoch, phase.epochs.stop * per_epoch
    weights = balancing(prepared) if recipe.sampler == "balanced" else None
    begin, costs = max(step, start), prepared.training.costs()
    size, runtime = recipe.batch_size, prepared.runtime
    return loader.Batches(n, size, recipe.epochs, recipe.seed, begin, stop, views, weights, costs, runtime)


def balancing(prepared: Prepared) -> Tensor:
    """Return the chance of each training sample, float64, by which an epoch has as many of each stratum."""
    task = prepared.data.task
    first = [next(iter(task.strata(sample.target))) for sample in prepared.data.train]
    counts = Counter(first)
    return torch.tensor([1 / counts[stratum] for stratum in first], dtype=torch.float64)


def validation(prepared: Prepared) -> Iterable[Batch]:
    """Return the held-out images as the model takes them."""
    return _evaluated(prepared, prepared.validation, "validation")


def testing(prepared: Prepared) -> Iterable[Batch]:
    """Return the images of the data's own test part as the model takes them: for one look, when all is done."""
    return _evaluated(prepared, unaugmented(prepared, prepared.data.test), "test")


def unseen(prepared: Prepared) -> Iterable[Batch]:
    """Return the training images that were held out for the task to choose by."""
    return _evaluated(prepared, unaugmented(prepared, prepared.data.tune), "held out")


def _evaluated(prepared: Prepared, views: Views, what: str) -> Iterable[Batch]:
    size = prepared.job.recipe.batch_size
    return loader.in_order(views, size, prepared.exact, counting=prepared.counting, what=what)


def unaugmented(prepared: Prepared, samples: Sequence[Sample]) -> Views:
    """Return samples of the run's data as the evaluation sees them, decoded when they are asked for."""
    data, inputs = prepared.data, prepared.loaded.inputs
    return modality.of(inputs).views(data.source, data.task, samples, inputs)


def find(prepared: Prepared, live: frozenset[str]) -> Cut | str:
    """Return the cut before the first stage with one of these parameters, proved to be right, or why there is none.

    Leaves the model with these parameters trainable, in the modes of training. A run looks for each cut once.
    """
    stages.set_trainable(prepared.loaded.model, live)
    stages.train_mode(prepared.loaded.model)
    key = (live, prepared.runtime.precision, prepared.forward.precision)
    if key not in prepared.cuts:
        prepared.cuts[key] = _found(prepared, live)
    return prepared.cuts[key]


def _found(prepared: Prepared, live: frozenset[str]) -> Cut | str:
    loaded, runtime = prepared.loaded, prepared.runtime
    if prepared.data.task.uncut:
        return prepared.data.task.uncut
    few = unaugmented(prepared, prepared.data.train[:PROOF])
    batch = runtime.to_device(next(iter(loader.in_order(few, PROOF, prepared.exact))))
    other = modality.of(loaded.inputs).other(batch[0], loaded.inputs)
    found = cut.find(loaded, live, rows(batch[0] if other is None else other, 0, RECORDED))
    if isinstance(found, str):
        return found
    if other is not None and not cut.alike(found, batch[0], other):
        return f"what {found.entry} is given depends on the other {prepared.data.word}s of a batch"
    kept = prepared.forward.precision
    with runtime.autocast():
        loosest = max(TOLERANCE[kept], TOLERANCE[runtime.precision])
        criterion = prepared.data.task.criterion()
        return cut.check(prepared.pm, found, criterion, batch, loosest, DTYPES.get(kept)) or found


def features(
    prepared: Prepared, found: Cut, pictures: Views, runtime: Runtime, views: Sequence[int] = ()
) -> Features | str:
    """Return views of pictures as the cut model takes them, from the cache or computed, or why they cannot be had.

    Without `views`, it is the evaluation's, also where `--cache 0` keeps nothing from one epoch to the next.
    """
    wanted = source(prepared, pictures, runtime, prefix(found), found.shape)
    wanted = replace(wanted, dtype=DTYPES.get(runtime.precision, torch.float32), precision=runtime.precision)
    return sharing.get(
        prepared.ranks,
        kept(prepared),
        [replace(wanted, view=view) for view in views or [0]],
        pictures.targets(),
        lambda source, ranks: _compute(prepared, found, pictures, runtime, source, ranks),
        needed=not views,
    )


def kept(prepared: Prepared) -> Cache:
    """Return the cache of the run."""
    compute = prepared.job.compute
    return Cache(compute.cache, Path(compute.cache_folder, "features") if compute.cache_folder else "")


def source(prepared: Prepared, pictures: Views, runtime: Runtime, computed_by: str, shape: tuple[int, ...]) -> Source:
    """Return what the bits of something depend on that is computed of the evaluation's view of pictures, in fp32.

    :param computed_by: sha256 of what computes it.
    :param shape: of it, of a sample.
    """
    recipe = prepared.job.recipe
    return Source(
        prefix=computed_by,
        samples=tuple(sample.sha256 for sample in pictures.samples),
        inputs=prepared.loaded.inputs,
        shape=shape,
        batch_size=recipe.batch_size,
        device=runtime.device,
        seed=recipe.seed,
        augment=recipe.augment,
        memory_format=runtime.memory_format,
    )


@torch.no_grad()
def _compute(
    prepared: Prepared, found: Cut, pictures: Views, runtime: Runtime, source: Source, ranks: Ranks
) -> Iterator[Tensor]:
    runtime.place(found.model)
    try:
        size, view = source.batch_size, source.view
        batches = loader.in_order(pictures, size, runtime, view, prepared.counting, "features")
        yield from sharing.computed(ranks, batches, lambda inputs: _features(found, inputs, runtime))
    finally:
        prepared.runtime.place(found.model)


def _features(found: Cut, batch: Any, runtime: Runtime) -> Tensor:
    with runtime.autocast():
        return found.features(batch)
