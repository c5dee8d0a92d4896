"""How large a model is, without its head: what a record of widths states of before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hubft.compress import layers
from hubft.hookspecs import Loaded

NAMES = ("channels", "parameters")


def outputs(loaded: Loaded) -> dict[str, int]:
    """Return the number of outputs of every convolution and linear layer of a model by its name, without its head."""
    found = {}
    for name, module in loaded.model.named_modules():
        layer = layers.of(module)
        if layer and layer.outputs and not _of_head(loaded, name):
            found[name] = int(getattr(module, layer.outputs))
    return found


def of(loaded: Loaded) -> dict[str, int]:
    """Return the numbers of NAMES of a model: `channels` are the `outputs` of all layers."""
    parameters = sum(p.numel() for name, p in loaded.model.named_parameters() if not _of_head(loaded, name))
    return dict(zip(NAMES, (sum(outputs(loaded).values()), parameters), strict=True))


def words(record: Mapping[str, Any]) -> str:
    """Return how much of a model a record takes out, in words."""
    channels, parameters = (f"{1 - after / before:.0%}" for before, after in (record[name] for name in NAMES))
    return f"{channels} of them, and {parameters} of the parameters, the head not counted"


def _of_head(loaded: Loaded, name: str) -> bool:
    return f"{name}.".startswith(f"{loaded.head}.")
