"""The family `torchvision`: every classifier and every detector of boxes, by its name: `torchvision:resnet50`.

`@` after the name chooses the weights: `torchvision:resnet50@IMAGENET1K_V1`; without it they are the DEFAULT of the
installed torchvision. They are verified against the digest in their file's name each time, also when they lie in the
cache already, and never unpickled.
"""

from __future__ import annotations

import re
import sys
from collections.abc import MutableMapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from hubft import hookimpl
from hubft.base import digest, network
from hubft.base.errors import FamilyError, JobError, Option, suggest
from hubft.families import defaults, stated, structure
from hubft.hookspecs import Base, Batch, Forward, Loaded
from hubft.job import Head
from hubft.tasks.losses import whole_of
from hubft_torchvision import detectors

hubft_family = {"api": (1, 5), "example": "shufflenet_v2_x0_5"}

SWAG = "facebookresearch/SWAG"  # names, in a weights' `license`, the only ones that are not torchvision's own
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    """Return a torchvision model; its head is its last layer, its stages are its blocks."""
    known, _, wanted = name.partition("@")
    weights = _weights(known, wanted)
    if known in detectors.names():
        model = detectors.built(known, len(weights.meta["categories"]))
        if pretrained:
            model.load_state_dict(_state(known, weights))
        return detectors.loaded(model, _base(known, weights))
    if not weights.meta["categories"]:
        raise FamilyError(f"torchvision:{name} has no classifier: the weights {weights.name} are of features only")
    model = models.get_model(known, weights=None, **_arguments(known, weights))
    if pretrained:
        model.load_state_dict(_state(known, weights))
    head = _head(model)
    stages = structure.stages(model, structure.children(model, [head]), [head])
    inputs = stated.preprocess_of_transform(weights.transforms())
    return Loaded(model, head, stages, inputs, _base(known, weights))


def _base(name: str, weights: models.WeightsEnum) -> Base:
    return Base(
        reference=f"torchvision:{name}@{weights.name}",
        revision=weights.name,
        license="cc-by-nc-4.0" if SWAG in weights.meta.get("license", "") else "bsd-3-clause",
    )


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded | None:
    """Replace the head of a detector, and that of SqueezeNet, a convolution, by convolutions; leave every Linear to
    the core.

    A ReLU follows it, which passes no gradient at zero: so it starts near zero, as torchvision starts it.
    """
    if loaded.forward is detectors.detections:
        return detectors.adapted(loaded, head)
    old = loaded.model.get_submodule(loaded.head)
    if not isinstance(old, nn.Conv2d):
        return None
    loaded.model.set_submodule(loaded.head, defaults.convolution(old.in_channels, head, std=0.01))
    return loaded


@hookimpl
def train_step(model: nn.Module, batch: Batch, criterion: nn.Module, forward: Forward) -> dict[str, Tensor] | None:
    """Train a detector by its own losses, all of equal weight. Without gradients it is asked for its boxes."""
    if forward is not detectors.detections or not torch.is_grad_enabled():
        return None
    inputs, targets = batch
    found = detectors.losses(model, inputs, targets, whole_of(criterion))
    logged = {name: value.detach() for name, value in found.items()}
    return {"loss": torch.stack(list(found.values())).sum(), "outputs": inputs.new_zeros(len(inputs), 0, 6), **logged}


@hookimpl
def compress(loaded: Loaded, method: str) -> None:
    """Refuse to prune a detector: Torch-Pruning would follow every single box, and not come to an end."""
    if loaded.forward is detectors.detections and method.partition(":")[0] == "prune":
        raise JobError(Option("compress"), f" {method}: {loaded.base.reference} is a detector, which cannot be pruned")


def names() -> list[str]:
    """Return torchvision's own list of classifiers, and of those detectors that `load` knows."""
    return [*models.list_models(module=models), *detectors.names()]


def _weights(name: str, wanted: str) -> models.WeightsEnum:
    known_names = names()
    if name not in known_names:
        near = suggest(name, known_names)
        raise FamilyError(f"torchvision has no classifier or detector {name!r}.{near} It has {', '.join(known_names)}")
    known = models.get_model_weights(name).__members__
    if wanted and wanted not in known:
        raise FamilyError(
            f"torchvision:{name} has no weights {wanted!r}; it has {', '.join(known)}.{suggest(wanted, known)}"
        )
    return known[wanted or "DEFAULT"]


def _arguments(name: str, weights: models.WeightsEnum) -> dict[str, Any]:
    """Return what torchvision passes to the constructor for these weights, so that the model without them is the same.

    GoogLeNet and Inception are built without their auxiliary heads: those act in training mode only, where the model
    then returns a tuple, are not pretrained in GoogLeNet, and keep the class count of the base.
    """
    arguments: dict[str, Any] = {"num_classes": len(weights.meta["categories"])}
    if name in ("googlenet", "inception_v3"):
        arguments |= {"transform_input": True, "aux_logits": False, "init_weights": False}
    if name.startswith("vit_"):
        arguments["image_size"] = weights.meta["min_size"][0]
    return arguments


def _state(name: str, weights: models.WeightsEnum) -> MutableMapping[str, Tensor]:
    """Return the weights under the model's names. The mapping is changed in place: it carries versions of modules."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        if file.exists():
            digest.verified(file)
        elif why := network.unreachable(weights.url):
            raise FamilyError(f"torchvision:{name}: {why}, and {file.name} is not in the cache of torch.hub")
        with redirect_stdout(sys.stderr):  # torch.hub prints there that it downloads
            state: MutableMapping[str, Tensor] = weights.get_state_dict(
                progress=True, check_hash=True, weights_only=True, map_location="cpu"
            )
    except (OSError, RuntimeError) as error:
        raise FamilyError(
            f"torchvision:{name}: {weights.url} cannot be had: {type(error).__name__}: {error}"
        ) from error
    for key in list(state):
        # DenseNet's files are older than the rule that a module's name has no dot: norm.1 is norm1 now
        new = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key)
        if new != key:
            state[new] = state.pop(key)
        if name in ("googlenet", "inception_v3") and key.startswith(AUXILIARY):
            del state[key]
    return state


def _head(model: nn.Module) -> str:
    """Return the name of the last layer with weights: in torchvision, registered last is used last."""
    layers: list[str] = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1]
