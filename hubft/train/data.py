"""A folder of images: found, proved readable, split, fingerprinted. Nothing is replaced or dropped in silence."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from hubft.errors import DataError
from hubft.train import draws
from hubft.train.decode import decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
MAX_UNREADABLE = 0.1  # share of the files; above it the folder is at fault, not a file


@dataclass(frozen=True)
class Sample:
    path: str
    """Below the data's folder, with forward slashes."""
    label: int
    sha256: str
    """Of the file's bytes."""
    size: tuple[int, int] = (0, 0)
    """Width and height, upright, pixels."""


@dataclass(frozen=True)
class Images:
    """Labelled images, ready to train on."""

    folder: Path
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    quarantined: dict[str, str]
    """Path -> reason, of every file that was left out."""
    notes: tuple[str, ...] = ()
    """What a user should know of the data, a line each."""

    def fingerprint(self) -> dict[str, dict[str, str | int]]:
        """Return the number of samples and one sha256 over the labels and file digests of each part."""
        return {"train": _fingerprint(self.train, self.classes), "val": _fingerprint(self.val, self.classes)}

    def facts(self) -> dict[str, Any]:
        """Return what the images are known by when a run goes on: classes and fingerprint, JSON types."""
        return {"classes": list(self.classes), **self.fingerprint()}


