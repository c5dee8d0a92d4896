"""What the losses of torchvision's detectors divide by, so that those of the parts of a batch add up to the batch's.

The loss of a part is weighted by its share of the images. RetinaNet's is a mean over images, and adds up as it is. So
does that of Faster R-CNN, a mean over what it draws of each image: as many anchors and regions of one as of another,
where there are enough. FCOS and SSD divide by the number of anchors that belong to a box, in all images of a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.ops import box_iou

from hubft.tasks.losses import Whole


class Anchors(NamedTuple):
    """Those of an image, which all images of one size have."""

    boxes: Tensor
    """float32 `[anchors, 4]`."""
    levels: list[int]
    """How many places each map of features has."""


def counted(model: Any) -> bool:
    """Tell whether the losses of a model divide by the number of anchors that belong to a box."""
    return hasattr(model, "neg_to_pos_ratio") or hasattr(model, "center_sampling_radius")


@contextmanager
def heard(model: Any) -> Iterator[list[Anchors]]:
    """Give a list that has the anchors of a model once it was called. One that is compiled is not heard."""
    seen: list[Anchors] = []

    def hear(_: Any, given: Any, made: Sequence[Tensor]) -> None:
        seen.append(Anchors(made[0], [its.shape[2] * its.shape[3] for its in given[1]]))

    handle = model.anchor_generator.register_forward_hook(hear)
    try:
        yield seen
    finally:
        handle.remove()


def factor(model: Any, known: Anchors, boxes: Sequence[Tensor], whole: Whole) -> float:
    """Return by what the losses of a part are multiplied: the number that they divide by, over that of the batch and
    the part's share.

    :param boxes: of each image of the part, float32 `[k, 4]`, without crowds.
    """
    every = [its["boxes"][~its["crowd"]].to(known.boxes.device) for its in whole.targets]
    part, batch = (max(1, sum(_matched(model, known, one) for one in its)) for its in (boxes, every))
    return part / (batch * whole.share)


def _matched(model: Any, known: Anchors, boxes: Tensor) -> int:
    """Return how many anchors of an image belong to one of its boxes, as the model's loss has it."""
    if not len(boxes):
        return 0
    if hasattr(model, "proposal_matcher"):
        return int((model.proposal_matcher(box_iou(boxes, known.boxes)) >= 0).sum())
    # FCOS finds them in the midst of its loss, and hands them to the head's: one that gives them back takes its place.
    head = SimpleNamespace(compute_loss=lambda targets, outputs, anchors, found: found)
    own: Any = SimpleNamespace(center_sampling_radius=model.center_sampling_radius, head=head)
    found: Any = FCOS.compute_loss(own, [{"boxes": boxes}], {}, [known.boxes], known.levels)
    return int((found[0] >= 0).sum())
