"""The training loop: the only place with `step()`; `backward()` is in `gradient`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pluggy
import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base.batches import concat, count, each, stacked
from hubft.base.errors import FamilyError
from hubft.families import stages
from hubft.hookspecs import Batch, Loaded
from hubft.job import Recipe
from hubft.machine.ranks import ALONE, Ranks
from hubft.machine.runtime import Runtime
from hubft.tasks.task import Task
from hubft.train import frozen, loader, sharded
from hubft.train.decay import Anchor, shrink
from hubft.train.gradient import Gradient, Moving, Parts, mean
from hubft.train.lessons import Lessons
from hubft.train.recipe import Average, optimizer
from hubft.train.schedule import set_lr
from hubft.train.together import together

Feed = Callable[[Any], AbstractContextManager[Any]]
Rates = Callable[[torch.optim.Optimizer, Recipe, int, int], float]
"""(optimizer, recipe, step, steps) -> the head's learning rate, after every group's was set for this step."""
BESIDE = "beside"  # in place of a stage: what trains beside the model


@dataclass
class State:
    """What a run carries from step to step; all of it goes into a checkpoint."""

    loaded: Loaded
    optimizer: torch.optim.Optimizer
    average: Average | None
    scaler: torch.amp.GradScaler
    """Of the loss where a run computes in fp16, whose small gradients would vanish; else it does nothing."""
    task: Task
    lessons: Lessons | None = None
    """Of a teacher, where there is one."""
    anchor: Anchor | None = None
    """What holds the body near its base, where it is asked for."""
    stages: Mapping[Tensor, str] = field(default_factory=dict)
    """Of each parameter of the model."""
    parts: Parts = field(default_factory=Parts)
    """In which the gradient of a batch is computed, where memory ran out."""
    step: int = 0
    """Steps done."""
    proof: dict[str, str] = field(default_factory=dict)
    """Fingerprint of what is frozen now, from the moment it was frozen."""

    @property
    def model(self) -> nn.Module:
        return self.loaded.model

    @property
    def adapters(self) -> nn.Module:
        """What is trained beside the model, and no part of it."""
        return self.lessons.adapters if self.lessons else nn.ModuleList()

    def trained(self) -> dict[str, nn.Parameter]:
        """Return every parameter that the optimizer has, by name; no module of a model has a slash in its name."""
        beside = {f"adapters/{name}": parameter for name, parameter in self.adapters.named_parameters()}
        return {**dict(self.model.named_parameters()), **beside}


@dataclass(frozen=True)
class Step:
    """One training step that was done."""

    number: int
    """Counted from 1 over the whole run."""
    images: int
    loss: Tensor
    """Scalar on the device; reading it waits for the device."""
    lr: float
    scalars: dict[str, Tensor]
    """What else the hook `train_step` gave to log."""
    norms: Tensor
    """float32 `[k]` on the device: of the gradient of each parameter that has one, before it was clipped."""
    stages: Sequence[str]
    """Whose parameter each of them is of."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What waiting for data, the forward and the backward pass with the update took. A device that works behind the
    process knows no passes: there `steps` is what it took to give it the work."""


def start(loaded: Loaded, recipe: Recipe, runtime: Runtime, task: Task, lessons: Lessons | None = None) -> State:
    """Return the state before the first step, the model on its device."""
    runtime.place(loaded.model)
    average = Average(loaded.model, recipe.averaging) if recipe.averaging else None
    anchor = Anchor(loaded, recipe.anchor) if recipe.anchor else None
    of = stages.stage_of(loaded)
    by: dict[Tensor, str] = {parameter: of[name] for name, parameter in loaded.model.named_parameters()}
    state = State(loaded, optimizer(loaded, recipe), average, runtime.scaler(), task, lessons, anchor, by)
    if beside := list(runtime.place(state.adapters).parameters()):
        group = {"params": beside, "peak_lr": recipe.lr, "weight_decay": recipe.weight_decay}
        state.optimizer.add_param_group(group)
    return state


def fit(
    pm: pluggy.PluginManager,
    state: State,
    recipe: Recipe,
    batches: Iterable[Batch],
    runtime: Runtime,
    feed: Feed = nullcontext,
    rates: Rates = set_lr,
) -> Iterator[Step]:
    """Train from `state.step` to the end of `batches`, one step for each item that is taken.

    Of several processes each calls this, with its own parts of every batch, and each does the same update.

    With `--accumulate` a step is computed in parts, whose gradients, weighted by their share of the images, add
    up to that of the batch; batch norms in training see the parts. A step that runs out of memory is done again in
    twice as many parts, and all after it are computed in so many.

    :param batches: batches of the run from step `state.step` on, with a `batch_sampler` that knows `start`, that
        step, `per_epoch`, the steps of an epoch, `steps`, those of the whole run, and the `parts` of a batch with those
        that are this process's `own` (`hubft.train.loader.Batches`).
    :param feed: a context that makes of a batch's inputs what the model is called with in it. Under one there is
        no Mixup or CutMix: its inputs need not be images.
    :param rates: what sets the learning rates of a step; the recipe's schedule, if nothing else is asked for.
    :raises TrainingError: a frozen tensor moved; memory ran out, and a batch can be in no more parts.
    """
    with state.lessons.beside(state.model) if state.lessons else nullcontext():
        yield from _steps(pm, state, recipe, batches, runtime, feed, rates)


def _steps(
    pm: pluggy.PluginManager,
    state: State,
    recipe: Recipe,
    batches: Iterable[Batch],
    runtime: Runtime,
    feed: Feed,
    rates: Rates,
) -> Iterator[Step]:
    sampler = batches.batch_sampler  # type: ignore[attr-defined]
    lessons, mixing, gradient = state.lessons, _mixing(state, recipe, feed), Gradient(pm, state, recipe, runtime, feed)
    for parts in loader.steps(batches, sampler):
        gradient.laps.end("data")
        if state.step == sampler.start or state.step % sampler.per_epoch == 0:
            begin_epoch(pm, state, recipe, (state.step - state.step % sampler.per_epoch) / sampler.steps)
            gradient.moving = Moving(state.model)
        lr = rates(state.optimizer, recipe, state.step, sampler.steps)
        here = [runtime.to_device(part) for part in parts]
        if mixing:
            here = [mixing(part, state.step) for part in here]
        here = lessons.given(here) if lessons else here
        plain = runtime.ranks.alone and not runtime.exact
        images, results = (count(here[0]), gradient.of(here[0])) if plain else together(gradient, here, sampler)
        norms, of = update(state, recipe, runtime.ranks)
        scalars = mean(results)
        gradient.laps.end(gradient.backward)
        seconds = gradient.laps.taken()
        yield Step(state.step, images, scalars.pop("loss").detach(), lr, scalars, norms, of, seconds)
        gradient.laps.begin()


def _mixing(state: State, recipe: Recipe, feed: Feed) -> Callable[[Batch, int], Batch] | None:
    if recipe.augment != "strong" or not state.task.mixes or feed is not nullcontext:
        return None
    return modality.of(state.loaded.inputs).mixing(state.task.outputs, recipe.seed)


def update(state: State, recipe: Recipe, ranks: Ranks = ALONE) -> tuple[Tensor, list[str]]:
    """Do the step of the gradients that are there; return their norms before they are clipped, and the stages that
    they are of.

    :param ranks: the processes that do it together.
    """
    state.scaler.unscale_(state.optimizer)
    live = [p for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    if recipe.l1:
        shrink(live, recipe.l1)
    norms = sharded.norms([p.grad for p in live], ranks)
    if recipe.clip:
        total = sharded.beside(torch.linalg.vector_norm(norms), live)
        nn.utils.clip_grads_with_norm_(live, recipe.clip, total)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.anchor:
        state.anchor.pull(state.optimizer)
    state.optimizer.zero_grad()
    state.step += 1
    if state.average:
        state.average.update(state.step)
    return norms, [state.stages.get(p, BESIDE) for p in live]


def begin_epoch(pm: pluggy.PluginManager, state: State, recipe: Recipe, progress: float) -> None:
    """Ask what trains now, set it, and where that changed, prove the old frozen set and fingerprint the new one.

    :raises FamilyError: the hook `freeze` names unknown parameters, or none.
    """
    names = pm.hook.freeze(loaded=state.loaded, train=recipe.train, progress=progress)
    known = {name for name, _ in state.model.named_parameters()}
    if (not names and recipe.epochs) or not set(names) <= known:
        unknown = sorted(set(names or ()) - known)[:3]
        raise FamilyError(f"the hook `freeze` must name parameters to train; got {unknown or 'none'} it does not have")
    stages.set_trainable(state.model, frozenset(names))
    stages.train_mode(state.model)
    still = frozen.tensors(state.model)
    if state.average:
        state.average.include(name for name in state.average.live if name not in still)
    if set(state.proof) != set(still):
        frozen.verify(state.model, state.proof)
        state.proof = frozen.fingerprint(state.model)


@torch.no_grad()
def evaluate(
    pm: pluggy.PluginManager,
    loaded: Loaded,
    task: Task,
    batches: Iterable[Batch],
    runtime: Runtime,
    feed: Feed = nullcontext,
) -> tuple[Tensor, Any]:
    """Return (outputs, targets as the task collates them) on the CPU, in fp32 and eval mode, in the order of the
    samples: float32 `[n, outputs]`, or what the task keeps of them (`Task.kept`); of a list one tensor, filled up.

    Of several processes each computes every so-manieth batch, and each gets all outputs: the same as one would have.

    The loss of the hook is the task's plain one here, whatever the model was trained with.
    """
    model, forward = loaded.model.eval(), loaded.forward
    criterion = task.criterion()
    found = []
    for batch in loader.share(batches, runtime.ranks, even=runtime.shard):
        inputs, targets = runtime.to_device(batch)
        with feed(inputs) as seen:
            result = pm.hook.train_step(model=model, batch=(seen, targets), criterion=criterion, forward=forward)
        kept = task.kept(result["outputs"], targets)
        found.append((each(kept, lambda tensor: tensor.float().cpu()), batch[1]))
    made = runtime.ranks.joined(found)
    if runtime.shard:  # what was computed so that all are in every pass
        made = made[: len(batches)]  # type: ignore[arg-type]
    outputs, targets = zip(*loader.restored(batches, made), strict=True)
    return stacked(concat(outputs)), concat(targets)
