"""Activations that are computed again in the backward pass, by the ways that the libraries of models have for it."""

from __future__ import annotations

from torch import nn

from hubft.base.errors import JobError, Option

WAYS = ("activation_checkpointing_enable", "set_grad_checkpointing")
"""Methods of models that switch it on: of transformers, of timm."""


def recompute(model: nn.Module, reference: str) -> None:
    """Have a model keep the inputs of its blocks alone, and compute the rest again where it is needed.

    Gradients are the same (Chen et al. 2016, https://arxiv.org/abs/1604.06174).

    :raises JobError: its library has no way for it.
    """
    way = next((getattr(model, name) for name in WAYS if callable(getattr(model, name, None))), None)
    try:
        if way is None:
            raise ValueError("it has no method for it")
        way()
    except (ValueError, AssertionError, NotImplementedError) as error:
        why = f": {reference} cannot compute its activations again: {error}; leave it out"
        raise JobError(Option("recompute"), why) from error
