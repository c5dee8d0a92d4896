"""Pascal VOC: an XML file for each image, in a folder `Annotations`, or beside its image as Roboflow and LabelImg do.
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html

Corners are `xmin`, `ymin`, `xmax`, `ymax`, in pixels. In the VOC's own files, which name its database, they are numbers
of pixels counted from 1; the tools of today write coordinates from 0. An object that is marked as difficult counts
neither way, as in the measure of the VOC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from hubft.base.bars import Counting, counted
from hubft.base.display import listed, quoted
from hubft.base.errors import DataError, Option
from hubft.data.annotated import Annotated
from hubft.data.boxes import Box, Picture, is_number
from hubft.data.named import Files, part_above
from hubft.data.rows import PARTS
from hubft.data.sheet import IMAGES, kind

NAME = "Pascal VOC"
XML = ".xml"
FOLDER = "annotations"
PICTURES = ("JPEGImages", "images", "Images")  # folders beside it
LISTS = "ImageSets/Main"
BOTH = "trainval"
MAX_BYTES = 1 << 22  # of a file
CORNERS = ("xmin", "ymin", "xmax", "ymax")
COUNTED_FROM_1 = "The VOC"
"""How the name of the database begins in the files of the VOC itself."""


def look(path: Path) -> list[Path]:
    """Return the folder of annotations; else the folders, of all or of parts, in which they lie beside images."""
    if not path.is_dir():
        return []
    folders = [one for one in sorted(path.iterdir()) if one.is_dir()]
    own = [one for one in folders if one.name.lower() == FOLDER and any(map(_is_one, _below(one)))]
    return own or [one for one in (path, *(one for one in folders if kind(one.name))) if any(map(_is_one, _in(one)))]


def _in(folder: Path) -> Iterator[Path]:
    return (one for one in sorted(folder.iterdir()) if one.suffix.lower() == XML and one.is_file())


def _below(folder: Path) -> Iterator[Path]:
    yield from _in(folder)
    for inner in sorted(folder.iterdir()):
        if inner.is_dir():
            yield from _in(inner)


def _is_one(path: Path) -> bool:
    """Tell by the beginning of a file whether it is an annotation."""
    with path.open("rb") as file:
        return b"<annotation" in file.read(1 << 10)


def read(path: Path, found: Sequence[Path], images: Path | None, counting: Counting) -> Annotated:
    """Return the images and boxes of XML files.

    :param path: the folder that the user gave.
    :param found: what `look` gave.
    :raises DataError: images are said to lie elsewhere.
    """
    if images:
        told = f"{str(path)!r} is a folder of {NAME}, whose images lie beside {FOLDER}: leave out "
        raise DataError(told, Option("images"))
    files, annotated = Files(path), Annotated(path, {})
    below = found[0].name.lower() == FOLDER
    places = [one.relative_to(path).as_posix() for folder in found for one in (_below if below else _in)(folder)]
    parts = _by_list(places, files, annotated) or _by_folder(places, annotated)
    taken: set[str] = set()
    for part, its in parts.items():
        pictures = []
        for place in counted(counting, its, len(its), f"annotations of {part}"):
            try:
                picture = _picture(place, files)
                if picture.place in taken:
                    raise DataError(f"another annotation is of {quoted(picture.place)} too")
                taken.add(picture.place)
                pictures.append(picture)
            except DataError as error:
                annotated.left_out[place] = str(error)
        annotated.parts[part] = pictures
    if len(parts) > 1:
        annotated.titles = {part: f"{part} of {str(path)!r}" for part in parts}
    beside = {PurePosixPath(place).parent for place in taken}
    stray = [one for one in sorted(files.places - taken) if PurePosixPath(one).parent in beside]
    if stray := [one for one in stray if one.lower().endswith(IMAGES)]:
        annotated.notes.append(f"{len(stray):,} images are in no annotation and are left out: {listed(stray, 4)}")
    return annotated


def _by_list(places: Sequence[str], files: Files, annotated: Annotated) -> dict[str, list[str]]:
    """Return the annotations of each part by the lists of the VOC; none where there are no such."""
    lists = {part: files.root / LISTS / f"{part}.txt" for part in (*PARTS, BOTH)}
    lists = {part: file for part, file in lists.items() if file.is_file()}
    both = lists.pop(BOTH, None)
    if both and "train" not in lists:
        lists["train"] = both
    known = {PurePosixPath(place).stem: place for place in places}
    parts: dict[str, list[str]] = {}
    for part, file in lists.items():
        parts[part] = []
        for line in file.read_bytes().decode("utf-8-sig", "replace").split("\n"):
            name = (line.split() or [""])[0]
            if name and name not in known:
                annotated.left_out[f"{file.name}: {name}"] = "no annotation of this name"
            elif name:
                parts[part].append(known[name])
    used: dict[str, str] = {}
    for part, its in parts.items():
        for place in its:
            if (other := used.setdefault(place, part)) != part:
                raise DataError(f"{quoted(place)} is in two lists, {other} and {part}: keep one")
    if parts and (stray := [place for place in places if place not in used]):
        annotated.notes.append(f"{len(stray):,} annotations are in no list of a part and are left out: ")
        annotated.notes[-1] += listed(stray, 4)
    return parts


def _by_folder(places: Sequence[str], annotated: Annotated) -> dict[str, list[str]]:
    parts = {part: its for part in PARTS if (its := [place for place in places if part_above(place) == part])}
    if parts and (stray := [place for place in places if not part_above(place)]):
        annotated.notes.append(f"{len(stray):,} annotations lie beside the parts and are left out: {listed(stray, 4)}")
    return parts or {"train": list(places)}


def _picture(place: str, files: Files) -> Picture:
    """Return the image of a file of annotations, and its boxes.

    :raises DataError: it is damaged, or its image is not there.
    """
    root = parsed(files.root / place)
    image = _image(place, root.findtext("filename") or "", files)
    size = tuple(int(_number(root.findtext(f"size/{side}")) or 0) for side in ("width", "height"))
    from_1 = (root.findtext("source/database") or "").strip().startswith(COUNTED_FROM_1)
    boxes = [_box(one, 1.0 if from_1 else 0.0) for one in root.findall("object")]
    return Picture(image, boxes, (size[0], size[1]) if all(size) else None)


def _image(place: str, said: str, files: Files) -> str:
    """Return the image of an annotation: of its name, beside it or in the folder for that; else the one it names."""
    path = PurePosixPath(place)
    for folder in (path.parent, *(path.parent.parent / name for name in PICTURES)):
        for name in files.named(path.stem):
            if not name.lower().endswith(XML) and (folder / name).as_posix() in files.places:
                return (folder / name).as_posix()
    return files.find(said, path.parent.as_posix(), part_above(place))


def _box(one: Element, first: float) -> Box:
    """Return the box of an object.

    :param first: number of the first pixel.
    """
    label, found = (one.findtext("name") or "").strip(), [_number(one.findtext(f"bndbox/{side}")) for side in CORNERS]
    if not label:
        return Box(problem="it has no name")
    x0, y0, x1, y1 = found
    if x0 is None or y0 is None or x1 is None or y1 is None:
        stated = listed(str(one.findtext(f"bndbox/{side}")) for side in CORNERS)
        return Box(problem=f"its bndbox must have {listed(CORNERS)}, numbers of pixels, and has {stated}")
    difficult = (one.findtext("difficult") or "").strip() not in ("", "0")
    return Box(label, (x0 - first, y0 - first, x1, y1), difficult)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if is_number(value) else None


def parsed(file: Path) -> Element:
    """Return the root of a file of annotations. No entity of it is made anything of.

    :raises DataError: it is too large, no XML, or another document.
    """
    if (size := file.stat().st_size) > MAX_BYTES:
        raise DataError(f"{size:,} bytes are more than {MAX_BYTES:,}")
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, _refuse
    try:
        parser.Parse(file.read_bytes(), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"no XML: {error}") from error
    root = builder.close()
    if root.tag != "annotation":
        raise DataError(f"no annotation, but {quoted(root.tag)}")
    return root


def _refuse(*declared: object) -> None:
    raise DataError("it declares a type of document, which an annotation has no use for")
