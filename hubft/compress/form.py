"""A form of its own for the weights of a package that lie over a base."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

Reading = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Gives the tensors of a file, which must be like these in name, shape and dtype."""


@dataclass(frozen=True)
class Form:
    """How the file of weights holds them."""

    file: str
    """Its name."""
    kept: tuple[str, ...]
    """Modules whose tensors it holds in any case, also where they are the base's."""
    packed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """Gives its tensors, of those that are not the base's."""
    unpacked: Callable[[Reading, Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]
    """Gives, by (reading of the file, tensors that the base does not give, those that it gives), the tensors of the
    model that are not the base's."""
