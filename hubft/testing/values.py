"""Values as of a trained network, for models whose weights are not at hand: signals neither fade nor grow."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hubft.families.heads import drawn
from hubft.hookspecs import Forward, call


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Give memory and drawn values to the tensors of the model's state that have none."""
    state = model.state_dict()
    bare = {name: drawn(name, tensor) for name, tensor in state.items() if tensor.is_meta}
    if bare:
        state.update(bare)
        model.load_state_dict(state, assign=True)  # the whole state: it carries versions of modules


@torch.no_grad()
def settle(model: nn.Module, inputs: Any, forward: Forward = call) -> None:
    """Set the statistics of norms to those of a batch: as constructed they change nothing, and in eval mode a signal
    fades on its way through such norms. The model is in training mode then."""
    norms: list[Any] = [module for module in model.modules() if getattr(module, "running_mean", None) is not None]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    forward(model.train(), inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def draw(module: nn.Module) -> None:
    """Draw the matrices of a head, which may be zeros: then the outputs would tell nothing of the images."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.copy_(drawn(name, parameter))
