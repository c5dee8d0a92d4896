"""What a detector reached is what pycocotools says, for the set and for every resample of it."""

from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from extras import needs

from hubft.base.errors import JobError
from hubft.tasks import boxed, matched, pictures
from hubft.tasks.matched import IOUS, Boxes, Precision, Said, Truth
from hubft.tasks.metrics import read

needs("faster_coco_eval", "detection")
NAMES = ("a", "b", "c", "d")


def made(seed: int, images: int = 25, apart: float = 0.0) -> tuple[list[Said], list[Truth]]:
    """Return boxes of three of four classes, near to those that are there; many scores are equal.

    :param apart: by which the scores of the boxes of an image differ at least; those of two images are still equal.
    """
    random = numpy.random.default_rng(seed)
    said, truth = [], []
    for _ in range(images):
        m = int(random.integers(0, 6))
        corners = random.uniform(0, 200, (m, 2))
        true = numpy.concatenate([corners, corners + random.uniform(10, 80, (m, 2))], 1)
        labels = random.integers(0, 3, m)
        truth.append(Truth(true, labels, random.random(m) < 0.15))
        near = numpy.concatenate([true, true]) + random.normal(0, 5, (2 * m, 4))
        far = random.uniform(0, 100, (5, 4)) + numpy.array([0, 0, 110, 110])
        kinds = numpy.concatenate([labels, random.integers(0, 3, m), random.integers(0, 4, 5)])
        boxes = numpy.concatenate([near, far])
        boxes[:, 2:] = numpy.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = numpy.round(random.random(len(kinds)), 1) + apart * numpy.arange(len(kinds))
        said.append(Said(boxes.astype(numpy.float32), scores, kinds))
    return said, truth


