"""A model that is cut in two, without touching its code: its first part computes features, its second runs on them.

What lies before the cut is frozen, so its output for a sample never changes: `Cut.features` computes it, once, and
`Cut.feed` runs the rest on it. In a feed every module before the cut gives zeros of the recorded shape, which cost
nothing, and the input of the first module after it is replaced by the features. Functions between those modules run
on the zeros, and what they give is thrown away.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base.batches import each
from hubft.cut.calls import Blank, in_eval
from hubft.families.stages import under
from hubft.hookspecs import Loaded


def among(name: str, prefixes: tuple[str, ...]) -> bool:
    """Tell whether a dotted name is, or lies below, one of the prefixes."""
    return any(under(name, prefix) for prefix in prefixes)


class _Reached(Exception):
    """Ends a forward pass at the cut, with the features."""

    def __init__(self, features: Tensor) -> None:
        super().__init__("the forward pass came to the cut")
        self.features = features


@dataclass(frozen=True)
class Cut:
    """Where a model is cut."""

    loaded: Loaded
    entry: str
    """Dotted name of the first module after the cut; its input are the features."""
    place: int | str
    """The features' place among the arguments of the entry, or their keyword."""
    shape: tuple[int, ...]
    """Of the features of one sample."""
    dtype: torch.dtype
    """Of the features where nothing is autocast."""
    blank: Any
    """The model's inputs, with a `Blank` in the place of each tensor."""
    stubs: Mapping[str, tuple[Any, ...]]
    """What each module before the cut gives, call by call, with a `Blank` in the place of a tensor."""
    behind: tuple[str, ...]
    """Prefixes of the names of what lies after the cut."""

    @property
    def model(self) -> nn.Module:
        return self.loaded.model

    def call(self, inputs: Any) -> Any:
        """Return what the model gives for these inputs, or in a feed for its blank."""
        return self.loaded.forward(self.model, inputs)

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer that the features may depend on, by name."""
        named = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        return {name: tensor for name, tensor in named.items() if not among(name, self.behind)}

    def features(self, inputs: Any) -> Tensor:
        """Return what the entry is given for `inputs`: `[b, *shape]`, computed in eval mode, and nothing after it.

        Call it under `torch.no_grad()`, and in the autocast of the steps that the features are for.
        """

        def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Reached(args[self.place] if isinstance(self.place, int) else kwargs[self.place])

        handle = self.model.get_submodule(self.entry).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with _eager(), in_eval(self.model):
                self.call(inputs)
        except _Reached as reached:
            return reached.features
        finally:
            handle.remove()
        raise RuntimeError(f"the forward pass did not come to {self.entry}")

    @contextmanager
    def feed(self, features: Tensor) -> Iterator[Any]:
        """Give the blank to call the model on, so that from the cut on it computes on `features`, `[b, *shape]`.

        Afterwards the model is as it was. A module that works in place may write into `features`. A model that was
        compiled runs uncompiled in here: its graph knows no stubs.
        """
        if not torch.is_autocast_enabled(features.device.type):
            features = features.to(self.dtype)

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            if isinstance(self.place, int):
                return (*args[: self.place], features, *args[self.place + 1 :]), kwargs
            return args, {**kwargs, self.place: features}

        handle = self.model.get_submodule(self.entry).register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with _eager(), _stubbed(self, len(features), features.device):
                yield _filled(self.blank, len(features), features.device)
        finally:
            handle.remove()


@contextmanager
def _stubbed(cut: Cut, batch: int, device: torch.device) -> Iterator[None]:
    before: list[tuple[nn.Module, Any]] = []
    try:
        for name, outputs in cut.stubs.items():
            module = cut.model.get_submodule(name)
            before.append((module, module.__dict__.get("forward")))
            module.forward = _stub(outputs, batch, device)
        yield
    finally:
        for module, forward in before:
            del module.forward
            if forward is not None:  # a library had put one there
                module.forward = forward


def _stub(outputs: tuple[Any, ...], batch: int, device: torch.device) -> Callable[..., Any]:
    calls = cycle(outputs)
    return lambda *_, **__: _filled(next(calls), batch, device)


def _filled(tree: Any, batch: int, device: torch.device) -> Any:
    """Return zeros for that many samples in the place of every `Blank`."""
    return each(tree, lambda blank: blank.make(batch, device), Blank)


def _eager() -> AbstractContextManager[Any]:
    # Where nothing was compiled, the compiler is not imported either: that takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
