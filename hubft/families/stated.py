"""What a model says of its own input, in the attributes in which libraries say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from hubft.base.serialize import from_dict
from hubft.families import structure
from hubft.hookspecs import Preprocess

SIDES = ("img_size", "image_size", "input_size")  # attributes of a model, or of its patch embedding


def preprocess(model: Any) -> Preprocess | None:
    """Return the preprocessing that a model carries: hubft's own, a transform, or a timm-like configuration."""
    facts = getattr(model, "hubft", None)
    if isinstance(facts, Mapping) and "preprocess" in facts:
        return from_dict(Preprocess, facts["preprocess"], "model.hubft['preprocess']")
    transform = getattr(model, "preprocess", None)
    if hasattr(transform, "transforms") or hasattr(transform, "crop_size"):
        return structure.preprocess_of_transform(transform)
    for name in ("pretrained_cfg", "default_cfg"):
        if isinstance(config := getattr(model, name, None), Mapping):
            return structure.preprocess_of_config(config)
    return None


def sizes(model: nn.Module) -> list[tuple[int, int]]:
    """Return the input sizes that a model says, in pixels."""
    found = []
    for module in (model, *model.children()):
        for name in SIDES:
            value = getattr(module, name, None)
            sides = tuple(value) if isinstance(value, tuple | list) else (value,)
            sides = sides[-2:] if len(sides) > 1 else sides * 2
            if len(sides) == 2 and all(type(side) is int and 8 <= side <= 8192 for side in sides):
                found.append((sides[0], sides[1]))
    return found
