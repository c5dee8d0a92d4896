"""How a folder of images is laid out: its classes, and the parts of a split. Nothing is read but the heads of files.

`DATA/CLASS/*` is one folder of classes. `DATA/train/CLASS/*` with `val` or `test` beside it, under any of their usual
names, is a split; a folder `images` may lie in between, at either place. A folder of such a name is a part when it
holds folders, and a class when it holds images beside the folders of other classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hubft.base import files, urls
from hubft.base.display import listed, look_alike, quoted, unprintable
from hubft.base.errors import DataError
from hubft.data import listing
from hubft.data.formats import recognised
from hubft.data.listing import shown

NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}
"""What the folder of a part is called, in any case."""
BETWEEN = "images"
ANNOTATIONS = ("labels", "annotations")  # what may lie beside `images` and holds none
KNOWN = "DATA holds train/CLASS/* with val/CLASS/* or test/CLASS/*, or CLASS/*"


@dataclass(frozen=True)
class Part:
    """A folder whose folders are classes."""

    root: Path
    classes: tuple[Path, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, sorted."""
        return tuple(path.name for path in self.classes)


@dataclass(frozen=True)
class Layout:
    """The parts of a folder of images."""

    folder: Path
    whole: Part
    """All folders that were found, where there are no parts."""
    parts: dict[str, Part] = field(default_factory=dict)
    """By `train`, `val` and `test`, those that are there; empty where one folder of classes is to be split."""
    passed: dict[Path, str] = field(default_factory=dict)
    """Folder -> why it is not used."""

    @property
    def train(self) -> Part:
        """What is trained on, or split for that."""
        return self.parts.get("train", self.whole)

    def notes(self) -> Iterator[str]:
        """Yield what a user should know of how the folder was taken, but for what was passed."""
        roots = {kind: shown(part.root, self.folder) for kind, part in self.parts.items()}
        if any(kind != root for kind, root in roots.items()):
            yield "the parts are " + ", ".join(f"{root!r} for {kind}" for kind, root in roots.items())
        if not self.parts and (classes := [name for name in self.whole.names if _kind(name)]):
            yield f"taken for a class, as it holds images and lies beside other classes: {listed(classes)}"
        for part in (*self.parts.values(), self.whole):
            if stray := [path for path in listing.inside(part.root).files if recognised(path)]:
                names = listed(shown(path, self.folder) for path in stray)
                yield f"{len(stray)} images lie beside the class folders and belong to none: {names}"

    def found(self) -> str:
        """Return the names of the folders that were found, for a refusal."""
        return f"it holds {listed(self.whole.names)}" if self.whole.classes else "it holds no folders that count"


def to_train(folder: Path) -> Layout:
    """Return the layout of a folder to train on.

    :raises DataError: no folder, or one in which what is to be trained on and measured cannot be told.
    """
    layout = look(folder)
    train, val, test = layout.train, layout.parts.get("val"), layout.parts.get("test")
    if layout.parts and "train" not in layout.parts:
        part = next(iter(layout.parts.values()))
        raise DataError(
            f"{str(folder)!r} has the part {part.root.name!r} of a split and no train/; {layout.found()}; add train/, "
            "or rename it if it is a class"
        )
    if test and not {*test.names} & {*train.names}:
        layout, test = _without_test(layout, test), None
    broken = [path.name for path in layout.passed if _kind(path.name) == "val" and path.parent == layout.whole.root]
    if layout.parts and broken and not val:
        raise DataError(
            f"{str(layout.whole.root / broken[0])!r}: no usable image to validate on, for it has no class folders; "
            "remove it, and a part of train/ is held out"
        )
    if layout.parts and not val and not test:
        raise DataError(
            f"{str(folder)!r} has train/ but no val/ or test/ with the same class folders; {layout.found()}; add one, "
            f"or give {str(train.root)!r} to split it"
        )
    if len(train.classes) < 2:
        raise DataError(_too_few(train))
    for part in filter(None, (val, test)):
        if strangers := sorted({*part.names} - {*train.names}):
            _refuse_twins(folder, (*train.names, *part.names))
            raise DataError(f"{str(part.root)!r} has classes that {train.root.name}/ lacks: {listed(strangers)}")
    return layout


