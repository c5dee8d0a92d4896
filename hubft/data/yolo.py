"""Text files of YOLO: one beside each image or in `labels`, a line a box, `class cx cy width height` as shares of the
image. https://docs.ultralytics.com/datasets/detect

What names the classes tells the format: `data.yaml` of Ultralytics and Roboflow, `classes.txt` of Label Studio,
`obj.names` of CVAT. A line of a polygon becomes the box around it. An image without a file of labels is one without
objects: so the format says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from hubft.base.bars import Counting, counted
from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.data.annotated import Annotated
from hubft.data.boxes import Box, Picture, is_number
from hubft.data.formats import recognised
from hubft.data.listing import printable
from hubft.data.named import Files, part_above
from hubft.data.rows import PARTS

NAME = "YOLO"
YAML = (".yaml", ".yml")
USUAL = "data.yaml"
CLASSES = ("classes.txt", "obj.names")
LISTS = {"train": "train.txt", "val": "valid.txt", "test": "test.txt"}
"""Of images, beside `obj.names`."""
IMAGES, LABELS = "images", "labels"
MAX_NAMES, MAX_LABELS = 1 << 20, 1 << 24  # bytes of a file
FAR = 2.0  # a share beyond it is none: pixels, most likely


def look(path: Path) -> list[Path]:
    """Return the file that names the classes, and says where the images of each part are."""
    if path.is_file():
        return [path] if path.suffix.lower() in YAML and _states_names(path) else []
    found = [file for file in sorted(path.iterdir()) if file.suffix.lower() in YAML and _states_names(file)]
    found = [file for file in found if file.name == USUAL] or found
    if not found and (path / LABELS).is_dir():
        found = [path / CLASSES[0]] if (path / CLASSES[0]).is_file() else []
    return found or ([path / CLASSES[1]] if (path / CLASSES[1]).is_file() else [])


def _states_names(path: Path) -> bool:
    try:
        found = _stated(path)
    except DataError:
        return path.name == USUAL  # of which `read` says what is wrong
    return "names" in found and any(key in found for key in ("path", *PARTS))


def _stated(path: Path) -> Mapping[Any, Any]:
    """Return what a YAML file states, plain data alone.

    :raises DataError: it is too large, no YAML, or no mapping.
    """
    if not path.is_file() or path.stat().st_size > MAX_NAMES:
        raise DataError(f"{str(path)!r} is no file, or of more than {MAX_NAMES:,} bytes")
    try:
        found = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{str(path)!r} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise DataError(f"{str(path)!r} states no names of classes")
    return found


def read(path: Path, found: Sequence[Path], images: Path | None, counting: Counting) -> Annotated:
    """Return the images and boxes of text files.

    :param path: what the user gave: a folder, or the `data.yaml` in it.
    :param found: what `look` gave.
    :raises DataError: names of classes or places of images that cannot be told.
    """
    if len(found) > 1:
        raise DataError(f"{str(path)!r} has several files that name classes, {listed(f.name for f in found)}: give one")
    (file,) = found
    root = images or file.parent
    stated = _stated(file) if file.suffix.lower() in YAML else {"names": _lines(file, MAX_NAMES)}
    annotated, files = Annotated(root, {}, _names(stated.get("names"), file)), Files(root)
    taking = _Taking(files, annotated, "kpt_shape" in stated)
    for part, places in _parts(stated, file, files, annotated).items():
        its = counted(counting, places, len(places), f"labels of {part}")
        annotated.parts[part] = [taking.picture(place) for place in its]
    annotated.titles = (
        {part: f"{part} of {str(file)!r}" for part in annotated.parts} if len(annotated.parts) > 1 else {}
    )
    taking.tell()
    return annotated


def _names(stated: Any, file: Path) -> list[str]:
    """Return the names of the classes in their order."""
    if isinstance(stated, dict) and sorted(map(str, stated)) == sorted(map(str, range(len(stated)))):
        by_index = {int(index): name for index, name in stated.items()}
        stated = [by_index[index] for index in range(len(by_index))]
    if not isinstance(stated, list) or not stated:
        raise DataError(f"{str(file)!r}: names must be a list of the names of classes, or 0: NAME, 1: NAME, ...")
    names = [str(one).strip() for one in stated]
    if wrong := [one for one in stated if not isinstance(one, str | int | float) or not str(one).strip()]:
        raise DataError(f"{str(file)!r}: {quoted(str(wrong[0]))} is no name of a class")
    if twice := [one for one in names if names.count(one) > 1]:
        raise DataError(f"{str(file)!r}: two classes are called {quoted(twice[0])}")
    return names


def _lines(file: Path, most: int) -> list[str]:
    """Return the lines of a file of text that are not empty."""
    if (size := file.stat().st_size) > most:
        raise DataError(f"{str(file)!r} has {size:,} bytes, more than {most:,}")
    lines = (line.strip() for line in file.read_bytes().decode("utf-8-sig", "replace").splitlines())
    return [line for line in lines if line]


def _parts(stated: Mapping[Any, Any], file: Path, files: Files, annotated: Annotated) -> dict[str, list[str]]:
    """Return the images of each part: where the data says that they are, else all that are there."""
    said = {part: stated[part] for part in PARTS if stated.get(part)}
    if not said:
        said = {part: name for part, name in LISTS.items() if name in files.places and file.name == CLASSES[1]}
    if not said:
        return _by_folder(files, annotated)
    parts: dict[str, list[str]] = {}
    for part, places in said.items():
        if not all(isinstance(one, str) for one in (places if isinstance(places, list) else [places])):
            raise DataError(f"{str(file)!r}: {part} must be a folder of images, a list of them in a file, or several")
        for one in places if isinstance(places, list) else [places]:
            place = _place(one, str(stated.get("path") or ""), files)
            if place is not None:
                parts.setdefault(part, []).extend(_images(place, part, files, annotated))
            elif part == "train":
                raise DataError(f"{str(file)!r} names {quoted(one)} for {part}, which is not below {str(files.root)!r}")
            else:
                annotated.notes.append(f"{file.name} names {quoted(one)} for {part}, which is not there")
    return parts


def _by_folder(files: Files, annotated: Annotated) -> dict[str, list[str]]:
    found = [place for place in files.below(".") if recognised(files.root / place)]
    parts = {part: its for part in PARTS if (its := [place for place in found if part_above(place) == part])}
    if not parts:
        return {"train": found}
    if aside := [place for place in found if not part_above(place)]:
        annotated.notes.append(f"{len(aside):,} images lie beside the parts and are left out: {listed(aside, 4)}")
    return parts


def _place(stated: str, above: str, files: Files) -> str | None:
    """Return which folder or file below the data's a path means; None where there is none.

    Tools write what is true on their machines: as much of its end is taken as leads to something.
    """
    words = [
        [word for word in text.replace("\\", "/").split("/") if word not in ("", ".", "..")] for text in (above, stated)
    ]
    if not words[1]:
        return "."
    every = [*words[0], *words[1]]
    for end in (every[i:] for i in range(len(every))):
        place = "/".join(end)
        if place.lower() == IMAGES and len(words[1]) > 1:
            break  # `test/images` is not there, and `images` is of all parts
        if place in files.places or any(one.startswith(f"{place}/") for one in files.places):
            return place
    return None


def _images(place: str, part: str, files: Files, annotated: Annotated) -> list[str]:
    """Return the images in a folder, or those that a list names."""
    if place not in files.places:
        return [one for one in files.below(place) if recognised(files.root / one)]
    found: list[str] = []
    for line in _lines(files.root / place, MAX_LABELS):
        try:
            found.append(files.find(line, place.rpartition("/")[0], part))
        except DataError as error:
            annotated.left_out[printable(line)] = str(error)
    return list(dict.fromkeys(found))


class _Taking:
    """The files of labels, as they are read."""

    def __init__(self, files: Files, annotated: Annotated, keypoints: bool) -> None:
        """:param keypoints: whether points follow the box in a line."""
        self.files, self.annotated, self.keypoints = files, annotated, keypoints
        self.polygons = 0
        self.used: set[str] = set()
        self.bare: list[str] = []

    def picture(self, place: str) -> Picture:
        """Return an image and the boxes in its file of labels."""
        file = next((one for one in _labels_of(place) if one in self.files.places), None)
        if file is None:
            self.bare.append(place)
            return Picture(place)
        self.used.add(file)
        return Picture(place, list(map(self._box, _lines(self.files.root / file, MAX_LABELS))), shares=True)

    def _box(self, line: str) -> Box:
        words = line.split()
        try:
            index, *numbers = map(float, words)
        except ValueError:
            return Box(problem=f"{quoted(line)} is no line of numbers: class cx cy width height")
        names = self.annotated.names
        if not index.is_integer() or not 0 <= index < len(names):
            return Box(problem=f"unknown class {words[0]}; known are 0 to {len(names) - 1}")
        if len(numbers) == 5 or len(numbers) < 4 or (len(numbers) % 2 and not self.keypoints):
            return Box(problem=f"{quoted(line)} has {len(words)} numbers: a box is class cx cy width height")
        if not all(is_number(one) and abs(one) <= FAR for one in numbers[: 4 if self.keypoints else None]):
            return Box(problem=f"{quoted(line)} holds what is no share of the image, which is from 0 to 1")
        label = names[int(index)]
        if len(numbers) > 4 and not self.keypoints:
            self.polygons += 1
            across, down = numbers[::2], numbers[1::2]
            return Box(label, (min(across), min(down), max(across), max(down)))
        x, y, width, height = numbers[:4]
        return Box(label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))

    def tell(self) -> None:
        """Note what a user should know.

        :raises DataError: no image has a file of labels.
        """
        if not self.used:
            raise DataError(f"{str(self.files.root)!r} has no file of labels for any of {len(self.bare):,} images")
        if self.bare:
            told = f"{len(self.bare):,} images have no file of labels, which means no objects: {listed(self.bare, 4)}"
            self.annotated.notes.append(told)
        if self.polygons:
            self.annotated.notes.append(f"{self.polygons:,} polygons are taken as the boxes around them")
        folders = {PurePosixPath(one).parent for one in self.used} - {PurePosixPath(".")}
        for place in sorted(self.files.places - self.used):
            if PurePosixPath(place).parent in folders and place.endswith(".txt"):
                self.annotated.left_out[place] = "labels of an image that is not there"


def _labels_of(place: str) -> Iterator[str]:
    """Yield where the labels of an image may be: in `labels` for `images`, else beside it."""
    path = PurePosixPath(place).with_suffix(".txt")
    *folders, name = path.parts
    for i in reversed(range(len(folders))):
        if folders[i].lower() == IMAGES:
            yield "/".join([*folders[:i], LABELS, *folders[i + 1 :], name])
            break
    yield path.as_posix()
