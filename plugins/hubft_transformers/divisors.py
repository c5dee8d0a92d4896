"""What the losses of transformers' detectors divide by, so that those of the parts of a batch add up to the batch's.

The loss of a part is weighted by its share of the images. All terms are sums over the number of boxes of a call, 1 at
the least, but for two. DETR's cross entropy is a mean over queries, in which those without an object weigh less. And
D-FINE's term by which layers learn of the last one is no sum at all: of the parts it is about that of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, distributed
from transformers.loss import loss_lw_detr

from hubft.tasks.losses import Whole

ENTROPY, LEARNED = "loss_ce", "loss_ddf"
"""How the names of those two begin; both have a weight of 1 in the loss."""


def weighted(
    model: Any, said: Any, targets: Sequence[Mapping[str, Tensor]], whole: Whole
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a part of a batch and its terms, each multiplied by what it divides by, over what that of the
    batch divides by and the part's share.

    :param said: what the model gave for the part.
    :param targets: of the part, as `Boxes` collates them.
    """
    own, every = ([int((~its["crowd"]).sum()) for its in side] for side in (targets, whole.targets))
    groups, queries = getattr(model.config, "group_detr", 1), said.logits.shape[1]
    boxes = max(1, groups * sum(own)) / (max(1, groups * sum(every)) * whole.share)
    others = {LEARNED: 1.0}
    if said.logits.shape[2] > model.config.num_labels:  # a softmax with "no object"
        less = model.config.eos_coefficient
        others[ENTROPY] = _weights(own, queries, less) / (_weights(every, queries, less) * whole.share)
    loss, terms = said.loss * boxes, dict(said.loss_dict)
    for name in terms:
        other = next((factor for start, factor in others.items() if name.startswith(start)), None)
        if other is not None:
            loss = loss + (other - boxes) * terms[name]
        if name.startswith("loss_"):  # others are means over images, to look at
            terms[name] = terms[name] * (boxes if other is None else other)
    return loss, terms


def _weights(boxes: Sequence[int], queries: int, less: float) -> float:
    """Return the sum of the weights of all queries of images: 1 of those that have a box, `less` of the others."""
    full = sum(min(number, queries) for number in boxes)
    return full + less * (len(boxes) * queries - full)


@contextmanager
def of_one_process() -> Iterator[None]:
    """Have the loss of LW-DETR and RF-DETR count the boxes of its own images: of several processes it would wait for
    the others to count theirs, and they may have no part of a batch left."""
    if not distributed.is_available() or not distributed.is_initialized():
        yield
        return
    before = loss_lw_detr._is_torch_distributed_initialized
    loss_lw_detr._is_torch_distributed_initialized = lambda: False
    try:
        yield
    finally:
        loss_lw_detr._is_torch_distributed_initialized = before
