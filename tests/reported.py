"""Runs of every kind of task, tiny, of which a report is looked at."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import detectors
import language
import numpy
import pictures
import pytest
import scenes
import sentences
import texts
from extras import needs
from PIL import Image

from hubft import Job, engine
from hubft.job import Compute, Labels, Recipe

HOSTILE = ("<script>alert(1)<!--", "a&b\"'><img src=x onerror=alert(2)>", "图 {{ 7 * 7 }}")
SMALL = Compute("cpu", workers=0, threads=1)


def table(folder: Path) -> Path:
    """Write 45 pictures, and photos.csv with what each shows, is and costs."""
    random, rows = numpy.random.default_rng(0), []
    for i in range(45):
        place, dark = i % 3, (i // 3) % 2
        Image.fromarray(pictures.pixels(random, place) // (1 + dark)).save(folder / f"{i}.png")
        price = round(10 + 7 * place + float(random.uniform()), 3)
        rows.append([f"{i}.png", "rgb"[place], price, ";".join(["x"] * (place == 0) + ["y"] * dark)])
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "colour", "price", "tags"], *rows])
    return folder / "photos.csv"


def classification(folder: Path, patch: pytest.MonkeyPatch) -> Job:
    """Names that a page must not obey, and pictures in wrong folders: there are mistakes to be shown."""
    data, random = pictures.folder(folder / "data", HOSTILE, 6, 9), numpy.random.default_rng(1)
    for place, name in enumerate(HOSTILE[:2]):
        Image.fromarray(pictures.pixels(random, place + 1)).save(data / "val" / name / "wrong.png")
    return Job("toy:small", data, recipe=Recipe(epochs=2, augment="light"))


def _tabled(*target: str, empty: Literal["", "none"] = "") -> Callable[[Path, pytest.MonkeyPatch], Job]:
    labels = Labels(target=target, empty=empty)
    return lambda folder, patch: Job("toy:small", table(folder), labels=labels, recipe=Recipe(epochs=1))


def text(folder: Path, patch: pytest.MonkeyPatch) -> Job:
    needs("transformers", "transformers")
    data = texts.table(folder / "data.csv")
    return Job(f"transformers:{texts.model(folder / 'tiny')}", data, recipe=Recipe(epochs=1))


def tokens(folder: Path, patch: pytest.MonkeyPatch) -> Job:
    needs("transformers", "transformers")
    data = sentences.table(folder / "data.jsonl", 40)
    return Job(f"transformers:{texts.model(folder / 'tiny')}", data, recipe=Recipe(epochs=1))


def generation(folder: Path, patch: pytest.MonkeyPatch) -> Job:
    needs("transformers", "transformers")
    data = language.table(folder / "data.jsonl", 24)
    return Job(f"transformers:{language.model(folder / 'tiny')}", data, recipe=Recipe(epochs=1, lr=1e-3))


def boxes(folder: Path, patch: pytest.MonkeyPatch) -> Job:
    needs("faster_coco_eval", "detection")
    detectors.weights(detectors.TINY, folder, patch)
    its = scenes.made(5, 20, most=3)
    data = scenes.coco(folder / "data", {"train": its[:14], "val": its[14:]})
    return Job(f"torchvision:{detectors.TINY}", data, recipe=Recipe(epochs=1, lr=0.003, train="all"), size=64)


KINDS: dict[str, Callable[[Path, pytest.MonkeyPatch], Job]] = {
    "classification": classification,
    "multilabel": _tabled("tags", empty="none"),
    "regression": _tabled("price"),
    "several": _tabled("colour", "price"),
    "text": text,
    "tokens": tokens,
    "generation": generation,
    "boxes": boxes,
}


def run(kind: str, folder: Path, patch: pytest.MonkeyPatch) -> engine.Result:
    """Return a finished run of this kind, in `folder/run`, of data in the same folder."""
    return engine.finetune(replace(KINDS[kind](folder, patch), compute=SMALL, output=folder / "run"))
