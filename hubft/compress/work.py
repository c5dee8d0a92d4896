"""What a method of the core is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from hubft.hookspecs import Batch, Compressed, Loaded, Tune


@dataclass(frozen=True)
class Work:
    """The model to compress, with what the hook `compress` says of it."""

    loaded: Loaded
    batches: Iterable[Batch]
    tune: Tune
    argument: str = ""
    """What stands behind the colon."""


@dataclass(frozen=True)
class Method:
    """A method of the core."""

    apply: Callable[[Work], Compressed]
    argument: str = ""
    """Name of what stands behind the colon; empty where nothing does."""
    check: Callable[[str], None] = lambda argument: None
    """Raises JobError where the argument is none."""
    rounds: bool = True
    """Whether it rounds weights; else it trains them, which would undo a rounding before it."""


def rounding(function: Callable[[nn.Module], nn.Module]) -> Method:
    """Return the method that rounds the model's values in place and changes nothing else."""
    return Method(lambda work: Compressed(function(work.loaded.model)))
