"""What a model says of its own input, in the attributes in which libraries say it."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any

from torch import nn

from hubft.base.errors import FamilyError
from hubft.base.serialize import from_dict
from hubft.inputs import Framed, Preprocess

SIDES = ("img_size", "image_size", "input_size")  # attributes of a model, or of its patch embedding


def preprocess(model: Any) -> Preprocess | None:
    """Return the preprocessing that a model carries: hubft's own, a transform, or a timm-like configuration."""
    facts = getattr(model, "hubft", None)
    if isinstance(facts, Mapping) and "preprocess" in facts:
        return from_dict(Preprocess, facts["preprocess"], "model.hubft['preprocess']")
    transform = getattr(model, "preprocess", None)
    if hasattr(transform, "transforms") or hasattr(transform, "crop_size"):
        return preprocess_of_transform(transform)
    for name in ("pretrained_cfg", "default_cfg"):
        if isinstance(config := getattr(model, name, None), Mapping):
            return preprocess_of_config(config)
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


def preprocess_of_config(config: Mapping[str, Any]) -> Preprocess:
    """Return the preprocessing of a timm `pretrained_cfg`, as `timm.data.create_transform` reads it.

    :raises FamilyError: an input that is not RGB, or a crop that `Preprocess` cannot say.
    """
    import timm.data

    data = timm.data.resolve_data_config(pretrained_cfg=dict(config))
    channels, height, width = data["input_size"]
    resize = tuple(floor(side / data["crop_pct"]) for side in (height, width))
    if channels != 3 or (height != width and data["crop_mode"] != "squash"):
        raise FamilyError(
            f"inputs of shape {(channels, height, width)} with crop {data['crop_mode']!r} are not supported"
        )
    return Preprocess(
        size=(height, width),
        resize=resize if data["crop_mode"] == "squash" else resize[0],
        crop=data["crop_mode"],
        interpolation=data["interpolation"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )


def config_of_preprocess(preprocess: Framed) -> dict[str, Any]:
    """Return a timm data config by which timm preprocesses alike; the reverse of `preprocess_of_config`."""
    height = preprocess.size[0]
    resize = preprocess.resize if isinstance(preprocess.resize, int) else preprocess.resize[0]
    share = height / resize
    if floor(height / share) != resize:
        share = height / (resize + 0.5)  # timm rounds the quotient down
    return {
        "input_size": preprocess.shape,
        "crop_pct": share,
        "crop_mode": preprocess.crop,
        "interpolation": preprocess.interpolation,
        "mean": preprocess.mean,
        "std": preprocess.std,
    }


def preprocess_of_transform(transform: Any) -> Preprocess:
    """Return the preprocessing that a torchvision transform does: a preset of its weights, or resize, crop, normalise.

    :raises FamilyError: a transform with other steps, or without one of these.
    """
    if all(hasattr(transform, name) for name in ("resize_size", "crop_size", "interpolation", "mean", "std")):
        resize, crop, norm = transform, transform, transform
        sizes, crops = transform.resize_size, transform.crop_size
    else:
        steps = {type(step).__name__: step for step in getattr(transform, "transforms", ())}
        other = set(steps) - {
            "RGB",
            "Resize",
            "CenterCrop",
            "ToTensor",
            "PILToTensor",
            "ToImage",
            "ToDtype",
            "Normalize",
        }
        if other or not {"Resize", "CenterCrop", "Normalize"} <= set(steps) or steps["Resize"].max_size:
            raise FamilyError(f"no preprocessing can be read from {type(transform).__name__}({', '.join(steps)})")
        resize, crop, norm = steps["Resize"], steps["CenterCrop"], steps["Normalize"]
        sizes, crops = resize.size, crop.size
    sizes = [sizes] if isinstance(sizes, int) else list(sizes)
    crops = [crops] if isinstance(crops, int) else list(crops)
    return Preprocess(
        size=(crops[0], crops[-1]),
        resize=sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1]),
        crop="center" if len(sizes) == 1 else "squash",
        interpolation=resize.interpolation.value,
        mean=tuple(norm.mean),
        std=tuple(norm.std),
    )
