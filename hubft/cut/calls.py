"""The calls of a model's modules, as one forward pass makes them, and blanks that stand for the tensors in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base.batches import count, each
from hubft.hookspecs import Loaded

PLAIN = (str, int, float, bool, torch.dtype, torch.device, type(None))


@dataclass(frozen=True)
class Blank:
    """What stands for a tensor that was recorded."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    per_sample: int
    """Length of the first dimension for one sample; 0 where it does not grow with the batch."""
    written: bool = True
    """Whether something writes into it in place: an expanded zero has no memory for that."""

    @classmethod
    def of(cls, tensor: Tensor, batch: int) -> Blank:
        per_sample, rest = divmod(len(tensor), batch) if tensor.ndim else (0, 0)
        return cls(tuple(tensor.shape), tensor.dtype, 0 if rest else per_sample)

    def make(self, batch: int, device: torch.device) -> Tensor:
        """Return zeros for that many samples."""
        shape = (batch * self.per_sample, *self.shape[1:]) if self.per_sample else self.shape
        if self.written:
            return torch.zeros(shape, dtype=self.dtype, device=device)
        return torch.zeros((), dtype=self.dtype, device=device).expand(shape)


@dataclass
class Call:
    """One call of a module."""

    name: str
    module: nn.Module
    start: int
    arguments: dict[int | str, Any]
    """By place or keyword."""
    end: int = -1
    output: Any = None
    """What it gave, with a `Blank` in the place of each tensor."""

    def rows(self, batch: int) -> list[int | str]:
        """Return the places of the arguments that are tensors with a row for each sample."""
        tensors = {place: x for place, x in self.arguments.items() if isinstance(x, Tensor)}
        return [place for place, x in tensors.items() if x.ndim and len(x) == batch]


def record(loaded: Loaded, inputs: Any) -> list[Call]:
    """Return all calls of one forward pass, by their start; `start` and `end` count the events of the pass."""
    calls: list[Call] = []
    stack: list[Call] = []
    events = iter(range(2**62))

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> None:
            arguments: dict[Any, Any] = dict(enumerate(args))
            call = Call(name, module, next(events), arguments | kwargs)
            calls.append(call)
            stack.append(call)

        return hook

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call = stack.pop()
        call.end, call.output = next(events), each(output, lambda tensor: Blank.of(tensor, count(inputs)))

    handles = []
    try:
        for name, module in loaded.model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        loaded.forward(loaded.model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def leaves(value: Any) -> Iterator[Any]:
    """Yield what lies in tuples, lists and dicts."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Put a whole model in eval mode, and give each module its own mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
