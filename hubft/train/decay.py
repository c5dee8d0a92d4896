"""What draws weights while they train, beside the loss: a body towards its base, all towards few that are not zero."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from hubft.base.whole import local
from hubft.families import stages
from hubft.hookspecs import Loaded


class Anchor:
    """What pulls a body back, L2-SP (Li, Grandvalet and Davoine 2018, https://arxiv.org/abs/1802.01483), decoupled from
    the gradient as AdamW has its decay, so that a step of Adam does not scale it away.

    The head has none: it is new, and keeps its weight decay. What is frozen has no gradient, and is left alone.
    """

    def __init__(self, loaded: Loaded, strength: float) -> None:
        """Remember the body as it is now: one more copy of its weights."""
        self.strength = strength
        self.bases = {parameter: parameter.detach().clone() for parameter in body(loaded)}

    @torch.no_grad()
    def pull(self, optimizer: torch.optim.Optimizer) -> None:
        """Take each weight that has just had a step `rate * strength` of the way back."""
        for group in optimizer.param_groups:
            its = [p for p in group["params"] if p.grad is not None and p in self.bases]
            if its:
                bases = [local(self.bases[p]) for p in its]
                torch._foreach_lerp_([local(p) for p in its], bases, min(1.0, group["lr"] * self.strength))


def body(loaded: Loaded) -> list[Tensor]:
    """Return the parameters before the head that can train."""
    of, head = stages.stage_of(loaded), list(loaded.stages)[-1]
    return [p for name, p in loaded.model.named_parameters() if of[name] != head and p.is_floating_point()]


@torch.no_grad()
def shrink(live: Iterable[Tensor], l1: float) -> None:
    """Add the gradient of `l1` times the absolute sum of the weights that train: norms and biases are left alone."""
    for parameter in live:
        if parameter.grad is not None and parameter.ndim > 1:
            local(parameter.grad).add_(local(parameter).sign(), alpha=l1)
