"""Structural helpers that families share: stages from groups of parameters or from a model's children, and more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any

from torch import nn

from hubft.base import digest
from hubft.base.errors import FamilyError, PackageError
from hubft.families.stages import under
from hubft.hookspecs import Preprocess
from hubft.job import Task

Stages = dict[str, tuple[str, ...]]

TO_TENSOR = ("ToTensor", "PILToTensor", "ToImage", "ToDtype", "ConvertImageDtype")  # of torchvision's transforms
BLOCKS = 4  # a model is opened until it shows that many blocks: fewer say little to `--train last:N`

ASKED: ContextVar[int] = ContextVar("size", default=0)
"""`--size` of the job whose model is loaded: for a family that must run a model to know it. Loading depends on it in
nothing else."""


@contextmanager
def asked_size(size: int) -> Iterator[None]:
    """Have `ASKED` be this size."""
    token = ASKED.set(size)
    try:
        yield
    finally:
        ASKED.reset(token)


def stages(model: nn.Module, groups: Iterable[Sequence[str]], heads: Sequence[str]) -> Stages:
    """Return the stages of a model whose parameters lie in `groups`, in forward order.

    :param groups: names of parameters; what belongs to a head is left out of them.
    :param heads: dotted names of the modules that make the last stage.

    A group without a matrix (a norm before the head) goes with the group before it. A stage is named after its
    largest module; the first is `stem`, the last `head`, and a body module called `head` is `neck`.
    """
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    matrices = {name for name, p in model.named_parameters() if p.ndim >= 2}
    bodies: list[list[str]] = []
    for group in groups:
        body = [name for name in group if not any(under(name, head) for head in heads)]
        if bodies and matrices.isdisjoint(body):
            bodies[-1] += body
        elif body:
            bodies.append(body)
    covers = [_prefixes(body, sizes) for body in bodies]
    found: Stages = {}
    for cover in covers:
        largest = max(cover, key=lambda prefix: sum(sizes[n] for n in sizes if under(n, prefix)))
        found["stem" if not found else "neck" if largest == "head" else largest] = cover
    found["head"] = tuple(heads)
    if len(found) != len(covers) + 1:
        raise FamilyError(f"two stages of {type(model).__name__} have one name: {', '.join(found)}")
    return found


def _prefixes(group: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the shortest dotted prefixes that cover the names of `group` and no other of `names`."""
    everywhere = Counter(prefix for name in names for prefix in _ancestors(name))
    here = Counter(prefix for name in group for prefix in _ancestors(name))
    covers = (next(p for p in _ancestors(name) if here[p] == everywhere[p]) for name in group)
    return tuple(dict.fromkeys(covers))


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def children(model: nn.Module, heads: Sequence[str], order: Mapping[str, int] | None = None) -> list[list[str]]:
    """Return the names of the parameters before the head, grouped by the model's blocks, in forward order.

    Blocks are the children of the model; where those are few, the largest is replaced by its own children, and
    so on. A child without a matrix (a norm) goes with the one before it; tokens and positions go with the first.

    :param order: position of each module in the forward pass (`first_use`); without it, order of registration.
    """
    shapes = {n: p.shape for n, p in model.named_parameters() if not any(under(n, head) for head in heads)}
    units = _units(shapes)
    if order is not None:
        units = _in_order(units, order)
    first: list[str] = []
    groups: list[list[str]] = []
    for prefix, names in units.items():
        matrix = any(len(shapes[name]) >= 2 for name in names)
        if prefix in shapes and matrix:
            first += names
        elif groups and not (matrix and any(len(shapes[name]) >= 2 for name in groups[-1])):
            groups[-1] += names
        else:
            groups.append(list(names))
    return [first + groups[0], *groups[1:]] if groups else [first]


def _units(shapes: Mapping[str, Any]) -> dict[str, list[str]]:
    units = _split("", list(shapes))
    while True:
        blocks = {
            prefix: names for prefix, names in units.items() if any(n.count(".") > prefix.count(".") + 1 for n in names)
        }
        if not blocks or len(blocks) >= BLOCKS:
            return units
        largest = max(blocks, key=lambda prefix: sum(shapes[name].numel() for name in blocks[prefix]))
        opened: dict[str, list[str]] = {}
        for prefix, names in units.items():
            opened |= _split(prefix + ".", names) if prefix == largest else {prefix: names}
        units = opened


def _split(prefix: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names, all below `prefix`, by their next component."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(prefix + name.removeprefix(prefix).partition(".")[0], []).append(name)
    return found


def _in_order(units: Mapping[str, list[str]], order: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the blocks by their first use; what the pass does not use goes with its neighbour in registration."""
    found: dict[str, list[str]] = {}
    places: dict[str, int] = {}
    waiting: list[str] = []
    for prefix, names in units.items():
        uses = [place for module, place in order.items() if under(module, prefix)]
        if uses:
            found[prefix], places[prefix] = [*waiting, *names], min(uses)
            waiting = []
        else:
            (found[next(reversed(found))] if found else waiting).extend(names)
    return dict(sorted(found.items(), key=lambda unit: places[unit[0]])) if found else dict(units)


def convolution(inputs: int, task: Task, std: float = 0.0) -> nn.Module:
    """Return what `hubft.families.defaults.head` does as 1x1 convolutions, for heads that see a feature map.

    :param std: of the last layer's first weights; they are zero, as there, unless what follows forbids it.
    """
    layers: list[nn.Module] = []
    for width, following in pairwise([inputs, *task.hidden, task.outputs]):
        layers += [nn.GELU()] if layers else []
        layers += [nn.Dropout(task.dropout)] if task.dropout else []
        layers.append(last := nn.Conv2d(width, following, 1))
    nn.init.normal_(last.weight, std=std)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


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


def config_of_preprocess(preprocess: Preprocess) -> dict[str, Any]:
    """Return a timm data config by which timm preprocesses alike; the reverse of `preprocess_of_config`."""
    height, width = preprocess.size
    resize = preprocess.resize if isinstance(preprocess.resize, int) else preprocess.resize[0]
    share = height / resize
    if floor(height / share) != resize:
        share = height / (resize + 0.5)  # timm rounds the quotient down
    return {
        "input_size": (3, height, width),
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


def verified(file: Path) -> Path:
    """Return the path of a weights' file whose bytes agree with the digest in its name (`resnet18-f37072fd.pth`).

    :raises PackageError: other bytes, or a name without a digest.
    """
    sha256 = digest.of_file(file)
    wanted = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if wanted is None or not sha256.startswith(wanted[1]):
        raise PackageError(f"{file} is damaged or altered: its sha256 is {sha256}; delete it and load again")
    return file
