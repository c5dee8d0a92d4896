"""The detectors of transformers: DETR and its kin, which train by the losses that they bring.

Boxes are in pixels of the model's input, as `hubft.tasks.boxes.Boxes` has them; the models' own are shares of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert
from transformers.models.auto import modeling_auto

from hubft.base.errors import JobError, Option
from hubft.base.quiet import quiet
from hubft.hookspecs import Loaded
from hubft.job import Head
from hubft.tasks.losses import Whole
from hubft_transformers import divisors, models
from hubft_transformers.models import Use

TYPES = {
    kind: name
    for kind, name in modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES.items()
    if not kind.startswith("pp_")  # of documents: these have no losses
}
OTHERWISE = (
    "RTDetrImageProcessor"  # of types for which transformers names none: their scores are sigmoids, as RT-DETR's
)

UNCHECKED = "TRANSFORMERS_DISABLE_TORCH_CHECK"  # transformers' own switch


def detections(model: Any, inputs: Tensor) -> Tensor:
    """Return the boxes of images `[n, 3, height, width]`, the best first: `[n, k, 6]`, a box for each query.

    Each has its corners in pixels, its score and its class. Where a softmax has "no object" as its last class, a query
    gives its best class (https://arxiv.org/abs/2005.12872); where classes are sigmoids, the best pairs of a query and
    a class are given (https://arxiv.org/abs/2010.04159).
    """
    with _unchecked():
        said = model(pixel_values=inputs)
    boxes, size = said.pred_boxes, inputs.shape[2:]
    most, classes = boxes.shape[1], model.config.num_labels
    if said.logits.shape[2] > classes:
        scores, places = said.logits.softmax(2)[:, :, :-1].max(2)
        scores, queries = scores.topk(most, 1)
        places = places.gather(1, queries)
    else:
        scores, pairs = said.logits.sigmoid().flatten(1).topk(most, 1)
        queries, places = pairs // classes, pairs % classes
    corners = box_convert(boxes, "cxcywh", "xyxy") * boxes.new_tensor([size[1], size[0], size[1], size[0]])
    corners = corners.gather(1, queries[:, :, None].expand(-1, -1, 4))
    return torch.cat([corners, scores[:, :, None], places[:, :, None].to(corners)], 2)


@contextmanager
def _unchecked() -> Iterator[None]:
    """Have transformers leave out what it asserts of sizes while a model is exported: no file can hold that."""
    before = os.environ.get(UNCHECKED)
    if torch.compiler.is_exporting():
        os.environ[UNCHECKED] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(UNCHECKED, None)
        else:
            os.environ[UNCHECKED] = before


USE = Use("AutoModelForObjectDetection", "images", "a detector", TYPES, detections)


def losses(
    model: nn.Module, inputs: Tensor, targets: Sequence[Mapping[str, Tensor]], whole: Whole | None = None
) -> dict[str, Tensor]:
    """Return the loss of a detector as `loss`, a scalar, beside its terms by their names.

    :param targets: as `Boxes` collates them; crowds are left out.
    :param whole: the batch that these are a part of, whose loss those of its parts then add up to.
    """
    size = inputs.new_tensor([inputs.shape[3], inputs.shape[2], inputs.shape[3], inputs.shape[2]])
    labels = []
    for its in targets:
        single = ~its["crowd"]
        boxes = box_convert(its["boxes"][single] / size, "xyxy", "cxcywh")
        labels.append({"class_labels": its["labels"][single], "boxes": boxes})
    with divisors.of_one_process():
        said = model(pixel_values=inputs, labels=labels)
    loss, terms = divisors.weighted(model, said, targets, whole) if whole else (said.loss, said.loss_dict)
    return {name: value.detach() for name, value in terms.items()} | {"loss": loss}


def adapted(loaded: Loaded, head: Head) -> Loaded:
    """Return a detector that tells other classes apart: what says the class is as transformers makes it, fresh; what
    places the boxes is kept.

    :raises JobError: hidden layers or dropout, which the heads of detectors have no place for.
    """
    for name in ("hidden", "dropout"):
        if value := getattr(head, name):
            raise JobError(Option(name), f" {value}: the head of a detector is its own; leave it out")
    model: Any = loaded.model
    fresh = models.again(model, USE, loaded.base.reference, head.outputs)
    for name in models.labelled(model, USE, loaded.base.reference, every=True):
        model.set_submodule(name, fresh.get_submodule(name))
    model.config.num_labels = head.outputs
    return loaded


def processor(model: Any, size: tuple[int, int], whole: bool) -> dict[str, Any]:
    """Return what a preprocessor_config.json says of a detector beside what all say.

    :param size: height and width of its inputs.
    :param whole: pictures keep their proportions, and are filled up.
    """
    with quiet():  # it imports what logs, and no other model needs it
        from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as known
    named = known.get(model.config.model_type) or {}
    height, width = size
    sizes = {"size": {"height": height, "width": width}, "do_pad": False}
    if whole:
        pad = {"height": height, "width": width}
        sizes = {"size": {"max_height": height, "max_width": width}, "do_pad": True, "pad_size": pad}
    return {"image_processor_type": named.get("torchvision", OTHERWISE), "do_center_crop": False, **sizes}