def to_measure(folder: Path) -> tuple[Part, Layout]:
    """Return what a package is measured on: validation, else test, else the one folder of classes.

    :raises DataError: no folder, or one that has no classes, or nothing but a part to train on.
    """
    layout = look(folder)
    part = layout.parts.get("val") or layout.parts.get("test")
    if layout.parts and part is None:
        raise DataError(
            f"{str(folder)!r} has train/ and nothing to measure on; {layout.found()}; to measure on what was trained "
            f"on, give {str(layout.train.root)!r}"
        )
    if not (part or layout.whole).classes:
        raise DataError(f"{str(folder)!r} has no class folders; {KNOWN}")
    return part or layout.whole, layout


def look(folder: Path) -> Layout:
    """Return the layout of a folder.

    :raises DataError: no folder, one that hubft wrote, two folders for one part, names that look the same.
    """
    if problem := urls.answer(folder):
        raise DataError(problem)
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is no folder; {KNOWN}")
    if files.ours(folder):
        raise DataError(f"{str(folder)!r} was written by hubft and is no folder of images; {KNOWN}")
    top, passed = _part(folder)
    beside = [path for path in top.classes if _kind(path.name) is None]
    split = {path: _kind(path.name) for path in top.classes if _is_part(path, beside)}
    parts: dict[str, Part] = {}
    for kind in NAMES:
        found = [path for path in split if split[path] == kind]
        if len(found) > 1:
            names = listed(path.name for path in found)
            raise DataError(f"{str(top.root)!r} has two folders for one part, {names}: keep one of them")
        for path in found:
            parts[kind], more = _part(path)
            passed |= more
    layout = Layout(folder, top, parts, passed)
    if parts:
        unused = {path: _why_unused(path, parts) for path in top.classes if path not in split}
        layout = replace(layout, passed=passed | unused)
    elif top.classes and not beside:
        raise DataError(
            f"the folders of {str(top.root)!r}, {listed(top.names)}, are called as parts of a split, and hold no class "
            f"folders; {KNOWN}"
        )
    for part in (*parts.values(), *([] if parts else [top])):
        _check_names(part)
    return layout


def _part(folder: Path) -> tuple[Part, dict[Path, str]]:
    """Return the classes of a folder, through a folder `images` if that is where they are, and what does not count."""
    found = listing.inside(folder)
    between = [path for path in found.folders if path.name.lower() == BETWEEN]
    others = [path for path in found.folders if path not in between]
    if len(between) == 1 and all(path.name.lower() in ANNOTATIONS for path in others):
        inner = listing.inside(between[0])
        if inner.folders:
            aside = dict.fromkeys(others, f"beside {BETWEEN}/")
            return Part(between[0], tuple(inner.folders)), found.passed | inner.passed | aside
    return Part(folder, tuple(found.folders)), found.passed


def _kind(name: str) -> str | None:
    """Return which part a folder of this name is, or None."""
    return next((part for part, names in NAMES.items() if name.lower() in names), None)


def _is_part(path: Path, beside: Sequence[Path]) -> bool:
    """Tell whether a folder is a part of a split, by its name and by what it holds.

    :param beside: the folders next to it that are none by their names.
    """
    if _kind(path.name) is None:
        return False
    part, _ = _part(path)
    if not part.classes or (part.root == path and [name.lower() for name in part.names] == [BETWEEN]):
        return False
    return not (beside and any(map(recognised, listing.inside(path).files)))


def _why_unused(path: Path, parts: Iterable[str]) -> str:
    kind = _kind(path.name)
    return "no class folders in it" if kind and kind not in parts else "beside the parts of the split"


def _too_few(part: Part) -> str:
    known = f"only the class {part.names[0]!r}" if part.classes else "no class folders"
    hint = ""
    if part.classes and len(below := listing.inside(part.classes[0]).folders) > 1:
        hint = (
            f"; {str(part.classes[0])!r} holds {listed(path.name for path in below)}: perhaps that is the one to give"
        )
    return f"{str(part.root)!r} has {known}; two or more folders of images, one a class, are needed{hint}"


def _without_test(layout: Layout, test: Part) -> Layout:
    parts = {kind: part for kind, part in layout.parts.items() if part is not test}
    return replace(layout, parts=parts, passed=layout.passed | {test.root: "none of its folders is a class of train/"})


def _check_names(part: Part) -> None:
    for name in part.names:
        if name != name.encode("utf-8", "replace").decode():
            raise DataError(f"the name of the class folder {name!r} is not UTF-8: rename it")
        if problem := unprintable(name):
            raise DataError(f"the name of the class folder {quoted(name)} {problem}: rename it")
    _refuse_twins(part.root, part.names)


def _refuse_twins(folder: Path, names: Iterable[str]) -> None:
    if twins := look_alike(names):
        raise DataError(f"two class folders of {str(folder)!r}, {twins}: give them one name")
