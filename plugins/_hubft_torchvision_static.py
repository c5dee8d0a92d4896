"""The boxes of torchvision's one-stage detectors by operations of fixed shapes, as exporters need them.

torchvision picks boxes image by image, as many as there are, which torch.export cannot follow. Here every image of a
batch has as many candidates, those that do not count have a score of zero, and one suppression tells them all apart.
It gives the same boxes: a box of score zero comes last, and takes no place from any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms


def detections(model: Any, inputs: Tensor) -> Tensor:
    """Return the boxes of images `[n, 3, height, width]` as `[n, k, 6]`, for SSD, SSDLite, RetinaNet and FCOS."""
    height, width = inputs.shape[2:]
    divisor = model.transform.size_divisible
    padded = functional.pad(inputs, (0, -width % divisor, 0, -height % divisor))
    features = model.backbone(padded)
    levels = list(features.values())
    heads = model.head(levels)
    (anchors, *_) = model.anchor_generator(ImageList(padded, [(height, width)]), levels)
    if hasattr(model, "neg_to_pos_ratio"):
        parts = [_classwise(model, heads, anchors)]
    else:
        each = model.anchor_generator.num_anchors_per_location()
        sizes = [one.shape[2] * one.shape[3] * number for one, number in zip(levels, each, strict=True)]
        split = [{name: head.split(sizes, 1)[i] for name, head in heads.items()} for i in range(len(sizes))]
        parts = [_best(model, its, part) for its, part in zip(split, anchors.split(sizes), strict=True)]
    boxes, scores, labels = (torch.cat(rows, 1) for rows in zip(*parts, strict=True))
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    boxes = torch.stack((x, y), 3).flatten(2)
    scores = scores * (scores > model.score_thresh)
    return _kept(boxes, scores, labels, model.nms_thresh, model.detections_per_img, max(height, width))


def _classwise(model: Any, heads: dict[str, Tensor], anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best candidates of each class: boxes `[n, m, 4]`, scores and classes `[n, m]`."""
    shares = heads["cls_logits"].softmax(2)[..., 1:].transpose(1, 2)
    number = min(model.topk_candidates, shares.shape[2])
    scores, places = shares.topk(number, 2)
    boxes = _boxes(model, heads["bbox_regression"], anchors, places.flatten(1))
    labels = torch.arange(shares.shape[1]).repeat_interleave(number).expand(shares.shape[0], -1)
    return boxes, scores.flatten(1), labels


def _best(model: Any, heads: dict[str, Tensor], anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best candidates of a level of features, whatever their class."""
    shares = heads["cls_logits"].sigmoid()
    classes = shares.shape[2]
    if "bbox_ctrness" in heads:
        shares = (shares * heads["bbox_ctrness"].sigmoid()).sqrt()
    flat = shares.flatten(1)
    scores, places = flat.topk(min(model.topk_candidates, flat.shape[1]), 1)
    boxes = _boxes(model, heads["bbox_regression"], anchors, places // classes)
    return boxes, scores, places % classes


def _boxes(model: Any, deltas: Tensor, anchors: Tensor, places: Tensor) -> Tensor:
    """Return the boxes at these anchors, `[n, m]`."""
    picked = deltas.gather(1, places[..., None].expand(-1, -1, 4)).reshape(-1, 4)
    coder = model.box_coder
    decode = getattr(coder, "decode_single", coder.decode)
    decoded: Tensor = decode(picked, anchors[places.flatten()])
    return decoded.reshape(-1, places.shape[1], 4)


def _kept(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, most: int, side: int) -> Tensor:
    """Return the boxes that no better one of their class overlaps, the best first: boxes apart by image and class, as
    `torchvision.ops.batched_nms` has them apart by class."""
    images, candidates = scores.shape
    own = labels + torch.arange(images)[:, None] * (labels.max() + 1)
    apart = boxes + (own * (side + 1)).to(boxes)[..., None]
    kept = nms(apart.reshape(-1, 4), scores.reshape(-1), overlap)
    mask = torch.zeros_like(scores).reshape(-1).index_fill(0, kept, 1.0).reshape(scores.shape)
    scores, places = (scores * mask).topk(min(most, candidates), 1)
    rows = torch.cat([boxes, labels[..., None].to(boxes)], 2)
    rows = rows.gather(1, places[..., None].expand(-1, -1, 5))
    rows = torch.cat([rows[..., :4], scores[..., None], rows[..., 4:]], 2) * (scores > 0)[..., None]
    return functional.pad(rows, (0, 0, 0, most - min(most, candidates)))
