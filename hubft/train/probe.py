"""The linear probe: a new head solved to convergence on features that do not change.

The fine-tune starts from it (https://arxiv.org/abs/2202.10054: a converged head keeps pretrained features from being
distorted), and what it errs on held-out training samples tells how far the features are from the task.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hubft.base import draws
from hubft.base.bars import Counting, counted, nobody
from hubft.base.batches import take
from hubft.tasks.losses import Loss
from hubft.tasks.metrics import proportion
from hubft.tasks.task import Task
from hubft.train import states
from hubft.train.ridge import Ridge

DECAYS = tuple(10 ** -(exponent / 2) for exponent in range(1, 10))  # strong to weak
WORSE = 1.02  # held-out loss, as a multiple of the best so far, at which weaker decays are not tried
FOLDS = 5  # where every sample is held out once
ITERATIONS = 200  # of L-BFGS: enough for a gradient of 1e-4 on all data sets of benchmarks/recipe.py

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Probe:
    """What solving the head has shown."""

    decay: float
    """Weight decay that was chosen, as a multiple of the features' mean square; 0: the head was not solved."""
    loss: float
    """The task's plain loss on training samples that were held out of the fit."""
    error: float
    """How wrong they were on average, 0 to 1 (`Task.errors`); of classes, the share of wrong ones."""
    images: int
    """How many were held out."""
    fitted: float = 0.0
    """How wrong all training samples are after they were all fitted."""

    def bound(self, error: float) -> float:
        """Return the upper end of the 95 % interval of an error that was measured on as many samples."""
        return float(proportion(round(error * self.images), self.images).high or 1.0)


@dataclass(frozen=True)
class Known:
    """Features of training samples, with all that a head is solved by."""

    task: Task
    logits: Logits
    """Gives float32 `[n, outputs]` for `features[index]`, by way of the head."""
    features: Tensor
    """float32 `[n, ...]`, on the model's device."""
    targets: Any
    """As the task collates them, there too."""
    strata: Sequence[Hashable]
    """Of each sample: what the folds of a cross-validation keep even."""
    seed: int
    counting: Counting = nobody


class Solver(Protocol):
    """How a head is brought to the minimum of the regularised loss."""

    def fit(self, fold: int, index: Tensor, decay: float) -> None:
        """Fit the head to the samples of an index.

        :param fold: that is left out; -1 for none.
        :param decay: as a multiple of the features' mean square.
        """


