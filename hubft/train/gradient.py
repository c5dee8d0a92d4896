"""The gradient of a batch: the only place with `backward()`. It is computed in more parts once memory ran out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pluggy
import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base import draws, memory
from hubft.base.errors import FamilyError, TrainingError
from hubft.hookspecs import Batch
from hubft.machine.runtime import Runtime
from hubft.recipe import Recipe
from hubft.tasks import ownloss
from hubft.tasks.losses import Loss
from hubft.train.laps import Laps
from hubft.train.lessons import Taught

if TYPE_CHECKING:
    from hubft.train.loop import Feed, State


def untold(step: int, number: int) -> None:
    """Tell nobody."""


@dataclass
class Parts:
    """From which step on a batch is computed in how many parts at the least, where that is more than `--accumulate`.

    A run that goes on is given what it noted before: then it computes the same bits, whatever memory it has now.
    """

    since: dict[int, int] = field(default_factory=dict)
    """Number of the parts by the steps done before it."""
    tell: Callable[[int, int], None] = untold
    """Is told each that is new."""

    def at(self, step: int, recipe: Recipe) -> Recipe:
        """Return a recipe with the parts of a step."""
        least = max((number for first, number in self.since.items() if first <= step), default=0)
        return replace(recipe, accumulate=least) if least > recipe.accumulate else recipe

    def note(self, step: int, number: int) -> None:
        """Have all steps from this one on be computed in so many parts."""
        self.since[step] = number
        self.tell(step, number)


class Moving:
    """What forward passes move in a model in training, beside gradients: statistics of norms and the like."""

    def __init__(self, model: nn.Module) -> None:
        own = [module for module in model.modules() if module.training]
        self.live = [tensor for module in own for tensor in _kept(module)]
        self.before = [tensor.clone() for tensor in self.live]

    @torch.no_grad()
    def keep(self) -> None:
        """Note it as it is now."""
        if self.live:
            torch._foreach_copy_(self.before, self.live)

    @torch.no_grad()
    def put_back(self) -> None:
        """Make it again what it was when it was noted."""
        if self.live:
            torch._foreach_copy_(self.live, self.before)


def _kept(module: nn.Module) -> Iterable[Tensor]:
    own = module._non_persistent_buffers_set
    return [tensor for name, tensor in module._buffers.items() if tensor is not None and name not in own]


def twice(step: int, batch: tuple[Any, Any], parts: int, smaller: int, criterion: Loss) -> int:
    """Return in how many parts a step is done again that ran out of memory.

    :param smaller: how many parts it can be cut in, where twice as many are asked for.
    :raises TrainingError: no more parts can be had.
    """
    try:
        criterion.part(batch[1], 0.5)
    except ValueError as error:
        raise TrainingError(f"step {step} ran out of memory, and {error}: ", *memory.CURES) from error
    if smaller <= parts:
        raise TrainingError(
            f"step {step} ran out of memory in {parts} parts, and there can be no more: ", *memory.CURES
        )
    return smaller


class Gradient:
    """Computes the gradient of a batch, in as many parts as there is memory for."""

    moving: Moving

    def __init__(self, pm: pluggy.PluginManager, state: State, recipe: Recipe, runtime: Runtime, feed: Feed) -> None:
        self.pm, self.state, self.recipe, self.runtime, self.feed = pm, state, recipe, runtime, feed
        criterion = ownloss.criterion(state.task, recipe)
        self.criterion: Loss = Taught(criterion, state.lessons) if state.lessons else criterion
        self.divided = modality.of(state.loaded.inputs).parts
        self.model = runtime.compiled(state.model)
        self.laps, whole = Laps(), runtime.device.type != "cpu"
        self.forward, self.backward = ("steps", "steps") if whole else ("forward", "backward")
        """Parts of the time; of a device that works behind the process there is one."""

    def of(self, batch: Batch) -> list[tuple[float, dict[str, Tensor]]]:
        """Return what the hook `train_step` gave for each part, with its share of the samples; the gradients of the
        parameters are there then. A step that runs out of memory is done again in twice as many parts.

        :raises TrainingError: it runs out of memory, and there can be no more parts.
        """
        state, recipe, least = self.state, self.state.parts.at(self.state.step, self.recipe), 0
        self.moving.keep()
        while True:
            draws.seed("step", recipe.seed, state.step)
            its = self.divided(batch, recipe)
            try:
                results = self.backwards(batch[1], its)
            except RuntimeError as error:
                if not memory.ran_out(error):
                    raise
            else:
                if least:
                    state.parts.note(state.step, least)
                return results
            # Not among the lines above: what failed is kept as long as its error is.
            self._undo()
            recipe = replace(recipe, accumulate=min(2 * len(its), self.recipe.batch_size))
            number = len(self.divided(batch, recipe))
            least = twice(state.step + 1, batch, len(its), number, self.criterion)

    def backwards(self, every: Any, its: Sequence[tuple[float, Batch]]) -> list[tuple[float, dict[str, Tensor]]]:
        """Return what the hook gave for parts of a batch; the gradient of each is added to what is there.

        :param every: targets of the whole batch.
        :param its: the parts, each with its share of all samples; 1 is all of it, 0 one that is computed for nothing.
        """
        results, state, runtime = [], self.state, self.runtime
        with runtime.checkpointing(state.loaded):
            for share, (inputs, targets) in its:
                criterion = self.criterion if share == 1 else self.criterion.part(every, share or 1.0)
                with self.feed(inputs) as seen:
                    with runtime.autocast():
                        result = self.pm.hook.train_step(
                            model=self.model, batch=(seen, targets), criterion=criterion, forward=state.loaded.forward
                        )
                    loss = loss_of(result)
                    self.laps.end(self.forward)
                    # Inside of the feed: where activations are checkpointed, this runs forward passes again.
                    state.scaler.scale(loss if share == 1 else loss * share).backward()
                results.append((share, result))
                self.laps.end(self.backward)
        return results

    def _undo(self) -> None:
        """Make all what it was before the step, and give its memory back."""
        self.state.optimizer.zero_grad()
        self.moving.put_back()
        if self.state.lessons:
            self.state.lessons.heard.clear()
        memory.give_back(self.runtime.device)


def loss_of(result: Any) -> Tensor:
    """Return the loss of what the hook `train_step` gave.

    :raises FamilyError: it is not what the hook must give.
    """
    good = isinstance(result, dict) and isinstance(result.get("outputs"), Tensor)
    loss = result.get("loss") if good else None
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise FamilyError("the hook `train_step` must give a dict with a differentiable scalar `loss` and `outputs`")
    return loss


@torch.no_grad()
def mean(results: Sequence[tuple[float, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """Return the loss and the scalars of a step: the means of its parts, weighted by their share of the images. What a
    part does not give, as a term of boxes where it has none, is 0 there."""
    (_, first), *others = results
    if not others:
        return {name: value for name, value in first.items() if name != "outputs"}
    names = dict.fromkeys(name for _, result in results for name in result if name != "outputs")
    stacked = {
        name: torch.stack([share * result[name] for share, result in results if name in result]) for name in names
    }
    return {name: values.sum(0) for name, values in stacked.items()}
