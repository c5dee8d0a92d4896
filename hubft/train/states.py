"""The tensors of a model as they were at a moment, and putting them back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def kept(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of every tensor of a model, by name."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def put(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors into a model that has them. Not by `load_state_dict`: torchvision's MNASNet asks for a version that
    a plain mapping does not carry."""
    now = model.state_dict()
    for name, tensor in tensors.items():
        now[name].copy_(tensor)
