"""A detector, from a table of boxes to a package, its answers, and a run that is killed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import detectors as made
import pytest
import torch
from extras import needs
from runs import heard, killed

import hubft
from hubft import Job, engine
from hubft.base.digest import of_file
from hubft.deploy.export import export
from hubft.deploy.export.asked import Asked
from hubft.families.plugins import ROOT
from hubft.job import Compute, Recipe
from hubft.publish import manifest as manifests
from hubft.share import inference, load
from hubft.tasks.boxes import Boxes

needs("faster_coco_eval", "detection")


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        made.weights(made.TINY, tmp_path_factory.mktemp("home"), patch)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.table(tmp_path_factory.mktemp("scenes"), 24)


def job(table: Path, output: Path, **recipe: Any) -> Job:
    known = {"epochs": 2, "lr": 0.003, "batch_size": 8, "train": "all"} | recipe
    compute = Compute("cpu", workers=0, threads=1)
    return Job(f"torchvision:{made.TINY}", table, recipe=Recipe(**known), compute=compute, size=64, output=output)


@pytest.fixture(scope="module")
def result(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[engine.Result, list[str]]:
    done, console = heard(job(table, tmp_path_factory.mktemp("runs") / "a"))
    return done, console.lines


def test_a_detector_is_trained_reported_and_packaged(result: tuple[engine.Result, list[str]]) -> None:
    done, lines = result
    manifest = manifests.read(done.run.package / "hubft.json")
    assert isinstance(manifest.task, Boxes) and manifest.task.names == ("disc", "square", "triangle")
    assert 0 <= manifest.task.threshold <= 1 and done.metrics.headline == "map"
    first, last = done.run.history()
    assert last["loss"] < first["loss"] and {"classification", "bbox_regression"} <= last.keys()
    assert [line for line in lines if "no probe is solved" in line], "said in a line"
    assert {"curves.png", "classes.png", "confusion.png"} <= {path.name for path in done.run.report.iterdir()}
    card = (done.run.package / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: object-detection" in card and "Finds objects of 3 classes in images" in card


def test_it_is_loaded_proved_and_asked(result: tuple[engine.Result, list[str]], table: Path, tmp_path: Path) -> None:
    package = result[0].run.package
    model = torch.hub.load(str(ROOT), "finetuned", str(package), source="local")
    assert model.hubft["classes"] == ["disc", "square", "triangle"]
    opened = load.opened(load.package(package), False)
    images = [table.parent / f"{i}.png" for i in range(4)]
    measured = hubft.evaluate(package, table)
    for answer, outcome in zip(hubft.predict(package, images), measured.outcomes, strict=False):
        told, seen = ([one["score"] for one in said["boxes"]] for said in (answer.said, outcome.said))
        assert told == pytest.approx(seen, abs=1e-4)
    task = opened.manifest.task
    low = replace(task, threshold=0.0)
    assert isinstance(low, Boxes)
    lower = replace(opened, manifest=replace(opened.manifest, task=low))
    for answer in inference.predict(lower, images):
        boxes = answer.said["boxes"]
        assert boxes and all(0 <= b["box"][0] <= b["box"][2] <= 96 for b in boxes), "pixels of the picture"
        assert max(b["box"][2] for b in boxes) > 64 and max(b["box"][3] for b in boxes) > 64


def test_a_run_that_was_killed_ends_with_the_same_bits(
    result: tuple[engine.Result, list[str]], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = Compute("cpu", workers=0, threads=1, checkpoint_every=2)
    run = killed(replace(job(table, tmp_path / "b"), compute=often), 4, monkeypatch)
    again = engine.resume(run.folder)
    weights = "model.safetensors"
    assert of_file(again.run.package / weights) == of_file(result[0].run.package / weights)


def test_it_is_exported_with_its_boxes_and_proved(
    result: tuple[engine.Result, list[str]], table: Path, tmp_path: Path
) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        needs(module, "onnx")
    package = result[0].run.package
    found = export.export(package, Asked("onnx", output=str(tmp_path / "a.onnx")))
    assert found.about.batch == 0, "batches of any size"
    assert found.proof.exact is not None and found.proof.exact < 1e-4
    images = [table.parent / f"{i}.png" for i in range(3)]
    for ours, its in zip(hubft.predict(found.path, images), hubft.predict(package, images), strict=True):
        told, seen = ([one["score"] for one in said["boxes"]] for said in (ours.said, its.said))
        assert told and told == pytest.approx(seen, abs=1e-4)
