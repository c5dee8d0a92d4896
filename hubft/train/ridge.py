"""A linear head for numbers, solved in closed form: ridge regression (Hoerl and Kennard 1970)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class Ridge:
    """A `Linear` whose mean squared error over the numbers that are there is least, with decayed weights."""

    def __init__(self, head: nn.Linear, inputs: Tensor, targets: Tensor) -> None:
        """:param inputs: of the head, float64 `[n, width]`, on the CPU.
        :param targets: float64 `[n, outputs]`, NaN where one is missing."""
        self.head, self.inputs, self.targets = head, inputs, targets
        self.scale = inputs.square().mean().item() or 1.0
        self.kept: dict[tuple[int, int], tuple[Tensor, ...]] = {}

    @classmethod
    def of(
        cls, head: nn.Module, run: Callable[[Tensor], Tensor], features: Tensor, targets: Tensor | None
    ) -> Self | None:
        """Return it for a head that is one `Linear` on vectors, and a task of squares; else None."""
        if targets is None or not isinstance(head, nn.Linear) or head.bias is None:
            return None
        inputs = given(head, run, features)
        if inputs is None or inputs.ndim != 2:
            return None
        return cls(head, inputs.double().cpu(), targets.double().cpu())

    @torch.no_grad()
    def fit(self, fold: int, index: Tensor, decay: float) -> None:
        """Set the head's weight and bias; what does not depend on the decay is computed once a fold."""
        index = index.cpu()
        inputs, targets = self.inputs[index], self.targets[index]
        known = int((~targets.isnan()).sum())
        for output in range(targets.shape[1]):
            there = (~targets[:, output].isnan()).nonzero().flatten()
            whole = len(there) == len(index)
            place = (fold, -1 if whole else output)
            if place not in self.kept:
                self.kept[place] = _decomposed(inputs[there])
            mean, values, vectors = self.kept[place]
            wanted = targets[there, output]
            slope = (inputs[there] - mean).T @ (wanted - wanted.mean())
            weight = vectors @ ((vectors.T @ slope) / (values + decay * self.scale * known / 2))
            self.head.weight[output] = weight.to(self.head.weight)
            self.head.bias[output] = (wanted.mean() - mean @ weight).to(self.head.bias)


def _decomposed(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of the inputs, and eigenvalues and vectors of their scatter about it, those of zero left out."""
    mean = inputs.mean(0)
    centred = inputs - mean
    if len(inputs) <= inputs.shape[1]:
        _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
        return mean, singular.square(), rows.T
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    return mean, values.clamp(min=0), vectors


@torch.no_grad()
def given(head: nn.Module, run: Callable[[Tensor], Tensor], features: Tensor) -> Tensor | None:
    """Return what a head is given for the features, `[n, ...]`; None where it is given something else, or more than
    once."""
    found: list[Any] = []
    # After the pre-hooks, by which a cut model is given its features.
    handle = head.register_forward_hook(lambda _, args, __: found.append(args[0] if args else None))
    try:
        run(features)
    finally:
        handle.remove()
    return found[0] if len(found) == 1 and isinstance(found[0], Tensor) else None
