"""A run whose loss is no number any more: done again from its newest checkpoint, to see where that began.

Looking for it in every step would make all runs wait for it. A run can be done again to the same bits instead, so a run
that broke is: up to the step that broke it, this time with a look at what each module gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

from torch import Tensor, nn

from hubft.base.batches import leaves
from hubft.base.console import Console
from hubft.base.errors import NotFinite, Option
from hubft.base.files import write_json
from hubft.run import plan, teaching
from hubft.run.folder import Run
from hubft.run.phases import phases
from hubft.run.prepare import Prepared
from hubft.train import checkpoint, loader, loop, states

FILE = "nonfinite.json"
SHOWN = 3  # samples of the batch that the message names


class Watch:
    """What was seen of the modules of a model in the step that is being done."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {module: name or "the model" for name, module in model.named_modules()}
        self.begin()

    def begin(self) -> None:
        """Forget the last step."""
        self.odd, self.good, self.samples = "", False, False

    def __call__(self, module: nn.Module, given: Any, found: Any) -> None:
        """Note the first module whose output is not finite, and whether what it was given was not."""
        if self.odd:
            return
        if finite(found):
            self.good = True
            return
        name = f"{self.names[module]} ({type(module).__name__})"
        if finite(given):
            self.odd = f"the first output that is not finite is that of {name}"
        elif self.good:
            self.odd = f"what comes to {name} is not finite, and every module before it gave finite numbers"
        else:
            self.odd, self.samples = f"the samples are not finite, as {name} is given them", True


def explained(prepared: Prepared, run: Run, begun: Mapping[str, Tensor], told: NotFinite) -> NotFinite:
    """Return what broke a run: the step, the first module whose output was not finite, the samples of its batch, and
    what to try; or what was told, where the run does not break again.

    :param begun: the state of the model before training.
    """
    eager = replace(prepared.job.compute, compile="off")  # what is compiled calls no hooks
    prepared = replace(prepared, job=replace(prepared.job, compute=eager))
    states.put(prepared.loaded.model, begun)
    recipe, lessons = prepared.job.recipe, teaching.lessons(prepared)
    state = loop.start(prepared.loaded, recipe, prepared.runtime, prepared.data.task, lessons)
    state.parts = plan.noted(run)
    newest, _ = checkpoint.newest(run.checkpoints)
    if newest:
        checkpoint.restore(newest, state)
    with watching(state.model) as watch:
        for step, indices in _steps(prepared, state, watch):
            if not finite(step.loss) or not (state.scaler.is_enabled() or finite(step.norms)):
                return _told(prepared, run, step, watch, [prepared.data.train[i].place for i in indices])
    return told


def _steps(prepared: Prepared, state: loop.State, watch: Watch) -> Iterator[tuple[loop.Step, Sequence[int]]]:
    """Yield the steps that are left, each with the numbers of its samples."""
    recipe, quiet = prepared.job.recipe, Console(quiet=True)
    per_epoch = loader.steps_per_epoch(len(prepared.data.train), recipe.batch_size)
    for phase in phases(prepared):
        if state.step >= phase.epochs.stop * per_epoch:
            continue
        seen = teaching.inputs(prepared, phase, state.step, quiet)
        sampler = seen.batches.batch_sampler  # type: ignore[attr-defined]
        order = list(loader.steps(list(sampler), sampler))
        done = loop.fit(prepared.pm, state, recipe, seen.batches, prepared.runtime, seen.feed)
        for own in order:
            watch.begin()
            step = next(done)
            yield step, [sample for _, sample in chain(*prepared.ranks.joined(own))]


def _told(prepared: Prepared, run: Run, step: loop.Step, watch: Watch, places: Sequence[str]) -> NotFinite:
    """Return the error of a step, and write it with the places of all its samples.

    :param places: of the samples of its batch.
    """
    odd = {stage for stage, norm in zip(step.stages, step.norms.tolist(), strict=True) if not math.isfinite(norm)}
    gradient = f"all modules give finite numbers, and the gradient of {', '.join(sorted(odd))} is not finite"
    what = watch.odd or (gradient if odd else "all modules give finite numbers, and the loss makes none of them")
    loss, file = step.loss.item(), run.folder / FILE
    if prepared.ranks.first:
        write_json(file, {"step": step.number, "loss": str(loss), "seen": what, "samples": list(places)})
    more = f" and {len(places) - SHOWN} more, listed in {file}" if len(places) > SHOWN else ""
    job, many = prepared.job, f"{prepared.data.word}s"
    cure: tuple[str | Option, ...] = ("try a lower ", Option("lr"), f" than {job.recipe.lr:.2g}")
    if job.compute.precision != "fp32":
        cure = (*cure, ", or ", Option("precision"), f" fp32 in place of {job.compute.precision}")
    if watch.samples:
        cure = (f"mend these {many}, or take them out",)
    return NotFinite(step.number, loss, f": {what}; its {many}: {', '.join(places[:SHOWN])}{more}; ", *cure)


@contextmanager
def watching(model: nn.Module) -> Iterator[Watch]:
    """Give what notes which module's output is not finite first: a module is seen before those around it."""
    watch = Watch(model)
    hooks = [module.register_forward_hook(watch) for module in model.modules()]
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


def finite(tree: Any) -> bool:
    """Tell whether all floating numbers of a tree of tensors are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in leaves(tree) if tensor.is_floating_point())
