"""Modules that refuse images of another size: what was traced would answer them, in the right shape and wrongly.

No annotations as texts here: torch.jit.script reads the types.
"""

import torch
from torch import nn


class Plain(nn.Module):
    """Outputs of a traced module for images `[batch, *sizes]`."""

    def __init__(self, traced: nn.Module, sizes: list[int]) -> None:
        super().__init__()
        self.traced, self.sizes = traced, sizes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if list(images.shape[1:]) != self.sizes:
            raise ValueError("it takes images of another size")
        outputs: torch.Tensor = self.traced(images)
        return outputs


class Pixels(nn.Module):
    """The same of a module that gives probabilities and outputs."""

    def __init__(self, traced: nn.Module, sizes: list[int]) -> None:
        super().__init__()
        self.traced, self.sizes = traced, sizes

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if list(images.shape[1:]) != self.sizes:
            raise ValueError("it takes images of another size")
        outputs: tuple[torch.Tensor, torch.Tensor] = self.traced(images)
        return outputs
