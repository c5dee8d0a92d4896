"""Runs on labels of every kind, as a user makes them: from a table to a package, its answers and further training."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy
import pytest
import reading
import torch
from PIL import Image

import hubft
from hubft import HubftError, api
from hubft.families.plugins import ROOT
from hubft.job import Labels
from hubft.publish import manifest as manifests
from hubft.share import load

SMALL: dict[str, Any] = {"device": "cpu", "workers": 0, "threads": 1, "quiet": True}
COLOURS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose colour, brightness and darkness can be seen, some labels missing: a patient has three each."""
    root = tmp_path_factory.mktemp("table")
    random, rows = numpy.random.default_rng(0), []
    for i in range(90):
        place, dark, bright = i % 3, (i // 3) % 2, float(random.uniform(0, 90))
        noise = random.normal(60 + bright - 30 * dark, 20, (36, 40, 3))
        noise[..., 2 - place] += 60
        Image.fromarray(noise.clip(0, 255).astype(numpy.uint8)).save(root / f"{i}.png")
        tags = ";".join([COLOURS[place]] + ["dark"] * dark)
        gap = "" if i % 10 == 9 else COLOURS[place]
        rows.append([f"{i}.png", COLOURS[place], gap, f"{250_000 + 1000 * bright:.0f}", tags, dark, f"p{i // 3}"])
    with (root / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "colour", "maybe", "price", "tags", "dark", "patient"], *rows])
    return root / "photos.csv"


KINDS: dict[str, dict[str, Any]] = {
    "classification": {"target": "colour"},
    "multilabel": {"target": "tags"},
    "regression": {"target": "price"},
    "several": {"target": ("maybe", "price", "tags")},
}


