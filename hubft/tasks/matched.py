"""Which boxes that a model said are which that are there, by faster-coco-eval; and average precision from that.

The library keeps the rules of COCO (https://cocodataset.org/#detection-eval). It matches the boxes of each image once
for each IoU. Average precision is then had for any counts of the images, as if the library measured a set in which
each image is so often: a bootstrap needs no second match. Only the order of boxes of equal scores in one image, which
is chance, may be another.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError

IOUS = numpy.linspace(0.5, 0.95, 10)
RECALLS = numpy.linspace(0, 1, 101)
MOST = 100  # boxes of a class in an image that count, those of the highest scores
AREA = 1e10  # pixels, up to which objects count: all of them
LIBRARY = "faster_coco_eval"

Array = NDArray[Any]


class Said(NamedTuple):
    """What a model said of an image."""

    boxes: Any
    """x0, y0, x1, y1, pixels, float `[k, 4]`."""
    scores: Any
    """From 0 to 1, `[k]`."""
    labels: Any
    """Indices of classes, int `[k]`."""


class Truth(NamedTuple):
    """What is in an image."""

    boxes: Any
    """x0, y0, x1, y1, pixels, float `[m, 4]`."""
    labels: Any
    """Indices of classes, int `[m]`."""
    crowd: Any
    """Whether it is a region that counts neither way, bool `[m]`."""


def require() -> None:
    """Refuse to measure boxes where the library for that is not installed.

    :raises JobError: it is not; says what to type.
    """
    if importlib.util.find_spec(LIBRARY) is None:
        raise JobError("measuring boxes " + missing(LIBRARY.replace("_", "-"), installs("detection")))


class Boxes:
    """All boxes of all images: those said, and those that are there."""

    def __init__(self, said: Sequence[Said], truth: Sequence[Truth], classes: int) -> None:
        """:param said: of each image; a box of which a number is not finite, or the corners swapped, does not count.
        :raises JobError: the library is not installed."""
        require()
        self.images, self.classes = len(truth), classes
        places = range(self.images)
        self.image = _joined([numpy.full(len(one.scores), i) for i, one in zip(places, said, strict=True)], int)
        self.corners = _joined([one.boxes for one in said], float, 4)
        self.score = _joined([one.scores for one in said], float)
        self.label = _joined([one.labels for one in said], int)
        known = numpy.isfinite(self.corners).all(1) & numpy.isfinite(self.score)
        known &= (self.corners[:, 2:] >= self.corners[:, :2]).all(1)
        self.image, self.corners, self.score, self.label = (
            one[known] for one in (self.image, self.corners, self.score, self.label)
        )
        self.true_image = _joined([numpy.full(len(one.labels), i) for i, one in enumerate(truth)], int)
        self.true_corners = _joined([one.boxes for one in truth], float, 4)
        self.true_label = _joined([one.labels for one in truth], int)
        self.crowd = _joined([one.crowd for one in truth], bool)

    def evaluated(self, ious: Sequence[float] | Array, chosen: Array | None = None, by_class: bool = True) -> Any:
        """Return the library's `COCOeval_faster` of them, evaluated.

        :param chosen: which of the boxes that were said, bool `[k]`; all, where none is given.
        :param by_class: whether boxes of other classes cannot match.
        """
        from faster_coco_eval import COCO, COCOeval_faster  # not at the top: it is an extra

        known = COCO()
        known.dataset = {
            "images": [{"id": i} for i in range(1, self.images + 1)],
            "annotations": list(_annotations(self.true_image, self.true_label, self.true_corners, self.crowd)),
            "categories": [{"id": i, "name": str(i)} for i in range(1, self.classes + 1)],
        }
        known.createIndex()
        which = numpy.arange(len(self.score)) if chosen is None else numpy.flatnonzero(chosen)
        found = list(_annotations(self.image[which], self.label[which], self.corners[which]))
        for one, score in zip(found, self.score[which].tolist(), strict=True):
            one["score"] = score
        evaluation = COCOeval_faster(known, known.loadRes(found), "bbox")
        evaluation.params.iouThrs = numpy.asarray(ious)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, AREA]], ["all"]
        evaluation.params.maxDets, evaluation.params.useCats = [MOST], int(by_class)
        evaluation.evaluate()
        return evaluation

    def pairs(self, iou: float, chosen: Array | None = None, by_class: bool = True) -> tuple[Array, Array]:
        """Return which box that was said is which that is there, as indices of both; a crowd may be many."""
        return self.matched(self.evaluated([iou], chosen, by_class), chosen)

    def near(self, evaluation: Any, chosen: Array) -> Array:
        """Return which of the boxes said overlap with an object of their class by the lowest IoU at least, bool `[k]`.

        No other can be matched: the higher IoUs are asked of these alone.

        :param evaluation: what `evaluated` gave of those that are chosen.
        """
        found = numpy.zeros(len(self.score), dtype=bool)
        order = numpy.lexsort((-self.score, self.label, self.image))
        order = order[chosen[order]]
        group = self.image[order] * self.classes + self.label[order]
        for (image, label), ious in evaluation.ious.items():
            if len(ious):
                start = numpy.searchsorted(group, (image - 1) * self.classes + label - 1)
                found[order[start : start + len(ious)]] = ious.max(1) >= IOUS[0]
        return found

    def matched(self, evaluation: Any, chosen: Array | None = None) -> tuple[Array, Array]:
        """Return what `pairs` does, of an evaluation at one IoU."""
        matched = evaluation.eval["matched"]
        pairs = numpy.array([key.split("_") for key in matched], dtype=int).reshape(-1, 2) - 1
        which = pairs[:, 0] if chosen is None else numpy.flatnonzero(chosen)[pairs[:, 0]]
        return which, pairs[:, 1]


def _joined(parts: Sequence[Any], kind: type, width: int = 0) -> Array:
    shape = (-1, width) if width else (-1,)
    arrays: list[Array] = [numpy.asarray(one, dtype=kind).reshape(shape) for one in parts]
    return numpy.concatenate(arrays) if arrays else numpy.zeros((0, width) if width else 0, dtype=kind)


def _annotations(image: Array, label: Array, corners: Array, crowd: Array | None = None) -> Iterator[dict[str, Any]]:
    sides = numpy.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    crowds = numpy.zeros(len(image), dtype=int) if crowd is None else crowd.astype(int)
    columns = zip(image.tolist(), label.tolist(), sides.tolist(), crowds.tolist(), strict=True)
    for number, (i, k, box, flag) in enumerate(columns, 1):
        area = box[2] * box[3]
        known = {"image_id": i + 1, "category_id": k + 1, "bbox": box, "area": area, "iscrowd": flag}
        yield {"id": number, "segmentation": [], **known}


class Precision:
    """The matches of all boxes, once: average precision can then be had for any counts of the images.

    Boxes are sorted by class and score. A segment is what one class has at one IoU: those of all classes at the first,
    then at the next.
    """

    def __init__(self, boxes: Boxes) -> None:
        """:param boxes: to be matched."""
        self.classes = boxes.classes
        order = numpy.lexsort((-boxes.score, boxes.label))  # stable: equal scores stay in the order of the images
        place = numpy.empty_like(order)
        place[order] = numpy.arange(len(order))
        counted = _counted(boxes)
        self.image, self.score = boxes.image[order], boxes.score[order]
        self.start = numpy.searchsorted(boxes.label[order], numpy.arange(self.classes))
        right, segment, ignored, ignored_segment = (list[Array]() for _ in range(4))
        first = boxes.evaluated(IOUS[:1], counted)
        near = boxes.near(first, counted)
        for step, iou in enumerate(IOUS):
            which, true = boxes.pairs(float(iou), near) if step else boxes.matched(first, counted)
            crowd = boxes.crowd[true]
            for places, segments, chosen in ((right, segment, ~crowd), (ignored, ignored_segment, crowd)):
                found = numpy.unique(place[which[chosen]])
                places.append(found)
                segments.append(step * self.classes + boxes.label[order[found]])
        self.right, self.segment = numpy.concatenate(right), numpy.concatenate(segment)
        self.counted = counted[order].astype(float)
        self._ignored = numpy.concatenate(ignored)
        ignored_key = numpy.concatenate(ignored_segment) * (len(order) + 1) + self._ignored
        own = self.segment * (len(order) + 1)
        self._ignored_before = numpy.searchsorted(ignored_key, own + self.right)
        self._ignored_start = numpy.searchsorted(ignored_key, own)
        self.first = numpy.searchsorted(self.segment, numpy.arange(len(IOUS) * self.classes + 1))
        there = ~boxes.crowd
        self.objects = numpy.zeros((boxes.images, self.classes))
        numpy.add.at(self.objects, (boxes.true_image[there], boxes.true_label[there]), 1)

    def at(self, counts: Array) -> tuple[Array, Array]:
        """Return precision at 101 recalls `[ious, classes, 101]`, and the recall reached `[ious, classes]`, where
        images count so often; NaN for a class of which there is no object.

        :param counts: float64 `[images]`, whole numbers.
        """
        weights = counts[self.image]
        said = _sums(weights * self.counted)
        own, ignored = weights[self.right], _sums(weights[self._ignored])
        sums = _sums(own)
        begun = sums[self.first[self.segment]]
        hits = sums[1:] - begun
        every = said[self.right + 1] - said[self.start[self.segment % self.classes]]
        every -= ignored[self._ignored_before] - ignored[self._ignored_start]
        precision = numpy.divide(hits, every, out=numpy.zeros_like(hits), where=every > 0)
        # The highest from here to the end of the segment: what is added keeps segments apart, those behind lower.
        lift = 2.0 * (len(self.first) - self.segment)
        highest = numpy.append(numpy.maximum.accumulate((precision + lift)[::-1])[::-1] - lift, 0.0)
        objects = counts @ self.objects
        first, end = self.first[:-1, None], self.first[1:, None]
        needed = numpy.tile(_needed(objects), (len(IOUS), 1))
        index = numpy.searchsorted(sums[1:], (sums[first] + needed).ravel()).reshape(needed.shape)
        index = numpy.maximum(index, first)
        found = numpy.where(index < end, highest[numpy.minimum(index, len(highest) - 1)], 0.0)
        shape = (len(IOUS), self.classes)
        reached = (sums[self.first[1:]] - sums[self.first[:-1]]).reshape(shape)
        known = objects > 0
        reached = numpy.where(known, reached / numpy.maximum(objects, 1), numpy.nan)
        return numpy.where(known[:, None], found.reshape(*shape, -1), numpy.nan), reached


def _sums(values: Array) -> Array:
    return numpy.concatenate([[0.0], numpy.cumsum(values)])


def _counted(boxes: Boxes) -> Array:
    """Return which of the boxes are among the MOST of their class in their image."""
    order = numpy.lexsort((-boxes.score, boxes.label, boxes.image))
    group = boxes.image[order] * boxes.classes + boxes.label[order]
    rank = numpy.arange(len(order)) - numpy.searchsorted(group, group)
    counted = numpy.empty(len(order), dtype=bool)
    counted[order] = rank < MOST
    return counted


def _needed(objects: Array) -> Array:
    """Return how many objects must be found for each recall, `[classes, 101]`: the least whose share is no less."""
    n = numpy.maximum(objects, 1)[:, None]
    found = numpy.ceil(RECALLS * n)
    found -= (found > 0) & ((found - 1) / n >= RECALLS)
    return found + (found / n < RECALLS)
