"""The training loop: the only place with `backward()` and `step()`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pluggy
import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base import draws
from hubft.base.batches import concat, count, each, stacked
from hubft.base.errors import FamilyError
from hubft.families import stages
from hubft.hookspecs import Batch, Loaded
from hubft.job import Recipe
from hubft.machine.runtime import Runtime
from hubft.tasks.task import Task
from hubft.train import frozen, loader
from hubft.train.decay import Anchor, shrink
from hubft.train.lessons import Lessons, Taught
from hubft.train.recipe import Average, optimizer
from hubft.train.schedule import set_lr

Feed = Callable[[Any], AbstractContextManager[Any]]
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
) -> Iterator[Step]:
    """Train from `state.step` to the end of `batches`, one step for each item that is taken.

    With `--accumulate` a step is computed in parts, whose gradients, weighted by their share of the images, add
    up to that of the batch; batch norms in training see the parts.

    :param batches: batches of the run from step `state.step` on, with a `batch_sampler` that knows `start`, that
        step, `per_epoch`, the steps of an epoch, and `steps`, those of the whole run (`hubft.train.loader.Batches`).
    :param feed: a context that makes of a batch's inputs what the model is called with in it. Under one there is
        no Mixup or CutMix: its inputs need not be images.
    :raises TrainingError: a frozen tensor moved.
    """
    with state.lessons.beside(state.model) if state.lessons else nullcontext():
        yield from _steps(pm, state, recipe, batches, runtime, feed)


def _steps(
    pm: pluggy.PluginManager,
    state: State,
    recipe: Recipe,
    batches: Iterable[Batch],
    runtime: Runtime,
    feed: Feed,
) -> Iterator[Step]:
    sampler = batches.batch_sampler  # type: ignore[attr-defined]
    criterion, lessons = state.task.criterion(recipe), state.lessons
    criterion = Taught(criterion, lessons) if lessons else criterion
    mixing = _mixing(state, recipe, feed)
    divided = modality.of(state.loaded.inputs).parts
    model, forward = runtime.compiled(state.model), state.loaded.forward
    for batch in batches:
        if state.step == sampler.start or state.step % sampler.per_epoch == 0:
            begin_epoch(pm, state, recipe, (state.step - state.step % sampler.per_epoch) / sampler.steps)
        lr = set_lr(state.optimizer, recipe, state.step, sampler.steps)
        here = runtime.to_device(batch)
        if mixing:
            here = mixing(here, state.step)
        here = lessons.given(here) if lessons else here
        draws.seed("step", recipe.seed, state.step)
        results = []
        parts = divided(here, recipe)
        for share, (inputs, targets) in parts:
            loss_of = criterion if len(parts) == 1 else criterion.part(here[1], share)
            with feed(inputs) as seen:
                with runtime.autocast():
                    result = pm.hook.train_step(model=model, batch=(seen, targets), criterion=loss_of, forward=forward)
                loss = _loss(result)
                # Inside of the feed: where activations are checkpointed, this runs forward passes again.
                state.scaler.scale(loss if share == 1 else loss * share).backward()
            results.append((share, result))
        norms, of = update(state, recipe)
        scalars = _mean(results)
        yield Step(state.step, count(batch), scalars.pop("loss").detach(), lr, scalars, norms, of)


def _mixing(state: State, recipe: Recipe, feed: Feed) -> Callable[[Batch, int], Batch] | None:
    if recipe.augment != "strong" or not state.task.mixes or feed is not nullcontext:
        return None
    return modality.of(state.loaded.inputs).mixing(state.task.outputs, recipe.seed)


def update(state: State, recipe: Recipe) -> tuple[Tensor, list[str]]:
    """Do the step of the gradients that are there; return their norms before they are clipped, and the stages that
    they are of."""
    state.scaler.unscale_(state.optimizer)
    live = [p for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    if recipe.l1:
        shrink(live, recipe.l1)
    norms = torch.stack(torch._foreach_norm([p.grad for p in live]))
    if recipe.clip:
        nn.utils.clip_grads_with_norm_(live, recipe.clip, torch.linalg.vector_norm(norms))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.anchor:
        state.anchor.pull(state.optimizer)
    state.optimizer.zero_grad()
    state.step += 1
    if state.average:
        state.average.update(state.step)
    return norms, [state.stages.get(p, BESIDE) for p in live]


@torch.no_grad()
def _mean(results: list[tuple[float, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Return the loss and the scalars of a step: the means of its parts, weighted by their share of the images."""
    (_, first), *others = results
    if not others:
        return {name: value for name, value in first.items() if name != "outputs"}
    stacked = {
        name: torch.stack([share * result[name] for share, result in results]) for name in first if name != "outputs"
    }
    return {name: values.sum(0) for name, values in stacked.items()}


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


def _loss(result: Any) -> Tensor:
    good = isinstance(result, dict) and isinstance(result.get("outputs"), Tensor)
    loss = result.get("loss") if good else None
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise FamilyError("the hook `train_step` must give a dict with a differentiable scalar `loss` and `outputs`")
    return loss


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

    The loss of the hook is the task's plain one here, whatever the model was trained with.
    """
    model, forward = loaded.model.eval(), loaded.forward
    criterion = task.criterion()
    found = []
    for batch in batches:
        inputs, targets = runtime.to_device(batch)
        with feed(inputs) as seen:
            result = pm.hook.train_step(model=model, batch=(seen, targets), criterion=criterion, forward=forward)
        kept = task.kept(result["outputs"], targets)
        found.append((each(kept, lambda tensor: tensor.float().cpu()), batch[1]))
    outputs, targets = zip(*loader.restored(batches, found), strict=True)
    return stacked(concat(outputs)), concat(targets)
