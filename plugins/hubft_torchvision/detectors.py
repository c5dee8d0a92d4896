"""The detectors of the family `torchvision`: Faster R-CNN, RetinaNet, FCOS, SSD and SSDLite, as torchvision has them.

Their own transform resizes and normalises no more: hubft does that, so that training, evaluation and every export see
the same pixels, and boxes are in pixels of the model's input. All but the SSDs, which squash their pictures, get them
with their proportions, in the middle of a square of mean colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import detection
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from hubft.base.errors import JobError, Option
from hubft.families import structure
from hubft.hookspecs import Base, Loaded
from hubft.inputs import Images
from hubft.job import Head
from hubft.tasks.losses import Whole
from hubft_torchvision import divisors, static

FROZEN = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_resnet50_fpn": 0.0,
    "fcos_resnet50_fpn": 1e-5,
    "retinanet_resnet50_fpn": 0.0,
}
"""Models whose batch norms torchvision freezes for good where it loads weights -> the epsilon that they have then."""
OTHERS = ("maskrcnn", "keypointrcnn")  # what they give is more than boxes
PRIOR = 0.01  # probability of a class at an anchor before anything is learned
DIVISOR = 32  # of a side, that a pyramid of features can be halved five times


def names() -> list[str]:
    """Return the names of all detectors of boxes."""
    return [name for name in models.list_models(module=detection) if not name.startswith(OTHERS)]


def built(name: str, classes: int) -> nn.Module:
    """Return a detector without weights, of the layers that it has with them.

    :param classes: of the weights, the background among them.
    """
    builder = getattr(detection, name)
    model: nn.Module = builder(weights=None, weights_backbone=None, num_classes=classes)
    if name in FROZEN:
        _freeze_norms(model, FROZEN[name])
    return model


def _freeze_norms(model: nn.Module, epsilon: float) -> None:
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, norm in norms.items():
        model.set_submodule(name, FrozenBatchNorm2d(norm.num_features, eps=epsilon))


def loaded(model: Any, base: Base) -> Loaded:
    """Return a detector with what the core must know of it; its own normalisation becomes that of its inputs."""
    transform = model.transform
    mean, std = tuple(transform.image_mean), tuple(transform.image_std)
    transform.image_mean, transform.image_std = [0.0] * 3, [1.0] * 3
    fixed = transform.fixed_size
    side = fixed[0] if fixed else -(-transform.min_size[-1] // DIVISOR) * DIVISOR
    inputs = Images((side, side), (side, side), "squash" if fixed else "border", mean=mean, std=std)
    heads = _classifiers(model)
    stages = structure.stages(model, structure.children(model, heads), heads)
    return Loaded(model, heads[0], stages, inputs, base, forward=detections)


def _classifiers(model: Any) -> list[str]:
    """Return the names of the layers whose widths the number of classes says."""
    if hasattr(model, "roi_heads"):
        return ["roi_heads.box_predictor"]
    root = "head.classification_head"
    levels = getattr(model.head.classification_head, "module_list", None)
    if levels is None:
        return [f"{root}.cls_logits"]
    convolutions = [n for n, m in levels.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    return [f"{root}.module_list.{name}" for name in convolutions]


def adapted(it: Loaded, head: Head) -> Loaded:
    """Return a detector that tells other classes apart: what says the class is fresh, what places the boxes is kept.

    Faster R-CNN places the boxes of each class by weights of their own: those of a new class begin as the mean of the
    old ones.

    :raises JobError: hidden layers or dropout, which the heads of detectors have no place for.
    """
    for name in ("hidden", "dropout"):
        if value := getattr(head, name):
            raise JobError(Option(name), f" {value}: the head of a detector is its own; leave it out")
    model: Any = it.model
    classes = head.outputs + _first(model)
    if hasattr(model, "roi_heads"):
        model.roi_heads.box_predictor = _predictor(model.roi_heads.box_predictor, classes)
        return it
    part = model.head.classification_head
    old = part.num_classes if hasattr(part, "num_classes") else part.num_columns
    for name in _classifiers(model):
        model.set_submodule(name, _convolution(model.get_submodule(name), old, classes, sigmoid=not _first(model)))
    setattr(part, "num_classes" if hasattr(part, "num_classes") else "num_columns", classes)
    return replace(it, head=_classifiers(model)[0])


def _first(model: nn.Module) -> int:
    """Return the number of the first class: 1 where a softmax has the background as 0; a sigmoid has none."""
    return int(hasattr(model, "roi_heads") or hasattr(model, "neg_to_pos_ratio"))


@torch.no_grad()
def _predictor(old: FastRCNNPredictor, classes: int) -> FastRCNNPredictor:
    new = FastRCNNPredictor(old.cls_score.in_features, classes)
    for ours, its in ((new.bbox_pred.weight, old.bbox_pred.weight), (new.bbox_pred.bias, old.bbox_pred.bias)):
        each = its.unflatten(0, (-1, 4))[1:].mean(0)  # of the background nothing was learned
        ours.copy_(each.repeat(classes, *[1] * (each.ndim - 1)))
    return new


def _convolution(old: Any, before: int, classes: int, sigmoid: bool) -> nn.Conv2d:
    """Return a fresh layer of as many anchors, as torchvision starts it: where a sigmoid follows, with a probability
    of PRIOR (https://arxiv.org/abs/1708.02002, section 4.1)."""
    anchors = old.out_channels // before
    new = nn.Conv2d(old.in_channels, anchors * classes, old.kernel_size, old.stride, old.padding)
    nn.init.normal_(new.weight, std=0.01 if sigmoid else 0.03)
    assert new.bias is not None
    nn.init.constant_(new.bias, math.log(PRIOR / (1 - PRIOR)) if sigmoid else 0.0)
    return new


# ---- calls -------------------------------------------------------------------------------------------


def detections(model: Any, inputs: Tensor) -> Tensor:
    """Return the boxes of images `[n, 3, height, width]`, as `hubft.tasks.boxes.Boxes` reads them: `[n, k, 6]`."""
    if torch.compiler.is_exporting() and not hasattr(model, "roi_heads"):
        return static.detections(model, inputs)
    _at_size(model, inputs)
    most = (model.roi_heads if hasattr(model, "roi_heads") else model).detections_per_img
    return torch.stack([_row(one, most, _first(model)) for one in model(list(inputs))])


def _row(found: Mapping[str, Tensor], most: int, first: int) -> Tensor:
    """Return a row for each box, the best first, filled up with zeros to so many."""
    parts = (found["boxes"], found["scores"][:, None], (found["labels"] - first)[:, None].to(found["boxes"]))
    rows = torch.cat(parts, 1)
    return torch.cat([rows, rows.new_zeros(most, 6)])[:most]


def _at_size(model: Any, inputs: Tensor) -> None:
    """Have the model's transform leave images as they are."""
    size = (inputs.shape[3], inputs.shape[2])
    if model.transform.fixed_size != size:
        model.transform.fixed_size = size


def losses(
    model: Any, inputs: Tensor, targets: Sequence[Mapping[str, Tensor]], whole: Whole | None = None
) -> dict[str, Tensor]:
    """Return the losses of a detector by their names, each a scalar, whatever mode its layers are in.

    :param targets: as `Boxes` collates them; crowds are left out.
    :param whole: the batch that these are a part of, whose losses those of its parts then add up to.
    """
    _at_size(model, inputs)
    first = _first(model)
    wanted = [{"boxes": its["boxes"][~its["crowd"]], "labels": its["labels"][~its["crowd"]] + first} for its in targets]
    if whole is None or not divisors.counted(model):
        with _losing(model):
            found: dict[str, Tensor] = model(list(inputs), wanted)
        return found
    model = getattr(model, "_orig_mod", model)  # what was compiled
    with _losing(model), divisors.heard(model) as seen:
        found = model(list(inputs), wanted)
    factor = divisors.factor(model, seen[-1], [its["boxes"] for its in wanted], whole)
    return {name: loss * factor for name, loss in found.items()}


@contextmanager
def _losing(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode, as when steps are timed, give losses all the same: its layers stay as they are."""
    parts = [model, *(getattr(model, name) for name in ("rpn", "roi_heads") if hasattr(model, name))]
    switched = [] if model.training else parts
    for part in switched:
        part.training = True
    try:
        yield
    finally:
        for part in switched:
            part.training = False