@pytest.fixture(scope="module")
def made(table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, api.Result]:
    root = tmp_path_factory.mktemp("made")
    return {
        kind: hubft.finetune("toy:small", table, output=root / kind, epochs=2, **options, **SMALL)
        for kind, options in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_learned_and_packaged(made: dict[str, api.Result], kind: str) -> None:
    result = made[kind]
    manifest = manifests.read(result.package / "hubft.json")
    assert manifest.task.kind == kind and result.metrics.head.value > 0.5, str(result)
    assert {"curves.png"} < {path.name for path in result.pictures}
    card = (result.package / "README.md").read_text(encoding="utf-8")
    assert "picture.png" in card and manifest.task.claim().format(one="an image", many="images") in card
    assert all(value in card for value in map(str, manifest.task.names))
    stated = json.dumps(manifest.metrics)
    assert "points" not in stated, "no numbers of single images"


@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_of_the_card_give_what_predict_says(made: dict[str, api.Result], table: Path, kind: str) -> None:
    package = made[kind].package
    [answer] = hubft.predict(package, [table.parent / "1.png"])
    model = torch.hub.load(str(ROOT), "finetuned", str(package), source="local")
    with torch.inference_mode():
        logits = model(model.preprocess(Image.open(table.parent / "1.png"))[None])
    task = manifests.read(package / "hubft.json").task
    found, known = [], {"model": model, "logits": logits}
    for line in task.lines():
        if re.match(r"\w+ = ", line):
            exec(line, known)
        elif not line.startswith("#"):
            found.append(eval(line, known))
    wanted = {
        "classification": lambda said: [said["class"]],
        "multilabel": lambda said: [sorted(said["labels"])],
        "regression": lambda said: [pytest.approx(said, rel=1e-4)],
        "several": lambda said: [
            f"maybe: {said['maybe']['class']}", pytest.approx(said["price"], rel=1e-4),
            sorted(f"tags: {one}" for one in said["tags"]["labels"]),
        ],
    }[kind](answer.said)  # fmt: skip
    assert [sorted(one) if isinstance(one, list) else one for one in found] == wanted


def test_numbers_are_in_the_users_unit_wherever_the_model_is_loaded(made: dict[str, api.Result], table: Path) -> None:
    result = made["regression"]
    with torch.inference_mode():
        image = result.model.preprocess(Image.open(table.parent / "0.png"))
        price = result.model(image[None]).item()
    assert 240_000 < price < 350_000
    assert result.metrics.values["rmse"].value < 20_000 and result.metrics.values["mae"].better == "lower"
    again = hubft.evaluate(result.package, table)
    assert again.metrics.values["mae"].value < 20_000 and again.outcomes[0].true["price"] > 240_000


def test_thresholds_come_from_training_images_that_are_not_trained_on(made: dict[str, api.Result]) -> None:
    manifest = manifests.read(made["multilabel"].package / "hubft.json")
    parts = {part: facts["samples"] for part, facts in manifest.data.items()}
    assert parts["tune"] > 0 and parts["train"] + parts["tune"] + parts["val"] == 90
    assert len(manifest.task.thresholds) == 4  # type: ignore[attr-defined]
    tags: Any = manifests.read(made["several"].package / "hubft.json").task
    assert any(threshold != 0.5 for threshold in tags.tasks["tags"].thresholds)


def test_a_missing_label_of_one_head_masks_only_that_head(made: dict[str, api.Result], table: Path) -> None:
    metrics = hubft.evaluate(made["several"].package, table).metrics
    assert metrics.values["maybe: accuracy"].n == 81 and metrics.values["price: r2"].n == 90


def test_a_row_without_its_only_label_is_left_out(table: Path) -> None:
    found = reading.read(table, labels=Labels(target=("maybe",)))
    assert len(found.train) + len(found.val) == 81
    assert found.quarantined["row 10: 9.png"] == "it has no label" and len(found.quarantined) == 9


@pytest.mark.parametrize("kind", ["regression", "several"])
def test_a_package_is_trained_further_from_where_it_was(
    made: dict[str, api.Result], table: Path, tmp_path: Path, kind: str
) -> None:
    first = made[kind]
    further = hubft.finetune(f"package:{first.run}", table, output=tmp_path / "run", epochs=0, **KINDS[kind], **SMALL)
    said = [hubft.predict(one.package, [table.parent / "4.png"])[0].said["price"] for one in (first, further)]
    assert said[0] == pytest.approx(said[1], rel=0.05)
    before, after = (manifests.read(one.package / "hubft.json").task for one in (first, further))
    assert before.names == after.names


def test_rows_of_a_group_stay_on_one_side(table: Path) -> None:
    found = reading.read(table, labels=Labels(target=("colour",), group="patient"))
    sides = [{sample.group for sample in part} for part in (found.train, found.val)]
    assert not sides[0] & sides[1] and len(found.val) == 18
    assert {sample.target for sample in found.val} == {0, 1, 2}


def test_the_best_epoch_and_no_patience(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**SMALL, "quiet": False}
    result = hubft.finetune(
        "toy:small", table, target="price", output=tmp_path / "run", epochs=12, patience=2, keep="best", lr=0.5,
        probe=False, clip=0.0, **options,
    )  # fmt: skip
    values = [line["r2"]["value"] for line in result.history]
    best = values.index(max(values))
    printed = capsys.readouterr().out
    assert f"kept     epoch {best + 1} of 12, chosen on the validation part" in printed
    assert result.metrics.head.value == pytest.approx(values[best], abs=1e-4)
    assert len(values) == 12 or (len(values) == best + 3 and "stopped  no better R2 in 2 epochs" in printed)
    card = (result.package / "README.md").read_text(encoding="utf-8")
    assert "These images also chose when training ended" in card
    assert not list(result.run.glob("best*"))


def test_a_task_of_another_kind_is_another_head(made: dict[str, api.Result]) -> None:
    facts = load.load(made["several"].package).hubft
    assert facts["task"]["kind"] == "several" and facts["classes"][3] == "price"  # type: ignore[index]


def with_split(table: Path, rows: list[list[str]]) -> Path:
    """Write a table beside the pictures with these rows of file, label and part, and return it."""
    other = table.with_name(f"{len(rows)}-{rows[0][1]}.csv")
    with other.open("w", newline="") as file:
        csv.writer(file).writerows([["file", "label", "split"], *rows])
    return other


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("a", "b", "new"), "nothing usable to train on in class 'new'"),
        (("a;b", "b;c", "new;a"), "no usable image to train on with 'new', which \"split == 'val'\" has"),
    ],
)
def test_a_label_that_only_validation_has_is_refused(table: Path, labels: tuple[str, ...], said: str) -> None:
    rows = [[f"{i}.png", labels[i % 2], "train"] for i in range(12)]
    rows += [[f"{i}.png", labels[2], "val"] for i in range(12, 16)]
    with pytest.raises(HubftError, match=re.escape(said)):
        reading.read(with_split(table, rows))


def test_an_unknown_kind_of_task_is_told(table: Path) -> None:
    with pytest.raises(HubftError, match=r"task 'regresion' is none of auto, .*Did you mean 'regression'\?"):
        reading.read(table, labels=Labels(target=("price",), task="regresion"))
