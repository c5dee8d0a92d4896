"""Layers that were changed before a model trained, as plain data: done by a run, and again by whoever loads it.

    {"kind": "surgery", "changes": ["relu=gelu", "batchnorm=group:8", "drop_path=0.1", "channels=4"]}

The grammar of a change is that of `--surgery` (`hubft/surgery.py`). The head is not touched: it has options of its own.
"""

from __future__ import annotations

import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from hubft import surgery
from hubft.base.errors import JobError, Option, PackageError, reason
from hubft.hookspecs import Loaded
from hubft.inputs import framed
from hubft.surgery import Change

KIND = "surgery"
MOST = 64  # changes of a record
ACTIVATIONS: Mapping[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "relu": (nn.ReLU, ("ReLU",)),
    "relu6": (nn.ReLU6, ("ReLU6",)),
    "leaky_relu": (nn.LeakyReLU, ("LeakyReLU",)),
    "elu": (nn.ELU, ("ELU",)),
    "gelu": (nn.GELU, ("GELU", "GELUTanh", "QuickGELU", "GELUActivation", "NewGELUActivation", "QuickGELUActivation")),
    "silu": (nn.SiLU, ("SiLU", "Swish", "MemoryEfficientSwish", "SiLUActivation")),
    "mish": (nn.Mish, ("Mish", "MishActivation")),
    "hardswish": (nn.Hardswish, ("Hardswish", "HardSwish")),
    "tanh": (nn.Tanh, ("Tanh",)),
}
"""Of each kind what is put in, and by which names of classes it is found: of torch, timm and transformers."""
COLOURS = 3  # channels by which a convolution that reads images is known
BRANCH = re.compile(r"(^|\.)(drop_path\d*|stochastic_depth)$")
"""Names of the modules that leave out a residual branch, in timm, transformers and torchvision."""


def check(record: Mapping[str, Any]) -> None:
    """Check the form of a record, of which nothing is known.

    :raises PackageError: it is not of this form.
    """
    changes = record.get("changes")
    listed = isinstance(changes, list | tuple) and all(isinstance(one, str) for one in changes)
    if set(record) != {"kind", "changes"} or not listed or not 1 <= len(changes or ()) <= MOST:
        raise PackageError(f"a record of {KIND} has changes, a list of 1 to {MOST} texts, and nothing else")
    try:
        surgery.parse(",".join(changes or ()))
    except JobError as error:
        raise PackageError(f"its structure has a change that cannot be: {error}") from error


def words(record: Mapping[str, Any]) -> str:
    """Return what was changed, in words."""
    return ", ".join(record["changes"])


def made(loaded: Loaded, text: str) -> list[dict[str, Any]]:
    """Change the layers of a model, in place, as `--surgery` says; return the record of it, where there is something
    to change.

    :raises JobError: the model has nothing of the kind before its head.
    """
    changes = surgery.parse(text)
    for change in changes:
        operate(loaded, change)
    return [{"kind": KIND, "changes": [str(change) for change in changes]}] if changes else []


def give(loaded: Loaded, record: Mapping[str, Any]) -> None:
    """Do the changes of a record to a model whose weights come later.

    :raises PackageError: it has nothing of the kind.
    """
    try:
        made(loaded, ",".join(record["changes"]))
    except JobError as error:
        raise PackageError(f"its structure does not fit the model: {error}") from error


def operate(loaded: Loaded, change: Change) -> None:
    """Do one change to the layers before the head.

    :raises JobError: there are none of the kind.
    """
    if change.kind == surgery.PATCH:
        _patched(loaded, change)
        return
    places = [name for name, module in body(loaded) if _is(name, module, change.kind)]
    if not places:
        raise JobError(
            Option("surgery"), f" {change}: {loaded.base.reference} has no such layers before its head; {known(loaded)}"
        )
    if change.kind in (surgery.STRIDE, surgery.CHANNELS):
        for name in places:
            _entered(loaded.model.get_submodule(name), change)
        _told(loaded, change)
        return
    fresh: dict[nn.Module, nn.Module] = {}  # of a layer that stands in several places, one as well
    for number, name in enumerate(places):
        above, _, own = name.rpartition(".")
        parent = loaded.model.get_submodule(above)
        old = parent.get_submodule(own)
        if old not in fresh:
            fresh[old] = _new(old, change, number / max(1, len(places) - 1))
        parent.add_module(own, fresh[old])


def body(loaded: Loaded) -> list[tuple[str, nn.Module]]:
    """Return every module before the head by its name, those that stand in several places by each of their names."""
    inside = (loaded.head, f"{loaded.head}.")
    every = loaded.model.named_modules(remove_duplicate=False)
    return [(name, module) for name, module in every if name and name != inside[0] and not name.startswith(inside[1])]


