"""Scenes of drawn shapes with exact boxes, and the same scenes as each format and export of detection has them.

Each writer takes a list of scenes, which are all of the data, or a dictionary of such lists by the name of a part:
`{"train": [...], "val": [...]}`. It returns the folder that it wrote. Images are `0000.png`, `0001.png`, ..., counted
on over the parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image, ImageDraw

LABELS = ("disc", "square", "triangle")
COLOURS = {"disc": (220, 70, 60), "square": (60, 170, 80), "triangle": (70, 90, 220)}
ROBOFLOW = {"train": "train", "val": "valid", "test": "test"}

Box = tuple[str, float, float, float, float]


@dataclass
class Scene:
    """A picture and what is in it."""

    image: Image.Image
    """RGB."""
    boxes: list[Box]
    """(label, x0, y0, x1, y1), pixels; x1 and y1 lie just behind the last pixel."""


Scenes = Sequence[Scene] | Mapping[str, Sequence[Scene]]


def made(seed: int, count: int, size: tuple[int, int] = (96, 80), most: int = 3, least: int = 1) -> list[Scene]:
    """Return so many scenes with `least` to `most` shapes each, apart from one another; equal seeds give equal ones.

    :param size: width and height, pixels.
    """
    return [_scene(numpy.random.default_rng((seed, i)), size, least, most) for i in range(count)]


def _scene(random: numpy.random.Generator, size: tuple[int, int], least: int, most: int) -> Scene:
    width, height = size
    noise = random.normal(128, 18, (height, width, 3)).clip(0, 255).astype(numpy.uint8)
    scene = Scene(Image.fromarray(noise), [])
    for _ in range(int(random.integers(least, most + 1))):
        for _ in range(50):  # tries to find a free place
            side = int(random.integers(min(size) // 5, min(size) // 2))
            x, y = int(random.integers(0, width - side)), int(random.integers(0, height - side))
            if all(x > b[3] or y > b[4] or x + side < b[1] or y + side < b[2] for b in scene.boxes):
                _paste(scene, LABELS[int(random.integers(len(LABELS)))], x, y, side)
                break
    return scene


def _paste(scene: Scene, label: str, x: int, y: int, side: int) -> None:
    mask = Image.new("1", scene.image.size)
    pen, (right, low) = ImageDraw.Draw(mask), (x + side - 1, y + side - 1)
    if label == "disc":
        pen.ellipse((x, y, right, low), fill=1)
    elif label == "square":
        pen.rectangle((x, y, right, low), fill=1)
    else:
        pen.polygon(((x + side // 2, y), (right, low), (x, low)), fill=1)
    scene.image.paste(COLOURS[label], mask=mask)
    x0, y0, x1, y1 = mask.getbbox() or (0, 0, 0, 0)
    scene.boxes.append((label, float(x0), float(y0), float(x1), float(y1)))


def cells(scenes: Sequence[Scene]) -> list[list[dict[str, object]]]:
    """Return what a row of each scene holds in its column of boxes."""
    return [[{"label": label, "box": [*box]} for label, *box in scene.boxes] for scene in scenes]


def names(scenes: Scenes) -> dict[str, list[tuple[str, Scene]]]:
    """Return by part the scenes with the names of their files; the part is empty where there are none."""
    parts = scenes if isinstance(scenes, Mapping) else {"": scenes}
    found, count = {}, 0
    for part, its in parts.items():
        found[part] = [(f"{count + i:04}.png", scene) for i, scene in enumerate(its)]
        count += len(its)
    return found


# ---- COCO JSON ----


def annotations(named: Sequence[tuple[str, Scene]], first: int = 1) -> dict[str, list[dict[str, object]]]:
    """Return scenes as COCO JSON.

    :param first: id of the first category.
    """
    images, boxes = [], []
    for number, (name, scene) in enumerate(named, 1):
        width, height = scene.image.size
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for label, x0, y0, x1, y1 in scene.boxes:
            category, bbox = first + LABELS.index(label), [x0, y0, x1 - x0, y1 - y0]
            known = {"id": len(boxes) + 1, "image_id": number, "category_id": category, "bbox": bbox}
            boxes.append({**known, "area": bbox[2] * bbox[3], "iscrowd": 0})
    categories = [{"id": first + i, "name": label} for i, label in enumerate(LABELS)]
    return {"images": images, "annotations": boxes, "categories": categories}


def coco(folder: Path, scenes: Scenes) -> Path:
    """Write `annotations/instances_PART.json` and `images/PART/`, as COCO and CVAT do; without parts
    `annotations/instances_default.json` and `images/`."""
    for part, named in names(scenes).items():
        _save(folder / "images" / part, named)
        _write(folder / "annotations" / f"instances_{part or 'default'}.json", json.dumps(annotations(named)))
    return folder


def coco_roboflow(folder: Path, scenes: Scenes) -> Path:
    """Write `PART/_annotations.coco.json` with the images beside it; category 0 is one that no box has."""
    for part, named in names(scenes).items():
        place = folder / ROBOFLOW.get(part, part)
        _save(place, named)
        data = annotations(named)
        data["categories"] = [{"id": 0, "name": "shapes", "supercategory": "none"}, *data["categories"]]
        _write(place / "_annotations.coco.json", json.dumps(data))
    return folder


def coco_label_studio(folder: Path, scenes: Sequence[Scene]) -> Path:
    """Write `result.json` and `images/`; categories begin at 0."""
    named = names(scenes)[""]
    _save(folder / "images", named)
    data = annotations([(f"images/{name}", scene) for name, scene in named], first=0)
    return _write(folder / "result.json", json.dumps(data)).parent


# ---- YOLO text files ----


def yolo(folder: Path, scenes: Scenes) -> Path:
    """Write `data.yaml`, `images/PART/` and `labels/PART/`; without parts `images/` and `labels/`."""
    parts = names(scenes)
    for part, named in parts.items():
        _save(folder / "images" / part, named)
        _write_lines(folder / "labels" / part, named)
    lines = [f"path: {folder.name}", *(f"{part or 'train'}: images/{part}" for part in parts), "names:"]
    lines += [f"  {i}: {label}" for i, label in enumerate(LABELS)]
    return _write(folder / "data.yaml", "\n".join(lines) + "\n").parent


def yolo_roboflow(folder: Path, scenes: Scenes) -> Path:
    """Write `data.yaml`, `PART/images/` and `PART/labels/`."""
    parts = names(scenes)
    for part, named in parts.items():
        _save(folder / ROBOFLOW.get(part, part) / "images", named)
        _write_lines(folder / ROBOFLOW.get(part, part) / "labels", named)
    lines = [f"{part}: ../{ROBOFLOW.get(part, part)}/images" for part in parts]
    lines += ["", f"nc: {len(LABELS)}", f"names: {[*LABELS]!r}", "", "roboflow:", "  license: CC BY 4.0"]
    return _write(folder / "data.yaml", "\n".join(lines) + "\n").parent


def yolo_label_studio(folder: Path, scenes: Sequence[Scene]) -> Path:
    """Write `classes.txt`, `notes.json`, `images/` and `labels/`."""
    named = names(scenes)[""]
    _save(folder / "images", named)
    _write_lines(folder / "labels", named)
    _write(folder / "notes.json", json.dumps({"categories": [{"id": i, "name": n} for i, n in enumerate(LABELS)]}))
    return _write(folder / "classes.txt", "\n".join(LABELS) + "\n").parent


def line(scene: Scene, box: Box) -> str:
    """Return a box as a line of YOLO: class, centre, width and height as shares of the image."""
    label, x0, y0, x1, y1 = box
    width, height = scene.image.size
    shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return " ".join([str(LABELS.index(label)), *(f"{share:.9f}" for share in shares)])


def _write_lines(folder: Path, named: Sequence[tuple[str, Scene]]) -> None:
    for name, scene in named:
        _write(folder / f"{Path(name).stem}.txt", "".join(f"{line(scene, box)}\n" for box in scene.boxes))


# ---- Pascal VOC ----


def voc(folder: Path, scenes: Scenes) -> Path:
    """Write `JPEGImages/`, `Annotations/` and, where there are parts, `ImageSets/Main/PART.txt`."""
    for part, named in names(scenes).items():
        _save(folder / "JPEGImages", named)
        for name, scene in named:
            _write(folder / "Annotations" / f"{Path(name).stem}.xml", xml(name, scene))
        if part:
            listed = "".join(f"{Path(name).stem}\n" for name, _ in named)
            _write(folder / "ImageSets" / "Main" / f"{part}.txt", listed)
    return folder


def voc_roboflow(folder: Path, scenes: Scenes) -> Path:
    """Write `PART/NAME.png` with `PART/NAME.xml` beside it."""
    for part, named in names(scenes).items():
        place = folder / ROBOFLOW.get(part, part)
        _save(place, named)
        for name, scene in named:
            _write(place / f"{Path(name).stem}.xml", xml(name, scene))
    return folder


def xml(name: str, scene: Scene) -> str:
    """Return a scene as a file of Pascal VOC, its corners counted from 0."""
    width, height = scene.image.size
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    objects = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        f"<bndbox><xmin>{x0:g}</xmin><ymin>{y0:g}</ymin><xmax>{x1:g}</xmax><ymax>{y1:g}</ymax></bndbox></object>"
        for label, x0, y0, x1, y1 in scene.boxes
    )
    return f"<annotation><filename>{name}</filename>{size}<segmented>0</segmented>{objects}</annotation>\n"


def _save(folder: Path, named: Sequence[tuple[str, Scene]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in named:
        scene.image.save(folder / name)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