def theirs(said: Sequence[Said], truth: Sequence[Truth], most: int = 100) -> tuple[Any, Any]:
    """Return precision `[10, 101, classes]` and recall `[10, classes]` of pycocotools."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is not installed")
    known, annotations, found = coco.COCO(), [], []
    for i, (one, its) in enumerate(zip(truth, said, strict=True)):
        for (x0, y0, x1, y1), label, crowd in zip(one.boxes, one.labels, one.crowd, strict=True):
            sides = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": int(crowd)}
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": int(label), **sides})
        for box, score, label in zip(its.boxes.astype(float), its.scores, its.labels, strict=True):
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            found.append({"image_id": i, "category_id": int(label), "bbox": sides, "score": float(score)})
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    images = [{"id": i, "width": 300, "height": 300} for i in range(len(truth))]
    known.dataset = {"images": images, "annotations": annotations, "categories": categories}
    known.createIndex()
    evaluation = cocoeval.COCOeval(known, known.loadRes(found), "bbox")
    evaluation.params.maxDets = [most] * 3
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][:, :, :, 0, 2], evaluation.eval["recall"][:, :, 0, 2]
    return numpy.where(precision > -1, precision, numpy.nan), numpy.where(recall > -1, recall, numpy.nan)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_pycocotools_says(seed: int) -> None:
    said, truth = made(seed)
    precision, recall = theirs(said, truth)
    found = boxed.measure(said, truth, NAMES, 0.5)
    want = {"map": precision, "map_50": precision[0], "map_75": precision[5], "mar_100": recall}
    for name, values in want.items():
        assert found.values[name].value == pytest.approx(numpy.nanmean(values), abs=1e-12), name
        assert found.values[name].low < found.values[name].value < found.values[name].high
    each = [one and one["value"] for one in found.details["average_precision"]]
    assert each[3] is None and each[:3] == pytest.approx(precision.mean((0, 1))[:3], abs=1e-12)
    assert found.details["curves"][1] == pytest.approx(precision[0, :, 1], abs=1e-4)
    quick = boxed.score(said, truth, len(NAMES), 0.5)
    assert quick.head.value == pytest.approx(found.head.value, abs=1e-12) and quick.loss == found.loss == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_what_pycocotools_says_of_such_a_set(seed: int) -> None:
    said, truth = made(seed, apart=1e-4)
    counts = numpy.random.default_rng(seed).multinomial(len(truth), numpy.full(len(truth), 1 / len(truth)))
    often = numpy.repeat(numpy.arange(len(truth)), counts)
    precision, recall = theirs([said[i] for i in often], [truth[i] for i in often])
    ours, reached = Precision(Boxes(said, truth, len(NAMES))).at(counts.astype(float))
    assert numpy.allclose(ours, precision.transpose(0, 2, 1), rtol=0, atol=1e-12, equal_nan=True)
    assert numpy.allclose(reached, recall, rtol=0, atol=1e-12, equal_nan=True)
    found = boxed.headline(said, truth, len(NAMES))(counts.astype(float))
    assert found == pytest.approx(numpy.nanmean(precision), abs=1e-12)


def test_only_so_many_boxes_of_an_image_count(monkeypatch: pytest.MonkeyPatch) -> None:
    said, truth = made(1)
    monkeypatch.setattr(matched, "MOST", 2)
    precision, _ = theirs(said, truth, most=2)
    assert boxed.measure(said, truth, NAMES, 0.0).head.value == pytest.approx(numpy.nanmean(precision), abs=1e-12)


ONE = Truth(numpy.array([[10, 10, 50, 50.0]]), numpy.array([1]), numpy.array([False]))
NONE = Truth(numpy.zeros((0, 4)), numpy.zeros(0, int), numpy.zeros(0, bool))
SILENT = Said(numpy.zeros((0, 4)), numpy.zeros(0), numpy.zeros(0, int))


def said(*boxes: tuple[float, int, float]) -> Said:
    """Return boxes of (side by which the box is moved, class, score) in an image such as ONE."""
    corners = [[10 + moved, 10, 50 + moved, 50] for moved, _, _ in boxes]
    return Said(numpy.array(corners), numpy.array([one[2] for one in boxes]), numpy.array([one[1] for one in boxes]))


def test_a_model_that_is_right_has_one_and_a_model_that_is_silent_none() -> None:
    right = boxed.measure([said((0, 1, 0.9))] * 4, [ONE] * 4, NAMES, 0.0)
    assert {name: (one.value, one.low, one.high) for name, one in right.values.items()} == dict.fromkeys(
        boxed.NAMES, (1.0, 1.0, 1.0)
    )
    silent = boxed.measure([SILENT] * 4, [ONE] * 4, NAMES, 0.0)
    assert silent.head.value == 0 and silent.details["confusion"][1][4] == 4
    assert boxed.score([SILENT] * 4, [ONE] * 4, 4, 0.0).head.value == 0


def test_of_images_without_objects_all_that_is_said_is_wrong() -> None:
    found = boxed.measure([said((0, 1, 0.9)), SILENT], [NONE, NONE], NAMES, 0.0)
    assert found.head.value == 0 and found.head.n == 2 and found.details["average_precision"] == [None] * 4
    assert found.details["confusion"][4] == [0, 1, 0, 0, 0]
    assert boxed.score([said((0, 1, 0.9))], [NONE], 4, 0.0).head.value == 0


def test_the_confusion_says_what_was_taken_for_what() -> None:
    answers = [
        said((0, 1, 0.9)),  # right
        said((2, 2, 0.9), (0, 1, 0.6)),  # taken for c; the lower one is of nothing
        said((30, 1, 0.9)),  # too far: missed, and said where nothing is
        said((0, 1, 0.3)),  # below the threshold: missed
    ]
    found = boxed.measure(answers, [ONE] * 4, NAMES, 0.0)
    assert found.details["confusion"][1] == [0, 1, 1, 0, 2] and found.details["confusion"][4] == [0, 2, 0, 0, 0]
    assert numpy.sum(found.details["confusion"]) == 6
    assert found.details["objects"] == [0, 4, 0, 0] and found.details["images"] == [0, 4, 0, 0]
    lower = boxed.measure(answers, [ONE] * 4, NAMES, 0.0, threshold=0.2)
    assert lower.details["confusion"][1] == [0, 2, 1, 0, 1]


def test_a_crowd_counts_neither_way() -> None:
    crowd = ONE._replace(crowd=numpy.array([True]))
    found = boxed.measure([said((0, 1, 0.9)), said((0, 1, 0.9), (1, 1, 0.8))], [ONE, crowd], NAMES, 0.0)
    assert found.head.value == 1 and numpy.sum(found.details["confusion"]) == 1


def test_a_model_that_ran_away_is_measured() -> None:
    answer = Said(numpy.array([[10, 10, 50, numpy.nan], [10, 10, numpy.inf, 50]]), numpy.array([0.5, 0.6]), [1, 1])
    assert boxed.measure([answer], [ONE], NAMES, float("nan")).head.value == 0
    assert boxed.measure([said((0, 1, numpy.nan))], [ONE], NAMES, 0.0).head.value == 0


def test_the_threshold_is_where_f1_is_highest() -> None:
    answers = [said((0, 1, 0.8)), said((0, 1, 0.6)), said((30, 1, 0.4)), said((30, 1, 0.2))]
    assert boxed.threshold(answers, [ONE] * 4, 4) == pytest.approx(0.5)
    assert boxed.threshold([SILENT] * 4, [ONE] * 4, 4) == boxed.THRESHOLD


def test_metrics_go_through_json() -> None:
    found = boxed.measure(*made(0), NAMES, 0.25)
    assert read(found.plain()) == found and str(found).startswith("mAP 50:95 0.")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matched, "LIBRARY", "faster_coco_eval_that_is_not_there")
    with pytest.raises(JobError, match=r"which is not installed: pip install 'hubft\[detection\]'"):
        boxed.score([SILENT], [ONE], 4, 0.0)


def test_ious_are_those_of_coco() -> None:
    assert IOUS.tolist() == pytest.approx([0.5 + 0.05 * i for i in range(10)])


def test_curves_are_drawn_of_each_class_that_is_there() -> None:
    details = boxed.measure(*made(0), NAMES, 0.0).details
    (axes,) = pictures.curves(details["curves"], ("_a", "$b", "c", "d")).axes
    assert [line.get_ydata()[0] for line in axes.lines] == [its[0] for its in details["curves"][:3]]
    assert [text.get_text().strip() for text in axes.get_legend().get_texts()] == ["_a", "$b", "c"]
    (axes,) = pictures.curves([[0.5, 0.5]] * 12, [str(i) for i in range(12)]).axes
    assert len(axes.lines) == 12 and len(axes.get_legend().get_texts()) == pictures.COLOURED
    assert pictures.curves([None], ["a"]).axes[0].get_legend() is None