def known(loaded: Loaded) -> str:
    """Return which changes a model can have, for a message."""
    shown = ", ".join(f"{kind} ({number})" for kind, number in counted(loaded).items())
    return f"it has {shown or 'none that can be changed'}"


def counted(loaded: Loaded) -> Counter[str]:
    """Return how many layers of each kind a model has before its head."""
    return Counter(kind for name, module in body(loaded) for kind in surgery.KINDS if _is(name, module, kind))


def _is(name: str, module: nn.Module, kind: str) -> bool:
    if kind == surgery.NORM:
        return isinstance(module, nn.BatchNorm2d)
    if kind == surgery.DROPOUT:
        return isinstance(module, nn.Dropout)
    if kind == surgery.DROP_PATH:
        return bool(BRANCH.search(name))
    if kind in (surgery.STRIDE, surgery.CHANNELS):
        return isinstance(module, nn.Conv2d) and module.in_channels == COLOURS
    return kind in ACTIVATIONS and type(module).__name__ in ACTIVATIONS[kind][1]


def _new(old: nn.Module, change: Change, depth: float) -> nn.Module:
    """Return what stands in the place of a layer.

    :param depth: of the place among its like, from 0, the first, to 1, the last.
    """
    if change.kind == surgery.NORM:
        return _frozen(old) if change.value == surgery.FROZEN else _grouped(old, int(change.number))
    if change.kind == surgery.DROPOUT:
        return nn.Dropout(change.number)
    if change.kind == surgery.DROP_PATH:
        return _branch(old, change.number * depth)
    return ACTIVATIONS[change.value][0]()


def _entered(convolution: Any, change: Change) -> None:
    """Change a convolution that reads images, in place.

    Of one channel its weights are summed, so that a grey picture gives what it gave in three equal channels; of more
    they are repeated in turn, and scaled by 3/N, as timm has it.
    """
    number = int(change.number)
    if change.kind == surgery.STRIDE:
        convolution.stride = (number, number)
        return
    from timm.models import adapt_input_conv  # as below

    old = convolution.weight
    convolution.weight = nn.Parameter(adapt_input_conv(number, old.detach()).clone(), old.requires_grad)
    convolution.in_channels = number


def _told(loaded: Loaded, change: Change) -> None:
    """Tell the modules that compare their images with it how many channels there are: those of transformers do."""
    module: Any
    for _, module in body(loaded):
        if change.kind == surgery.CHANNELS and getattr(module, "num_channels", None) == COLOURS:
            module.num_channels = int(change.number)


def _patched(loaded: Loaded, change: Change) -> None:
    """Have a transformer cut images into patches of another size, by its library: timm resamples the weights as
    FlexiViT does (Beyer et al. 2023, https://arxiv.org/abs/2212.08013), and the positions.

    :raises JobError: its library does not, or images of its size have no whole number of such patches.
    """
    model: Any = loaded.model
    change_size = getattr(model, "set_input_size", None)
    if change_size is None or "patch_size" not in inspect.signature(change_size).parameters:
        why = f"the library of {loaded.base.reference} changes no size of its patches; timm's vision transformers do"
        raise JobError(Option("surgery"), f" {change}: {why}")
    side = int(change.number)
    if any(length % side for length in framed(loaded.inputs).size):
        raise JobError(Option("surgery"), f" {change}: {loaded.inputs} have no whole number of such patches")
    try:
        change_size(patch_size=(side, side))
    except (AssertionError, RuntimeError, ValueError, AttributeError) as error:
        raise JobError(Option("surgery"), f" {change}: {loaded.base.reference}: {reason(error)}") from error


def _branch(old: nn.Module, chance: float) -> nn.Module:
    """Return what leaves out a branch with this chance, which grows with the depth (Huang et al. 2016,
    https://arxiv.org/abs/1603.09382)."""
    from timm.layers import DropPath  # here: whoever loads a package without surgery need not have timm

    return DropPath(chance).train(old.training)


def _frozen(old: Any) -> nn.Module:
    from timm.layers import freeze_batch_norm_2d  # as above

    made: nn.Module = freeze_batch_norm_2d(old)
    return made


def _grouped(old: Any, groups: int) -> nn.Module:
    """Return a group norm (Wu and He 2018, https://arxiv.org/abs/1803.08494) with scale and shift of a batch norm, and
    the activation behind it, where timm has that in one layer: of so many groups, or as many as divide its channels."""
    from timm.layers import BatchNormAct2d, GroupNormAct  # as above

    number, together = math.gcd(groups, old.num_features), isinstance(old, BatchNormAct2d)
    kind: Any = GroupNormAct if together else nn.GroupNorm
    made = kind(num_groups=number, num_channels=old.num_features, eps=old.eps)
    if together:
        made.act, made.drop = old.act, old.drop
    if old.affine:
        made.weight, made.bias = old.weight, old.bias
    grouped: nn.Module = made
    return grouped
