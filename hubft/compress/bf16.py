"""Two bytes a weight."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def rounded(model: nn.Module) -> nn.Module:
    """Return the model with every floating tensor of its state rounded to the nearest bfloat16 value; dtypes stay.

    The package stores such tensors in two bytes a number without loss, and the model goes on computing in
    its own precision: bfloat16 arithmetic costs depthwise networks accuracy, bfloat16 weights hardly any.
    """
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.bfloat16())
    return model
