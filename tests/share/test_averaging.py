"""Answers that are a mean: of a picture's views, and of several packages."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import packages
import pictures
import pytest
import torch
from commands import Hubft
from PIL import Image, ImageOps
from runs import job

import hubft as api
from hubft import HubftError, engine
from hubft.share import averaging
from hubft.tasks import averaged
from hubft.tasks.boxes import Boxes
from hubft.tasks.classification import Classification
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.regression import Regression
from hubft.tasks.several import Several


class Made(NamedTuple):
    one: Path
    two: Path
    data: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two packages of the same classes, a probe and a short training, and their data."""
    root = tmp_path_factory.mktemp("averaging")
    data = pictures.folder(root / "data")
    for name, recipe in (("one", {"epochs": 0}), ("two", {"epochs": 2, "probe": False})):
        engine.finetune(job(data, root / name, recipe=recipe))
    return Made(root / "one", root / "two", data)


def probabilities(answers: list[Any]) -> torch.Tensor:
    return torch.tensor([[one.said["probabilities"][name] for name in ("ants", "bees", "wasps")] for one in answers])


def test_what_is_averaged_is_what_outputs_stand_for() -> None:
    each = list(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)) * 4)
    heads = {"kind": Classification(("a", "b")), "tags": Multilabel(("c",)), "price": Regression(("price",))}
    for task in (
        Classification(tuple("abcd")),
        Multilabel(tuple("abcd")),
        Regression(tuple("abcd")),
        Several.of(heads),
    ):
        wanted = torch.stack([task.shares(one) for one in each]).mean(0)
        assert torch.allclose(task.shares(averaged.mean(task, each)), wanted, atol=1e-6), task.kind
    sure = averaged.mean(heads["tags"], [torch.tensor([[200.0]]), torch.tensor([[-200.0]])])
    assert sure == 0 and averaged.mean(heads["tags"], [torch.tensor([[200.0]])]).isfinite()
    with pytest.raises(HubftError, match="--with: it has no meaning here, boxes of two answers are not the same ones"):
        averaged.require(Boxes(("a", "b")), "--with")


def test_flips_answer_by_a_picture_and_its_mirror_image(made: Made, tmp_path: Path) -> None:
    files = sorted((made.data / "val" / "ants").glob("*.png"))
    mirrored = [tmp_path / file.name for file in files]
    for file, mirror in zip(files, mirrored, strict=True):
        ImageOps.mirror(Image.open(file)).save(mirror)
    plain, other = (probabilities(api.predict(made.two, its)) for its in (files, mirrored))
    found = probabilities(api.predict(made.two, files, tta="flips"))
    assert torch.allclose(found, (plain + other) / 2, atol=1e-3) and not torch.allclose(found, plain, atol=1e-2)


def test_crops_are_the_whole_and_its_corners() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    views = averaging.WAYS["crops"](image)
    assert len(views) == 5 and {view.shape for view in views} == {image.shape} and torch.equal(views[0], image)
    assert [float(view[0, 0, 0, 0]) for view in views[1:]] == [0, 1, 8, 9]
    assert [float(view[0, 0, -1, -1]) for view in views[1:]] == [54, 55, 62, 63]


def test_views_are_measured_beside_one_view(hubft: Hubft, made: Made) -> None:
    alone = json.loads(hubft("evaluate", made.two, made.data, "--json").out)
    found = json.loads(hubft("evaluate", made.two, made.data, "--json", "--tta", "flips").out)
    beside = found["beside"]
    assert beside["best"] == "one view" and beside["alone"] == {
        "one view": {k: alone[k] for k in beside["alone"]["one view"]}
    }
    assert beside["difference"]["value"] == pytest.approx(found["accuracy"]["value"] - alone["accuracy"]["value"])
    assert found["loss"] != alone["loss"]
    shown = hubft("evaluate", made.two, made.data, "--tta", "crops")
    assert "one view, the mean, " in ", ".join(row[0] for row in shown.cells())
    assert "accuracy of the mean minus that of one view: " in shown.out and "the mean over views" in shown.out


def test_packages_answer_together(hubft: Hubft, made: Made, tmp_path: Path) -> None:
    files = sorted(made.data.glob("val/*/*.png"))
    one, two = (probabilities(api.predict(package, files)) for package in (made.one, made.two))
    mean = probabilities(api.predict(made.one, files, others=[made.two]))
    assert torch.allclose(mean, (one + two) / 2, atol=1e-5) and not torch.allclose(one, two, atol=1e-2)
    ran = hubft("predict", made.one, files[0], "--with", made.two, "--json")
    assert json.loads(ran.out)["probability"] == pytest.approx(float(mean[0].max()), abs=1e-5)

    found = json.loads(hubft("evaluate", made.one, made.data, "--json", "--with", made.two).out)
    alone = {name: json.loads(hubft("evaluate", name, made.data, "--json").out) for name in (made.one, made.two)}
    scores = {str(name): one["accuracy"]["value"] for name, one in alone.items()}
    assert {name: one["accuracy"]["value"] for name, one in found["beside"]["alone"].items()} == scores
    assert scores[found["beside"]["best"]] == max(scores.values())
    difference = found["accuracy"]["value"] - max(scores.values())
    assert found["beside"]["difference"]["value"] == pytest.approx(difference)
    true = [file.parent.name for file in files]
    right = [("ants", "bees", "wasps")[i] for i in mean.argmax(1).tolist()]
    assert found["accuracy"]["value"] == pytest.approx(sum(map(str.__eq__, true, right)) / len(true))
    shown = hubft("evaluate", made.one, made.data, "--with", made.two)
    assert f"{made.one}, {made.two}, the mean, " in ", ".join(row[0] for row in shown.cells())


def test_what_has_no_mean_is_refused(hubft: Hubft, made: Made, tmp_path: Path) -> None:
    packages.write(tmp_path / "other", packages.toy_job())
    packages.write(tmp_path / "numbers", packages.toy_job(), task=Regression(("a", "b", "c"), (0.0,) * 3, (1.0,) * 3))
    told = {
        ("--with", tmp_path / "other"): "its answers are 'ant', 'bee', 'cat', and those of ",
        ("--with", tmp_path / "numbers"): "it is a model for regression of images, and ",
        ("--with", made.one): "name each package once",
        ("--with", made.two, "--tta", "flips"): "--tta and --with: the one is of a single package",
    }
    for options, message in told.items():
        for command in (("evaluate", made.one, made.data), ("predict", made.one, made.data)):
            ran = hubft(*command, *options)
            assert ran.code == 2 and message in ran.err and ran.err.count("\n") == 1, ran.err
    with pytest.raises(HubftError, match="tta 'flip': must be one of flips, crops"):
        api.predict(made.one, made.data, tta="flip")
