"""What the drivers of detectors share: options, the model and its pictures, and the line that is printed, with the
average precision on the test's pictures.

Seconds are the processor's, in all of a driver: whoever asks for the time, to measure a pace or to keep to a budget, is
told those that this process has taken. Each system has one thread and no other process, so on a machine of its own they
are those of the clock on the wall; on one that is shared, others do not disturb them.

It runs in the environment of each system, so it needs transformers and pycocotools, and nothing of hubft.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from transformers import AutoImageProcessor, AutoModelForObjectDetection, BatchFeature

PIECE = 50  # pictures that are asked for at once


def options(description: str | None, flags: bool = False) -> argparse.Namespace:
    """Return the options that every driver takes; with `flags`, whatever else is given is kept in `extra`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--data", type=Path, required=True, help="folder with model/, train/ and test/, these as COCO's")
    made.add_argument("--seconds", type=float, required=True, help="that the training may take")
    made.add_argument("--lr", type=float, default=0.0, help="learning rate; 0 is the system's default")
    made.add_argument("--seed", type=int, default=0)
    found, found.extra = made.parse_known_args()
    if found.extra and not flags:
        made.error(f"unknown options {' '.join(found.extra)}")
    torch.set_num_threads(1)
    time.perf_counter = time.process_time
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return found


class Pictures:
    """The pictures of a part, with what is marked in them."""

    def __init__(self, folder: Path) -> None:
        (stated,) = folder.glob("annotations/*.json")
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco = COCO(stated)
        self.folder = folder / "images"
        self.places = self.coco.getImgIds()
        self.categories = self.coco.loadCats(self.coco.getCatIds())
        self.names = [category["name"] for category in self.categories]

    def read(self, place: int) -> Image.Image:
        with Image.open(self.folder / self.coco.loadImgs(place)[0]["file_name"]) as image:
            return image.convert("RGB")

    def learned(self, processor: Any) -> list[dict[str, Any]]:
        """Return the pictures and their boxes as a model of transformers takes them, by its own processor."""
        number = {category["id"]: place for place, category in enumerate(self.categories)}
        found = []
        for place in self.places:
            its = self.coco.loadAnns(self.coco.getAnnIds(place))
            marked = [one | {"category_id": number[one["category_id"]]} for one in its]
            made: BatchFeature = processor(
                self.read(place), annotations={"image_id": place, "annotations": marked}, return_tensors="pt"
            )
            found.append({"pixel_values": made["pixel_values"][0], "labels": made["labels"][0]})
        return found


def precision(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """Return the mean average precision, in all and at an overlap of a half, of a model's folder by pycocotools.

    One way for all, so that none gains by its own: transformers' model, processor and boxes, of any score.
    """
    model, processor = AutoModelForObjectDetection.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    test, found = Pictures(given.data / "test"), []
    ids = {category["name"]: category["id"] for category in test.categories}
    model.eval()
    for start in range(0, len(test.places), PIECE):
        places = test.places[start : start + PIECE]
        images = [test.read(place) for place in places]
        with torch.inference_mode():
            said = model(**processor(images, return_tensors="pt"))
        sizes = [image.size[::-1] for image in images]
        rows = processor.post_process_object_detection(said, threshold=0.0, target_sizes=sizes)
        for place, its in zip(places, rows, strict=True):
            for score, label, (x0, y0, x1, y1) in zip(*(its[k].tolist() for k in KEYS), strict=True):
                category, box = ids[model.config.id2label[label]], [x0, y0, x1 - x0, y1 - y0]
                found.append({"image_id": place, "category_id": category, "score": score, "bbox": box})
    with contextlib.redirect_stdout(io.StringIO()):
        measured = COCOeval(test.coco, test.coco.loadRes(found), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return {"map": float(measured.stats[0]), "map_50": float(measured.stats[1])}


KEYS = ("scores", "labels", "boxes")


def show(system: str, libraries: Sequence[str], given: argparse.Namespace, seconds: float, **found: object) -> None:
    """Print the run as one line of JSON, with what was found."""
    line = {
        "system": system,
        "data": given.data.name,
        "seed": given.seed,
        "threads": 1,
        "asked_seconds": given.seconds,
        "lr": given.lr,
        "extra": given.extra,
        "versions": {name: version(name) for name in ["torch", "transformers", "pycocotools", *libraries]},
        "train_seconds": round(seconds, 3),
        **found,
    }
    print(json.dumps(line), flush=True)
