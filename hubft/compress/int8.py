"""One byte a weight, and a scale for each output channel.

A weight becomes q * s: q a whole number in -127..127, s the scale of its channel, the largest absolute weight of the
channel divided by 127 and rounded to bfloat16. Symmetric, so that zero stays zero (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877, without its zero point). A bfloat16 has 8 significant bits and q has 7, so q * s is
exact in float32, the largest |q| of a channel is always 127, and what was rounded once is its own nearest value: the
weights themselves tell that they are such, and no record of it is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGEST = 127


def takes(tensor: Tensor) -> bool:
    """Tell whether a tensor is one of weights, of which there are many to a scale: biases and norms are not."""
    return tensor.dtype == torch.float32 and tensor.ndim >= 2


def quantized(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return (q, s) of weights `[channels, ...]`: int8 of the same shape, and bfloat16 `[channels]`."""
    rows = weights.detach().reshape(len(weights), -1)
    largest = rows.abs().amax(1) if rows.numel() else rows.new_zeros(len(rows))
    scale = (largest / LARGEST).bfloat16()
    # below it s has fewer bits than others: such a channel is zero in all but name
    scale = torch.where(scale < torch.finfo(torch.bfloat16).tiny, 0, scale)
    q = (rows / scale.float().clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().clamp(-LARGEST, LARGEST)
    q = torch.where(scale[:, None] > 0, q, 0)
    return q.to(torch.int8).reshape(weights.shape), scale


def widened(q: Tensor, scale: Tensor) -> Tensor:
    """Return the weights that (q, s) stand for, float32: equal bits wherever it is computed."""
    return q.float().mul_(scale.float().reshape(-1, *[1] * (q.ndim - 1)))


@torch.no_grad()
def rounded(model: nn.Module) -> nn.Module:
    """Return the model with the weights of two or more dimensions rounded to int8 with a scale a channel.

    dtypes stay: the package stores such weights in a byte a number without loss, and the model goes on computing in
    float32. Biases, norms and statistics are left as they are.
    """
    for tensor in model.state_dict().values():
        if takes(tensor):
            tensor.copy_(widened(*quantized(tensor)))
    return model
