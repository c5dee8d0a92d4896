"""The hook `train_step`, and that nothing moves but what trains."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor, nn

from hubft.base.batches import even
from hubft.families import stages
from hubft.hookspecs import Batch, Loaded
from hubft.job import Head
from hubft.tasks.classification import Classification
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.regression import Regression
from hubft.tasks.several import Several
from hubft.tasks.task import Task
from hubft.testing.copies import deepcopy_computes_the_same
from hubft.testing.freezing import TWO, freeze_trains_what_it_says
from hubft.testing.heads import head_fits_the_task
from hubft.testing.subject import BATCH, Subject, batch, copied, differing, expect, in_stage, shown
from hubft.testing.trial import check

STEPS, LR = 6, 1e-3
GAP = math.nan
MULTILABEL = Multilabel(("a", "b"), (2, 2), (4, 3))
REGRESSION = Regression(("x",), (1.0,), (2.0,))
LABELLED: tuple[tuple[Task, list[Any]], ...] = (
    (MULTILABEL, [(1.0, 0.0), (0.0, GAP), (1.0, 1.0), (0.0, 1.0)]),
    (REGRESSION, [(1.5,), (GAP,), (-2.0,), (4.0,)]),
    (
        Several.of({"kind": Classification(("a", "b"), (2, 1)), "x": REGRESSION}),
        [(0, (1.0,)), (1, None), (None, (2.0,)), (0, (0.5,))],
    ),
)
"""Tasks, and targets of a batch of BATCH samples."""
ROUNDING = 1e-3  # of gradients, as a share of the largest: sums in another order


@check(head_fits_the_task)
def step_gives_loss_and_outputs(subject: Subject) -> None:
    """`train_step` gives a differentiable scalar `loss`, `outputs`, and else finite scalars only."""
    loaded = subject.adapted(TWO, fresh=True)
    loaded.model.train()
    given = _step(subject, loaded, batch(loaded))
    expect(isinstance(given, dict), f"`train_step` gave a {type(given).__name__}, not a dict")
    outputs = given.get("outputs")
    expect(isinstance(outputs, Tensor), "`train_step` gave no `outputs`")
    expect(outputs.shape == (BATCH, 2), f"`outputs` are {list(outputs.shape)}, not {[BATCH, 2]}")
    loss = given.get("loss")
    expect(isinstance(loss, Tensor) and loss.ndim == 0, "`loss` is no scalar tensor")
    expect(loss.requires_grad, "`loss` is not differentiable")
    for name, value in given.items():
        number = value.detach() if isinstance(value, Tensor) else value
        expect(name == "outputs" or math.isfinite(float(number)), f"{name!r} is {value}, not a finite scalar")


@check(step_gives_loss_and_outputs)
def step_takes_every_task(subject: Subject) -> None:
    """`train_step` gives a finite loss for several labels, numbers and several heads, also where one is missing."""
    for task, targets in LABELLED:
        loaded = subject.adapted(Head(outputs=task.outputs))
        inputs, _ = batch(loaded)
        given = _step(subject, loaded, (inputs, task.collate(targets)), task.criterion())
        loss = given["loss"]
        expect(bool(loss.isfinite()), f"with targets of {task.kind}, of which some are missing, the loss is {loss}")
        loss.backward()
        moved = [p.grad for p in loaded.model.get_submodule(loaded.head).parameters() if p.grad is not None]
        finite = bool(moved) and all(bool(gradient.isfinite().all()) for gradient in moved)
        expect(finite, f"with targets of {task.kind}, of which some are missing, the head gets no finite gradient")


@check(freeze_trains_what_it_says, step_gives_loss_and_outputs)
def frozen_norms_stand_still(subject: Subject) -> None:
    """While the head trains alone, no norm before it changes its statistics, nor does any other buffer."""
    loaded = subject.adapted(TWO, fresh=True)
    head = list(loaded.stages)[-1]
    body = {n for n, _ in loaded.model.named_buffers() if not any(stages.under(n, p) for p in loaded.stages[head])}
    if not body:
        raise SkipTest("it has no norm with statistics, and no other buffer")
    _freeze(subject, loaded, "head")
    before = copied(loaded.model)
    for _ in range(2):
        _step(subject, loaded, batch(loaded))
    moved = body & set(differing(before, copied(loaded.model)))
    expect(not moved, f"{shown(moved)} changes although it is frozen")


@check(freeze_trains_what_it_says, step_gives_loss_and_outputs)
def training_lowers_the_loss(subject: Subject) -> None:
    """A few steps on the head and the stage before it lower the loss of a few images."""
    losses = subject.once(_trained).losses
    expect(losses[-1] < losses[0], f"after {STEPS - 1} steps on the same images the loss is {losses[-1]:.4g}, from "
                                   f"{losses[0]:.4g}")  # fmt: skip


@check(frozen_norms_stand_still, training_lowers_the_loss)
def training_moves_only_what_trains(subject: Subject) -> None:
    """Those steps move each stage that trains, and nothing else but the statistics of its norms."""
    trained = subject.once(_trained)
    wrong = trained.moved - trained.may_move
    expect(not wrong, f"{shown(wrong)} moves although it is frozen")
    for stage in list(trained.loaded.stages)[-2:]:
        moved = bool(in_stage(trained.loaded, stage) & trained.moved)
        expect(moved, f"nothing of the stage {stage!r} moves although it trains")


@check(training_moves_only_what_trains, deepcopy_computes_the_same)
def accumulation_equals_large_batch(subject: Subject) -> None:
    """The mean of the gradients of half batches is the gradient of the batch (in eval mode: no batch statistics)."""
    loaded = subject.adapted(TWO)
    # halves of two: of one image, torch 2.15 gives batch norms wrong gradients on a CPU where a transpose follows them
    inputs, targets = batch(loaded)
    whole = _gradients(subject, loaded, (inputs, targets))
    halves = [_gradients(subject, loaded, half) for _, half in even((inputs, targets), 2)]
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        off = float((gradient - (halves[0][name] + halves[1][name]) / 2).abs().max())
        good = off <= ROUNDING * largest
        expect(good, f"the gradient of {name} by halves is off by {off:.2g}; the largest gradient is {largest:.2g}")


@check(step_gives_loss_and_outputs)
def bf16_autocast_is_finite(subject: Subject) -> None:
    """A training step computes in bf16 autocast, with finite outputs, loss and gradients."""
    loaded = subject.adapted(TWO, fresh=True)
    loaded.model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = _step(subject, loaded, batch(loaded))
    given["loss"].backward()
    tensors = {**given, **{f"the gradient of {n}": p.grad for n, p in loaded.model.named_parameters()}}
    wrong = [name for name, t in tensors.items() if isinstance(t, Tensor) and not t.isfinite().all()]
    expect(not wrong, f"{shown(wrong)} is not finite")


@dataclass(frozen=True)
class Trained:
    loaded: Loaded
    losses: list[float]
    """Before each step."""
    may_move: set[str]
    moved: set[str]


def _trained(subject: Subject) -> Trained:
    """Return what some steps on one batch did to a model with a fresh head."""
    loaded = subject.adapted(TWO, fresh=True)
    chosen = _freeze(subject, loaded, "last:1")
    live = {f"{n}.{b}".lstrip(".") for n, m in loaded.model.named_modules() if m.training for b in m._buffers}
    before = copied(loaded.model)
    optimizer = torch.optim.AdamW([p for p in loaded.model.parameters() if p.requires_grad], lr=LR)
    losses = []
    for _ in range(STEPS):
        loss = _step(subject, loaded, batch(loaded))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Trained(loaded, losses, set(chosen) | live, set(differing(before, copied(loaded.model))))


def _freeze(subject: Subject, loaded: Loaded, train: str) -> frozenset[str]:
    """Put the model in training mode as the loop does, and return what trains."""
    chosen: frozenset[str] = subject.pm.hook.freeze(loaded=loaded, train=train, progress=0.0)
    stages.set_trainable(loaded.model, chosen)
    stages.train_mode(loaded.model)
    return chosen


def _step(subject: Subject, loaded: Loaded, batch: Batch, criterion: nn.Module | None = None) -> Any:
    criterion = criterion or nn.CrossEntropyLoss()
    return subject.pm.hook.train_step(model=loaded.model, batch=batch, criterion=criterion, forward=loaded.forward)


def _gradients(subject: Subject, loaded: Loaded, batch: Batch) -> Mapping[str, Tensor]:
    loaded = replace(loaded, model=copy.deepcopy(loaded.model).eval())  # some keep results of a pass in eval mode
    _step(subject, loaded, batch)["loss"].backward()
    return {name: p.grad for name, p in loaded.model.named_parameters() if p.grad is not None}


CHECKS = (
    step_gives_loss_and_outputs,
    step_takes_every_task,
    frozen_norms_stand_still,
    training_lowers_the_loss,
    training_moves_only_what_trains,
    accumulation_equals_large_batch,
    bf16_autocast_is_finite,
)