def read(folder: Path, holdout: float, seed: int) -> Images:
    """Return the images of a folder, split into training and validation.

    `folder/train/CLASS/*` and `folder/val/CLASS/*` are taken as they are; otherwise `folder/CLASS/*` is
    split by `split`. Every file is read and decoded once: what cannot be decoded is quarantined.

    :raises DataError: no such folder, fewer than two classes, a class without images, validation classes
        that training lacks, more than a tenth of the files unreadable.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is no folder; DATA holds train/CLASS/* and val/CLASS/*, or CLASS/*")
    parted = (folder / "train").is_dir()
    if parted and not (folder / "val").is_dir():
        raise DataError(
            f"{str(folder)!r} has train/ but no val/; add it, or give {str(folder / 'train')!r} to split it"
        )
    root = folder / "train" if parted else folder
    classes = _classes(root)
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no class folders"
        raise DataError(f"{str(root)!r} has {found}; two or more folders of images, one a class, are needed")
    quarantined: dict[str, str] = {}
    samples = _scan(folder, root, classes, quarantined)
    if parted:
        strangers = sorted(set(_classes(folder / "val")) - set(classes))
        if strangers:
            raise DataError(f"{str(folder / 'val')!r} has classes that train/ lacks: {', '.join(strangers)}")
        train, val = samples, _scan(folder, folder / "val", classes, quarantined)
    else:
        train, val = split(samples, len(classes), holdout, seed)
    _require_classes(root, classes, train, val)
    return Images(folder, classes, tuple(train), tuple(val), quarantined, tuple(_notes(train, val, classes)))


def labelled(folder: Path, classes: tuple[str, ...]) -> tuple[list[Sample], dict[str, str]]:
    """Return (samples, quarantined) of `folder/val/CLASS/*`, or `folder/CLASS/*`, labelled by known classes.

    Paths are relative to `folder`.

    :raises DataError: no such folder, a class that is not among `classes`, no usable image.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is no folder; DATA holds val/CLASS/* or CLASS/*")
    root = folder / "val" if (folder / "val").is_dir() else folder
    strangers = sorted(set(_classes(root)) - set(classes))
    if strangers:
        raise DataError(f"{str(root)!r} has unknown classes {', '.join(strangers)}; known are {', '.join(classes)}")
    quarantined: dict[str, str] = {}
    samples = _scan(folder, root, classes, quarantined)
    if not samples:
        raise DataError(f"{str(root)!r}: no usable image in a folder of any of the classes {', '.join(classes)}")
    return samples, quarantined


def split(samples: Iterable[Sample], classes: int, holdout: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return (training, validation): of each class the share `holdout`, at least one, is validation.

    Which ones depends on the seed and the files' content alone, not on names or listing order; files with
    equal bytes stay on one side.
    """
    samples = list(samples)
    held: set[str] = set()
    for label in range(classes):
        contents = {s.sha256 for s in samples if s.label == label}
        order = sorted(contents, key=lambda sha256: (draws.key("split", seed, sha256), sha256))
        held.update(order[: max(1, round(holdout * len(order)))])
    return [s for s in samples if s.sha256 not in held], [s for s in samples if s.sha256 in held]


def _classes(root: Path) -> tuple[str, ...]:
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    for name in names:
        if name != name.encode("utf-8", "replace").decode():
            raise DataError(f"the name of the class folder {name!r} is not UTF-8: rename it")
    return tuple(names)


def _shown(path: Path, folder: Path) -> str:
    """Return a path below `folder` as text that can be written, whatever bytes the file's name has."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def _scan(folder: Path, root: Path, classes: tuple[str, ...], quarantined: dict[str, str]) -> list[Sample]:
    labels = {name: label for label, name in reversed(tuple(enumerate(classes)))}  # of equal names the first counts
    # The folder's own names, not those of the classes: a stranger's may lead out of it.
    found = [(labels[name], path) for name in _classes(root) if name in labels for path in files(root / name)]
    images = [(label, path) for label, path in found if path.suffix.lower() in SUFFIXES]
    quarantined |= {
        _shown(path, folder): f"the suffix {path.suffix!r} is none of {' '.join(SUFFIXES)}"
        for _, path in found
        if path.suffix.lower() not in SUFFIXES
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        proofs = list(pool.map(_prove, [path for _, path in images]))
    samples, bad = [], {}
    for (label, path), (sha256, size, problem) in zip(images, proofs, strict=True):
        if problem:
            bad[_shown(path, folder)] = problem
        else:
            samples.append(Sample(path.relative_to(folder).as_posix(), label, sha256, size))
    if len(bad) > MAX_UNREADABLE * len(images):
        first = next(iter(bad))
        raise DataError(f"{len(bad)} of {len(images)} images in {str(root)!r} cannot be used; {first}: {bad[first]}")
    quarantined |= bad
    return samples


def files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted; nothing hidden, and links to folders as files, not followed."""
    if not folder.is_dir():
        return []
    found = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())  # a link to a folder is not followed
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _prove(path: Path) -> tuple[str, tuple[int, int], str]:
    """Return (sha256, width and height, why it cannot be used or nothing)."""
    try:
        if not path.is_file():
            raise DataError("not a regular file")
        content = path.read_bytes()
        size = decode(BytesIO(content)).size
    except (DataError, OSError) as error:
        return "", (0, 0), str(error)
    return hashlib.sha256(content).hexdigest(), size, ""


def _require_classes(root: Path, classes: tuple[str, ...], train: list[Sample], val: list[Sample]) -> None:
    present = Counter(s.label for s in train)
    empty = [name for label, name in enumerate(classes) if not present[label]]
    held = ", for its only one is held out" if any(classes[s.label] in empty for s in val) else ""
    if empty:
        raise DataError(f"{str(root)!r}: no usable image to train on in class {', '.join(map(repr, empty))}{held}")
    if not val:
        raise DataError(f"{str(root)!r}: no usable image to validate on")


def _notes(train: list[Sample], val: list[Sample], classes: tuple[str, ...]) -> Iterable[str]:
    labels: dict[str, set[int]] = {}
    for sample in (*train, *val):
        labels.setdefault(sample.sha256, set()).add(sample.label)
    leaked = {s.sha256 for s in train} & {s.sha256 for s in val}
    torn = [sha256 for sha256, found in labels.items() if len(found) > 1]
    unseen = [name for label, name in enumerate(classes) if label not in {s.label for s in val}]
    if leaked:
        yield f"{len(leaked)} validation images are also training images: accuracy will look better than it is"
    if torn:
        yield f"{len(torn)} images lie in two classes with equal bytes"
    if unseen:
        yield f"validation has no image of class {', '.join(map(repr, unseen))}"


def _fingerprint(samples: Iterable[Sample], classes: tuple[str, ...]) -> dict[str, str | int]:
    lines = sorted(f"{sample.sha256} {classes[sample.label]!r}\n" for sample in samples)
    return {"samples": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}
