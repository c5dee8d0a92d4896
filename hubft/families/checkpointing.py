"""Activations that are computed again in the backward pass, a stage at a time, in place of being kept.

Chen et al. 2016, https://arxiv.org/abs/1604.06174. A stage keeps what it was given. When its gradients are due, it runs
again, with the random draws of the first time, so outputs and gradients have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hubft.base.errors import JobError, Option
from hubft.hookspecs import Loaded

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Whose entries a model may call one by one."""
OPEN = 2
"""Stages at the end that keep all: the head, and the one before it, which is due first: to compute it again takes time
and saves nothing at the peak."""


@contextmanager
def checkpointed(loaded: Loaded) -> Iterator[set[str]]:
    """Have the stages of a model compute their activations again, for the time of a `with` that holds forward and
    backward; give the names of the modules that were called so. Afterwards the model is as it was."""
    called: set[str] = set()
    running: list[str] = []
    before: list[tuple[nn.Module, Any]] = []
    try:
        for name, module in _modules(loaded).items():
            before.append((module, module.__dict__.get("forward")))
            module.forward = _again(name, module, called, running)
        yield called
    finally:
        for module, forward in before:
            del module.forward
            if forward is not None:  # a library had put one there
                module.forward = forward


def check(loaded: Loaded, inputs: Any, reference: str) -> None:
    """Raise JobError where a model calls none of its stages as a module: then nothing would be saved."""
    with checkpointed(loaded) as called, torch.no_grad():
        loaded.forward(loaded.model, inputs)
    if not called:
        why = f": {reference} calls none of its stages before the last two as a module, so it would save nothing"
        raise JobError(Option("checkpoint_activations"), f"{why}; leave it out")


def _modules(loaded: Loaded) -> dict[str, nn.Module]:
    """Return the modules of all stages but the last ones, by name, entries of lists too."""
    found: dict[str, nn.Module] = {}
    parameters = {name for name, _ in loaded.model.named_parameters()}
    waiting = [prefix for stage in list(loaded.stages)[:-OPEN] for prefix in loaded.stages[stage]]
    while waiting:
        name = waiting.pop(0)
        if name in parameters:
            continue
        found[name] = module = loaded.model.get_submodule(name)
        if isinstance(module, LISTS):
            waiting += [f"{name}.{child}" for child, _ in module.named_children()]
    return found


def _again(name: str, module: nn.Module, called: set[str], running: list[str]) -> Callable[..., Any]:
    """Return the forward of a module that computes it again, but within another that does so already."""
    plain = module.forward

    def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        running.append(name)
        try:
            return plain(*args, **kwargs)
        finally:
            running.pop()

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _unmeasured(module)

    def forward(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if running:
            return plain(*args, **kwargs)
        called.add(name)
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        return checkpoint(run, args, kwargs, use_reentrant=False, context_fn=contexts)

    return lambda *args, **kwargs: forward(args, kwargs)


@contextmanager
def _unmeasured(module: nn.Module) -> Iterator[None]:
    """Have norms measure into copies of their running statistics: the first pass has measured the batch already."""
    norms = [norm for norm in module.modules() if norm.training and getattr(norm, "running_mean", None) is not None]
    before = [dict(norm._buffers) for norm in norms]
    try:
        for norm in norms:
            norm._buffers.update({name: tensor.clone() for name, tensor in norm._buffers.items() if tensor is not None})
        yield
    finally:
        for norm, buffers in zip(norms, before, strict=True):
            norm._buffers.update(buffers)
