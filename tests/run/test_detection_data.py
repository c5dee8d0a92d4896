"""A detector from an exported folder: what was wrong in it is in the results, what it finds is drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import detectors as made
import numpy
import pytest
import scenes
import torch
from commands import Hubft, hubft
from extras import needs
from PIL import Image
from runs import heard

from hubft import Job, engine
from hubft.job import Compute, Recipe
from hubft.run import data
from hubft.tasks.boxes import Boxes
from hubft.tasks.paired import difference

needs("faster_coco_eval", "detection")
__all__ = ["hubft"]
MADE = scenes.made(5, 24, most=4, least=2)
PARTS = {"train": MADE[:16], "val": MADE[16:]}


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        made.weights(made.TINY, tmp_path_factory.mktemp("home"), patch)
        yield


def job(folder: Path, output: Path) -> Job:
    recipe, compute = Recipe(epochs=1, lr=0.003, batch_size=8, train="all"), Compute("cpu", workers=0, threads=1)
    return Job(f"torchvision:{made.TINY}", folder, recipe=recipe, compute=compute, size=64, output=output)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> engine.Result:
    folder = scenes.coco(tmp_path_factory.mktemp("data"), PARTS)
    path = folder / "annotations/instances_train.json"
    stated = json.loads(path.read_text())
    stated["annotations"].append({**stated["annotations"][0], "bbox": [5, 5, 0, 5]})
    path.write_text(json.dumps(stated))
    return heard(job(folder, tmp_path_factory.mktemp("runs") / "a"))[0]


def test_a_wrong_box_is_in_the_results_and_its_image_is_trained_on(result: engine.Result) -> None:
    known = len(MADE[0].boxes) + 1
    results = json.loads((result.run.report / "results.json").read_text())
    assert results["quarantined"] == {f"images/train/0000.png, box {known}": "it is empty: [5, 5, 5, 10]"}
    package = json.loads((result.run.package / "hubft.json").read_text())
    assert [package["data"][part]["samples"] for part in ("train", "val")] == [14, 8]  # two are held out for thresholds


def test_the_report_shows_what_was_found_beside_what_is_there(result: engine.Result) -> None:
    names = {path.name for path in result.run.report.iterdir()}
    assert {"samples.png", "precision.png", "classes.png", "confusion.png", "curves.png"} <= names
    sheet = Image.open(result.run.report / "samples.png")
    pixels = numpy.asarray(sheet.convert("RGB"))[:, : sheet.width // 2]
    drawn = [(pixels == colour).all(2).any() for colour in ((31, 119, 180), (214, 39, 40), (44, 160, 44))]
    assert all(drawn), "the boxes of three classes that are there"
    assert not any(path.name == "samples.png" for path in result.run.package.rglob("*")), "pictures are not given away"


def test_predict_draws_what_it_finds(result: engine.Result, hubft: Hubft, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    MADE[0].image.save(photos / "a.png")
    MADE[1].image.save(photos / "b.png")
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:60])
    ran = hubft("predict", result.run.folder, photos, "--draw", tmp_path / "drawn", "--json")
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 1 and "error" in answers[2]
    pictures = sorted(path.name for path in (tmp_path / "drawn").glob("*.jpg"))
    assert pictures == ["0001-a.jpg", "0002-b.jpg"]
    for name, scene, answer in zip(pictures, MADE, answers, strict=False):
        changed = numpy.abs(numpy.asarray(Image.open(tmp_path / "drawn" / name), float) - scene.image).max() > 100
        assert changed == bool(answer["boxes"])
    again = hubft("predict", result.run.folder, photos, "--draw", tmp_path / "drawn")
    assert again.code == 2 and "must be a new folder" in again.err


def test_the_same_scenes_are_the_same_data_in_each_format(tmp_path: Path) -> None:
    found = []
    for write in (scenes.coco, scenes.yolo, scenes.voc):
        read = data.read(job(write(tmp_path / write.__name__, PARTS), tmp_path / "run"))
        parts = ((read.train, read.val), (read.tune, read.test))
        rounded = [
            [(s.sha256, [(box[0], *(round(corner, 3) for corner in box[1:5])) for box in s.target]) for s in its]
            for pair in parts
            for its in pair
        ]
        found.append((read.task.names, [sorted(its) for its in rounded]))
    assert found[0] == found[1] == found[2] and not any(found[0][1][3])


def test_two_detectors_are_compared_on_the_same_resamples() -> None:
    task = Boxes(("a", "b"))
    targets = task.collate([((0, 10.0, 10.0, 50.0, 50.0, False),)] * 12)
    right = torch.tensor([[[10.0, 10, 50, 50, 0.9, 0]]]).expand(12, -1, -1).clone()
    wrong = right.clone()
    wrong[:4, :, :4] += 200
    found = difference(task, right, wrong, targets)
    assert found.value == pytest.approx(task.score(right, targets).head.value - task.score(wrong, targets).head.value)
    assert found.low is not None and 0 < found.low <= found.value <= (found.high or 0)
    same = difference(task, wrong, wrong, targets)
    assert (same.value, same.low, same.high) == (0, 0, 0)
