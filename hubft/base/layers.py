"""What a model is mostly made of."""

from __future__ import annotations

from torch import nn


def mostly_linear(model: nn.Module) -> bool:
    """Tell whether more of the weights multiply matrices than convolve: such models ask for other quantizers."""
    weights = {nn.Linear: 0, nn.Conv2d: 0, nn.MultiheadAttention: 0}
    for module in model.modules():
        for kind in weights:
            weights[kind] += sum(p.numel() for p in module.parameters(False)) if isinstance(module, kind) else 0
    return weights[nn.Linear] + weights[nn.MultiheadAttention] > weights[nn.Conv2d]
