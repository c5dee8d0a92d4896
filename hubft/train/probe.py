"""The linear probe: a new head solved to convergence on features that do not change.

The fine-tune starts from it (https://arxiv.org/abs/2202.10054: a converged head keeps pretrained features from being
distorted), and what it errs on held-out training images tells how far the features are from the task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hubft.base import draws

DECAYS = tuple(10 ** -(exponent / 2) for exponent in range(1, 10))  # strong to weak
WORSE = 1.02  # held-out loss, as a multiple of the best so far, at which weaker decays are not tried
ITERATIONS = 200  # of L-BFGS: enough for a gradient of 1e-4 on all data sets of benchmarks/recipe.py

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Probe:
    """What solving the head has shown."""

    decay: float
    """Weight decay that was chosen, as a multiple of the features' mean square; 0: the head was not solved."""
    loss: float
    """Cross entropy on training images that were held out of the fit, nats."""
    error: float
    """Share of them that was classified wrongly."""
    images: int
    """How many were held out."""
    fitted: float = 0.0
    """Share of all training images that is wrong after they were all fitted."""


def solve(head: nn.Module, logits: Logits, features: Tensor, targets: Tensor, seed: int) -> Probe:
    """Return what was found out; the parameters of `head` are at the minimum of the regularised cross entropy.

    The decay is chosen by cross-validation within the training images, from strong to weak, each fit going on from
    the one before: the strongest whose held-out loss is within a standard error of the lowest (the rule of Breiman et
    al., Classification and Regression Trees, 1984, section 3.4.3). A fine-tune magnifies what large weights would do.
    Then all images are fitted.

    :param logits: gives float32 `[n, classes]` for `features[rows]`, by way of `head`.
    :param features: float32 `[n, ...]`, on the model's device.
    :param targets: int64 `[n]`, there too.
    """
    parameters = [p for p in head.parameters() if p.ndim > 1] + [p for p in head.parameters() if p.ndim < 2]
    before = [p.requires_grad for p in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    scale = features.square().mean().item() or 1.0
    folds = _folds(targets.cpu(), seed).to(targets.device)
    weights = {fold: _values(parameters) for fold in folds.unique().tolist() if fold >= 0}
    tried: list[tuple[Probe, float]] = []
    for decay in DECAYS:
        losses, wrong = [], []
        for fold in weights:
            _restore(parameters, weights[fold])
            rest, held = folds != fold, folds == fold
            _fit(parameters, logits, features[rest], targets[rest], decay * scale)
            weights[fold] = _values(parameters)
            with torch.no_grad():
                outputs = logits(features[held])
            losses.append(cross_entropy(outputs, targets[held], reduction="none"))
            wrong.append(outputs.argmax(1) != targets[held])
        loss, error = torch.cat(losses), torch.cat(wrong).float()
        tried.append((Probe(decay, loss.mean().item(), error.mean().item(), len(error)), _standard_error(loss)))
        if tried[-1][0].loss > WORSE * min(found.loss for found, _ in tried):
            break
    lowest, spread = min(tried, key=lambda one: one[0].loss)
    chosen = next(found for found, _ in tried if found.loss <= lowest.loss + spread)
    _fit(parameters, logits, features, targets, chosen.decay * scale)
    with torch.no_grad():
        wrong_now = logits(features).argmax(1) != targets
    for parameter, trained in zip(parameters, before, strict=True):
        parameter.requires_grad_(trained)
        parameter.grad = None
    return replace(chosen, fitted=wrong_now.float().mean().item())


def better(head: nn.Module, logits: Logits, features: Tensor, targets: Tensor, seed: int) -> Probe:
    """Return what is known of the head that errs less on images it was not fitted to: as it is, or `solve`d.

    It was fitted to other images than these, or to some of them. So all of them are counted for it as it is, against
    those held out for the other: where it saw them it has the advantage, and where a head is good it is kept.
    """
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    with torch.no_grad():
        outputs = logits(features)
    error = (outputs.argmax(1) != targets).float().mean().item()
    solved = solve(head, logits, features, targets, seed)
    if solved.error < error:
        return solved
    head.load_state_dict(before)
    return Probe(0.0, cross_entropy(outputs, targets).item(), error, len(targets), error)


def _standard_error(values: Tensor) -> float:
    return values.std().item() / len(values) ** 0.5 if len(values) > 1 else 0.0


def _folds(targets: Tensor, seed: int) -> Tensor:
    """Return the fold of every image, each class spread evenly; -1 is held out by none.

    Five folds of few images, three of some, one of five where there are many: a fit costs as much as it has images.
    """
    n = len(targets)
    used = 5 if n <= 500 else 3 if n <= 2000 else 1
    order = torch.randperm(n, generator=draws.generator("folds", seed))
    folds = torch.empty(n, dtype=torch.int64)
    for label in targets.unique():
        members = order[targets[order] == label]
        folds[members] = torch.arange(len(members)) % (used if used > 1 else 5)
    return torch.where(folds < used, folds, -1)


def _fit(parameters: list[nn.Parameter], logits: Logits, features: Tensor, targets: Tensor, decay: float) -> None:
    """Go to the minimum from where the parameters are; biases are not decayed."""
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=ITERATIONS, tolerance_grad=1e-4, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        size = sum((p.square().sum() for p in parameters if p.ndim > 1), torch.zeros((), device=features.device))
        loss = cross_entropy(logits(features), targets) + decay / 2 * size
        loss.backward()
        return loss

    optimizer.step(closure)


def _values(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [p.detach().clone() for p in parameters]


@torch.no_grad()
def _restore(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
