"""A loss of one's own: `--loss module:Class`, or a callable that Python passed. A package names it and does without it.

It is called as `criterion(outputs, targets)` and gives a scalar, the mean over the samples. Of a batch that is computed
in parts, each part's loss is weighted by its share of the samples: of a mean over samples that is the batch's.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from hubft.base.batches import count, rows
from hubft.base.errors import JobError, Option, reason, suggest
from hubft.recipe import PASSED, Recipe
from hubft.tasks import losses
from hubft.tasks.task import Task

CLOSE = 1e-3  # of two losses that are equal but for how they were added up, as a share

GIVEN: ContextVar[Callable[..., Any] | None] = ContextVar("loss", default=None)
"""The callable that Python passed."""


@contextmanager
def given(loss: object) -> Iterator[None]:
    """Have a run find the callable that Python passed as its loss; a name, or nothing, is no such."""
    token = GIVEN.set(loss if callable(loss) else None)
    try:
        yield
    finally:
        GIVEN.reset(token)


def name_of(loss: Callable[..., Any]) -> str:
    """Return by what name a job states a callable that Python passed."""
    named = loss if hasattr(loss, "__qualname__") else type(loss)
    return f"{PASSED}:{named.__module__}.{named.__qualname__}"


def criterion(task: Task, recipe: Recipe) -> losses.Loss:
    """Return the loss that training goes by: the user's own, or what the recipe names of those of the task.

    :raises JobError: an option without a meaning for it, or a loss that is not there.
    """
    if not recipe.own_loss:
        return task.criterion(recipe)
    if task.located:
        why = ": a detector trains by losses that it brings itself; leave it out"
        raise JobError(Option("loss"), f" {recipe.loss}{why}")
    losses.refuse(recipe, "a loss of one's own", "smoothing", "class_weights", "head_weights")
    return Own(_found(recipe.loss))


class Own(losses.Loss):
    """A loss of the user's own, a mean over samples."""

    def __init__(self, called: Callable[..., Any]) -> None:
        super().__init__()
        self.called = called

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return what it gives for a batch, on whose device it is computed."""
        if isinstance(self.called, nn.Module):
            self.called.to(outputs.device)
        loss: Tensor = self.called(outputs, targets)
        return loss

    def part(self, targets: Any, share: float) -> Self:
        """Return the loss of a part of a batch: the same."""
        return self


def tried(recipe: Recipe, loss: losses.Loss, outputs: Tensor, targets: Any) -> str:
    """Call a loss on a first batch; return what a user should know of it, or nothing.

    :param outputs: of the model, without a gradient.
    :raises JobError: it fails, gives no scalar that can be differentiated, or a sum over the samples.
    """
    name = f" {recipe.loss}"
    try:
        found = loss(outputs.clone().requires_grad_(), targets)
    except Exception as error:  # of any kind: it is the user's code
        what = f"{name} fails on the first batch, with outputs {tuple(outputs.shape)}: {reason(error)}"
        raise JobError(Option("loss"), what) from error
    if not isinstance(found, Tensor) or found.ndim or not found.requires_grad:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) and found.ndim else type(found).__name__
        got = "a tensor without a gradient" if got == "Tensor" else got
        raise JobError(Option("loss"), f"{name} gives {got}: it must give a differentiable scalar, a mean over samples")
    if not found.isfinite():
        raise JobError(Option("loss"), f"{name} is {found.item()} on the first batch: it must be finite")
    return _kind(name, loss, outputs, targets)


@torch.no_grad()
def _kind(name: str, loss: losses.Loss, outputs: Tensor, targets: Any) -> str:
    """Tell a sum over the samples from a mean, by a batch and its parts, with outputs that differ."""
    number = count(outputs)
    if number < 3:
        return ""
    outputs = outputs + torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0)).to(outputs)
    ends = ((0, number // 3), (number // 3, number))
    try:
        whole, *each = (float(loss(rows(outputs, *end), rows(targets, *end))) for end in ((0, number), *ends))
    except Exception:  # a loss that takes no other number of samples
        return ONE_WHOLE
    shares = [(stop - start) / number for start, stop in ends]
    if abs(sum(each) - whole) <= CLOSE * abs(whole):
        raise JobError(Option("loss"), f"{name} gives a sum over the samples: divide it by their number, len(outputs)")
    mean = sum(share * one for share, one in zip(shares, each, strict=True))
    return "" if abs(mean - whole) <= CLOSE * abs(whole) else ONE_WHOLE


ONE_WHOLE = "the loss is no mean over samples: of a batch that is computed in parts it is about that of the whole"


def _found(name: str) -> Callable[..., Any]:
    """Return the callable that a job names; of a class, an instance.

    :raises JobError: it is not there, or cannot be called.
    """
    module, _, attribute = name.partition(":")
    its: Any = _passed(name) if module == PASSED else _imported(name, module, attribute)
    try:
        found: Callable[..., Any] = its() if isinstance(its, type) else its
    except Exception as error:
        raise JobError(Option("loss"), f" {name} cannot be made without arguments: {reason(error)}") from error
    if not callable(found):
        raise JobError(Option("loss"), f" {name} is a {type(found).__name__}, which cannot be called")
    if isinstance(found, nn.Module) and next(found.parameters(), None) is not None:
        raise JobError(Option("loss"), f" {name} has parameters, and nothing would train them: make them buffers")
    return found


def _passed(name: str) -> Any:
    found = GIVEN.get()
    if found is None or name_of(found) != name:
        what = f"the callable {name.partition(':')[2]}, which no file can bring back"
        other = f", not {name_of(found).partition(':')[2]}" if found else ""
        again = f"pass it again{other}, as in hubft.resume(RUN, loss=...)"
        raise JobError(Option("loss"), f" {name}: Python passed {what}: {again}")
    return found


def _imported(name: str, module: str, attribute: str) -> Any:
    """Return what is called so in a module, which may lie in the current folder."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        why = f"the module {module!r} cannot be imported here, in {here!r}: {reason(error)}"
        raise JobError(Option("loss"), f" {name}: {why}") from error
    finally:
        sys.path.remove(here)
    if not hasattr(found, attribute):
        known = [one for one in vars(found) if not one.startswith("_")]
        raise JobError(Option("loss"), f" {name}: {module} has no {attribute!r}.{suggest(attribute, known)}")
    return getattr(found, attribute)
