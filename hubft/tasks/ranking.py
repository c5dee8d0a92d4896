"""Names by their probabilities: what classes and labels have in common when they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any


def ranked(names: Sequence[str], shares: Sequence[float]) -> dict[str, float]:
    """Return names with their probabilities, the most probable first."""
    return dict(sorted(zip(names, shares, strict=True), key=lambda one: -one[1]))


def shortened(said: Mapping[str, Any], top: int) -> dict[str, Any]:
    """Return what was said of a sample with so many probabilities at most."""
    return {**said, "probabilities": dict(islice(said["probabilities"].items(), top))}


def cells(said: Mapping[str, Any], word: str, top: int) -> dict[str, Any]:
    """Return so many names and probabilities as the cells of a table: `label`, `probability`, `label_2`, ..."""
    row: dict[str, Any] = {}
    for rank, (name, share) in enumerate(islice(said["probabilities"].items(), top), 1):
        behind = f"_{rank}" if rank > 1 else ""
        row |= {f"{word}{behind}": name, f"probability{behind}": share}
    return row