def solve(head: nn.Module, known: Known) -> Probe:
    """Return what was found out; the parameters of `head` are at the minimum of the regularised loss.

    The decay is chosen by cross-validation within the training samples, from strong to weak: the strongest whose
    held-out loss is within a standard error of the lowest (the rule of Breiman et al., Classification and Regression
    Trees, 1984, section 3.4.3). A fine-tune magnifies what large weights would do. Then all samples are fitted.
    """
    parameters = _parameters(head)
    before = [p.requires_grad for p in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    criterion, n = known.task.criterion(), len(known.features)
    solver = _solver(head, known)
    folds = _folds(known.strata, known.seed).to(known.features.device)
    tried: list[tuple[Probe, float]] = []
    used = sorted({int(fold) for fold in folds.unique().tolist() if fold >= 0})
    for decay in counted(known.counting, DECAYS, len(DECAYS), "fits of the head"):
        losses, wrong = [], []
        for fold in used:
            solver.fit(fold, (folds != fold).nonzero().flatten(), decay)
            held = (folds == fold).nonzero().flatten()
            with torch.no_grad():
                outputs, targets = known.logits(known.features[held]), take(known.targets, held)
                losses.append(criterion.samples(outputs, targets))
                wrong.append(known.task.errors(outputs, targets))
        loss, error = torch.cat(losses), torch.cat(wrong)
        tried.append((Probe(decay, loss.mean().item(), error.mean().item(), len(error)), _standard_error(loss)))
        if tried[-1][0].loss > WORSE * min(found.loss for found, _ in tried):
            break
    lowest, spread = min(tried, key=lambda one: one[0].loss)
    chosen = next(found for found, _ in tried if found.loss <= lowest.loss + spread)
    solver.fit(-1, torch.arange(n, device=known.features.device), chosen.decay)
    for parameter, trained in zip(parameters, before, strict=True):
        parameter.requires_grad_(trained)
        parameter.grad = None
    return replace(chosen, fitted=_error(known))


def better(head: nn.Module, known: Known) -> Probe:
    """Return what is known of the head that errs less on samples it was not fitted to: as it is, or `solve`d.

    It was fitted to other samples than these, or to some of them. So all of them are counted for it as it is, against
    those held out for the other: where it saw them it has the advantage, and where a head is good it is kept.
    """
    before = states.kept(head)
    with torch.no_grad():
        loss = known.task.criterion()(known.logits(known.features), known.targets).item()
    error = _error(known)
    solved = solve(head, known)
    if solved.error < error:
        return solved
    states.put(head, before)
    return Probe(0.0, loss, error, len(known.features), error)


def held_out(head: nn.Module, known: Known, units: Sequence[Hashable] = ()) -> tuple[Probe, Tensor]:
    """Return what solving the head has shown, and what heads like it say of samples that they were not fitted to.

    Each of FOLDS heads is fitted to the samples of all folds but its own, with the decay that `solve` chose, and says
    of those what it says: float32 `[n, outputs]`. The head itself is fitted to all samples.

    :param head: as it starts, which knows nothing of the samples.
    :param units: of each sample: those of one unit are in one fold, so that no copy of a sample speaks for its label.
    """
    blank = states.kept(head)
    solved = solve(head, known)
    fitted = states.kept(head)
    states.put(head, blank)
    solver, folds = _solver(head, known), _folds(known.strata, known.seed, FOLDS)
    first: dict[Hashable, int] = {}
    if units:
        folds = folds[torch.tensor([first.setdefault(unit, place) for place, unit in enumerate(units)])]
    folds, found = folds.to(known.features.device), None
    for fold in sorted(set(folds.tolist())):
        solver.fit(fold, (folds != fold).nonzero().flatten(), solved.decay)
        held = (folds == fold).nonzero().flatten()
        with torch.no_grad():
            said = known.logits(known.features[held])
            found = said.new_empty(len(folds), *said.shape[1:]) if found is None else found
            found[held] = said
    states.put(head, fitted)
    assert found is not None
    return solved, found


def _parameters(head: nn.Module) -> list[nn.Parameter]:
    return [p for p in head.parameters() if p.ndim > 1] + [p for p in head.parameters() if p.ndim < 2]


def _solver(head: nn.Module, known: Known) -> Solver:
    ridge = Ridge.of(head, known.logits, known.features, known.task.ridge(known.targets))
    return ridge or Descent(_parameters(head), known, known.task.criterion())


@torch.no_grad()
def _error(known: Known) -> float:
    return known.task.errors(known.logits(known.features), known.targets).mean().item()


def _standard_error(values: Tensor) -> float:
    return values.std().item() / len(values) ** 0.5 if len(values) > 1 else 0.0


def _folds(strata: Sequence[Hashable], seed: int, used: int = 0) -> Tensor:
    """Return the fold of every sample, each stratum spread evenly; -1 is held out by none.

    :param used: how many folds; without it five of few samples, three of some, one of five where there are many: a fit
        costs as much as it has samples.
    """
    n = len(strata)
    used = used or (5 if n <= 500 else 3 if n <= 2000 else 1)
    order = torch.randperm(n, generator=draws.generator("folds", seed)).tolist()
    places: dict[Hashable, list[int]] = {}
    for place in order:
        places.setdefault(strata[place], []).append(place)
    folds = torch.empty(n, dtype=torch.int64)
    for members in places.values():
        folds[members] = torch.arange(len(members)) % (used if used > 1 else 5)
    return torch.where(folds < used, folds, -1)


class Descent:
    """A head of any form, by L-BFGS; each fit goes on from the one before it of the same fold."""

    def __init__(self, parameters: list[nn.Parameter], known: Known, criterion: Loss) -> None:
        self.parameters, self.known, self.criterion = parameters, known, criterion
        self.scale = known.features.square().mean().item() or 1.0
        self.start = _values(parameters)
        self.kept: dict[int, list[Tensor]] = {}

    def fit(self, fold: int, index: Tensor, decay: float) -> None:
        """Go to the minimum from where the parameters are; biases are not decayed."""
        if fold >= 0:
            _restore(self.parameters, self.kept.get(fold, self.start))
        features, targets = self.known.features[index], take(self.known.targets, index)
        optimizer = torch.optim.LBFGS(
            self.parameters, max_iter=ITERATIONS, tolerance_grad=1e-4, tolerance_change=1e-7,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> Tensor:
            optimizer.zero_grad()
            matrices = [p.square().sum() for p in self.parameters if p.ndim > 1]
            size = sum(matrices, torch.zeros((), device=features.device))
            loss: Tensor = self.criterion(self.known.logits(features), targets) + decay * self.scale / 2 * size
            loss.backward()
            return loss

        optimizer.step(closure)
        self.kept[fold] = _values(self.parameters)


def _values(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [p.detach().clone() for p in parameters]


@torch.no_grad()
def _restore(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
