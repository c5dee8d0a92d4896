"""COCO JSON: a file of annotations, or a folder with such files and images, as COCO, CVAT, Label Studio and Roboflow
have them. https://cocodataset.org/#format-data

Boxes are `[x, y, width, height]`. Ids of categories are any numbers; their order is that of the classes.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hubft.base.bars import Counting
from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.data.annotated import Annotated
from hubft.data.boxes import Box, Picture, is_number
from hubft.data.listing import printable
from hubft.data.named import Files, part_in
from hubft.data.sheet import IMAGES, kind

NAME = "COCO JSON"
KEYS = ("images", "annotations", "categories")
Id = int | float | str
MAX_BYTES = 1 << 30  # of a file: COCO's own largest has 0.45 GB
FOLDER = "annotations"
INSTANCES = "instances"
"""What the files of boxes are called, where captions and keypoints lie beside them."""


def look(path: Path) -> list[Path]:
    """Return the files of annotations of a folder, of its folder `annotations`, and of the folders of its parts."""
    if path.is_file():
        return [path] if is_one(path) else []
    places = [path, *(place for place in sorted(path.iterdir()) if place.name.lower() == FOLDER or kind(place.name))]
    files = [file for place in places if place.is_dir() for file in sorted(place.glob("*.json")) if is_one(file)]
    return [file for file in files if file.name.startswith(INSTANCES)] or files


def is_one(path: Path) -> bool:
    """Tell whether a file is one of annotations, by the keys that are somewhere in it."""
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        line = text.readline()
        if text.tell() < len(text):  # more lines: of a table, each is an object
            try:
                return set(KEYS) <= set(json.loads(line))
            except (ValueError, TypeError, RecursionError):
                pass
        opened = text[: 1 << 10].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
        return opened and all(text.find(f'"{key}"'.encode(), 0) >= 0 for key in KEYS)


def read(path: Path, found: Sequence[Path], images: Path | None, counting: Counting) -> Annotated:
    """Return the images and boxes of files of annotations.

    :param path: what the user gave: a file or a folder.
    :param found: what `look` gave.
    :param images: folder of the images, where the user says it.
    :raises DataError: a file that is damaged, two files for one part.
    """
    root = path
    if path.is_file():
        root = path.parent.parent if path.parent.name.lower() == FOLDER else path.parent
    annotated = Annotated(images or root, {})
    files, parts = Files(annotated.root), _parts(path, found, root, annotated)
    classes: dict[Id, str] = {}
    for part, file in parts.items():
        with counting(file.name, None):
            read = load(file)
        taking = _Taking(file.relative_to(root).as_posix(), read, annotated)
        for id, label in taking.categories.items():
            if classes.setdefault(id, label) != label:
                raise DataError(
                    f"{taking.name!r}: category {id} is {quoted(label)}, and {quoted(classes[id])} elsewhere"
                )
        annotated.parts[part] = taking.pictures(files, part if len(parts) > 1 else "")
        annotated.titles = {**annotated.titles, part: str(file)}
    annotated.names = [*dict.fromkeys(classes[id] for id in sorted(classes, key=_order))]
    used = {picture.place for its in annotated.parts.values() for picture in its}
    if stray := [place for place in sorted(files.places - used) if place.lower().endswith(IMAGES)]:
        annotated.notes.append(f"{len(stray):,} images are in no annotation and are left out: {listed(stray, 4)}")
    return annotated


def _parts(path: Path, found: Sequence[Path], root: Path, annotated: Annotated) -> dict[str, Path]:
    """Return the file of each part; those that belong to none beside others are passed."""
    if len(found) == 1:
        said = "" if path.is_file() else part_in(found[0].relative_to(root).as_posix())
        return {said or "train": found[0]}
    parts: dict[str, Path] = {}
    for file in found:
        name = file.relative_to(root).as_posix()
        if not (part := part_in(name)):
            annotated.passed[name] = "annotations of no part of a split by their name"
        elif part in parts:
            raise DataError(
                f"{str(path)!r} has two files of annotations for {part}: give one of them, as {str(file)!r}"
            )
        else:
            parts[part] = file
    if not parts:
        raise DataError(
            f"{str(path)!r} has several files of annotations, {listed(annotated.passed)}, and no name says which is to "
            f"train on: give one of them, as {str(found[0])!r}"
        )
    return parts


def load(file: Path) -> Mapping[str, list[Any]]:
    """Return what a file of annotations holds.

    :raises DataError: it is too large, no JSON, or another object.
    """
    if (size := file.stat().st_size) > MAX_BYTES:
        raise DataError(
            f"{str(file)!r} has {size:,} bytes, more than {MAX_BYTES:,}: give its parts as files of their own"
        )
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(file)!r} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{str(file)!r} is no COCO JSON, which is one object with {listed(KEYS)}")
    for key in KEYS:
        if not isinstance(found.get(key), list) or not all(isinstance(one, dict) for one in found[key]):
            raise DataError(f"{str(file)!r} is no COCO JSON: its {key!r} must be a list of objects")
    return found


class _Taking:
    """One file of annotations."""

    def __init__(self, name: str, data: Mapping[str, list[Any]], annotated: Annotated) -> None:
        self.name, self.data, self.annotated = name, data, annotated
        self.categories: dict[Id, str] = {}
        for number, one in enumerate(data["categories"], 1):
            id, label = one.get("id"), one.get("name")
            if not isinstance(id, Id) or not isinstance(label, int | str) or not str(label).strip():
                raise DataError(f"{name!r}: category {number:,} must have an id and a name")
            if self.categories.setdefault(id, str(label).strip()) != str(label).strip():
                raise DataError(
                    f"{name!r}: two categories have the id {id}: {listed((self.categories[id], str(label)))}"
                )

    def pictures(self, files: Files, part: str) -> list[Picture]:
        """Return the images with their boxes; what is wrong is noted."""
        pictures: dict[Id, Picture] = {}
        missing: set[Id] = set()
        known: set[str] = set()
        for number, one in enumerate(self.data["images"], 1):
            id, name = one.get("id"), one.get("file_name")
            if not isinstance(id, Id) or not isinstance(name, str):
                raise DataError(f"{self.name!r}: image {number:,} must have an id and a file_name")
            if id in pictures or id in missing:
                raise DataError(f"{self.name!r}: two images have the id {id}: {quoted(name)} is the second")
            try:
                place = files.find(name, self.name.rpartition("/")[0], part)
                if place in known:
                    raise DataError("another image of the annotations is the same file")
            except DataError as error:
                self.annotated.left_out[printable(name)] = str(error)
                missing.add(id)
                continue
            known.add(place)
            pictures[id] = Picture(place, size=_size(one))
        for number, one in enumerate(self.data["annotations"], 1):
            id = one.get("image_id")
            if isinstance(id, Id) and id in pictures:
                pictures[id].boxes.append(self._box(one))
            elif not isinstance(id, Id) or id not in missing:
                self.annotated.within[f"{self.name}, annotation {number:,}"] = f"unknown image {quoted(str(id))}"
        return list(pictures.values())

    def _box(self, one: Mapping[str, Any]) -> Box:
        id, box = one.get("category_id"), one.get("bbox")
        if not isinstance(id, Id) or id not in self.categories:
            known = listed((f"{id} {label}" for id, label in self.categories.items()), 4)
            return Box(problem=f"unknown category {quoted(str(id))}; known are {known}")
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            return Box(problem=f"its bbox is {quoted(str(box))}, not [x, y, width, height] in pixels")
        x, y, width, height = map(float, box)
        return Box(self.categories[id], (x, y, x + width, y + height), bool(one.get("iscrowd")))


def _size(one: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height as an annotation says them; None where it says none."""
    width, height = one.get("width"), one.get("height")
    return (int(width), int(height)) if is_number(width) and is_number(height) and width and height else None


def _order(id: Id) -> tuple[bool, float, str]:
    """Return what sorts ids: numbers by their size, then texts."""
    return (True, 0, id) if isinstance(id, str) else (False, id, "")
