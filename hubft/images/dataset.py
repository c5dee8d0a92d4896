"""A folder of images: found, proved readable, split, fingerprinted. Nothing is replaced or dropped in silence.

Without torch, so that what is wrong with data is told before seconds go into importing it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy

from hubft.base.display import listed, look_alike
from hubft.base.errors import DataError
from hubft.base.keys import key
from hubft.data import layout, listing
from hubft.data.layout import Part
from hubft.data.listing import shown
from hubft.images.decode import decode, peak, white_of
from hubft.inputs import Preprocess

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
    pixels: str = ""
    """Size and checksums of the decoded pixels: equal pictures have equal ones, however they were stored."""
    plain: bool = False
    """Whether it is of one colour."""
    peak: int = 0
    """Largest value, where it is 16-bit grey."""

    @property
    def picture(self) -> str:
        """What is equal for equal pictures."""
        return self.pixels or self.sha256


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
    test: tuple[Sample, ...] = ()
    """Of the folder's own test part, if it has one: for one look, when all is done."""

    @property
    def white(self) -> int:
        """Value of 16-bit grey that is white, by the training images; 0 where none is of 16-bit grey."""
        highest = max(sample.peak for sample in self.train)
        return white_of(highest) if highest else 0

    def fingerprint(self) -> dict[str, dict[str, str | int]]:
        """Return the number of samples and one sha256 over the labels and file digests of each part that is there."""
        parts = {"train": self.train, "val": self.val} | ({"test": self.test} if self.test else {})
        return {name: _fingerprint(samples, self.classes) for name, samples in parts.items()}

    def facts(self) -> dict[str, Any]:
        """Return what the images are known by when a run goes on: classes and fingerprint, JSON types."""
        return {"classes": list(self.classes), **self.fingerprint()}


def read(folder: Path, holdout: float, seed: int) -> Images:
    """Return the images of a folder, split into training and validation, and its test part if it has one.

    Which folders are classes, and which parts of a split, `layout` tells. Where there is no validation part,
    training images are held out by `split`. Every file is read and decoded once: what cannot be decoded, or is no
    image, is quarantined.

    :raises DataError: no such folder, fewer than two classes, names that look the same, a class without images,
        classes that training lacks, more than a tenth of the files unusable.
    """
    found = layout.to_train(folder)
    classes = found.train.names
    quarantined: dict[str, str] = {}
    passed = dict(found.passed)
    scanned = {
        name: _scan(folder, part, classes, quarantined, passed)
        for name, part in (found.parts or {"train": found.whole}).items()
    }
    train, test, notes = scanned["train"], scanned.get("test", []), [*found.notes()]
    if "val" in scanned:
        val = scanned["val"]
    else:
        train, val = split(train, len(classes), holdout, seed)
    if test:
        kept = "" if "val" in scanned else f"{len(val)} images of {found.train.root.name}/ are held out to validate; "
        notes += [f"{kept}{found.parts['test'].root.name}/ is measured once, at the end"]
    _require_classes(found.train.root, classes, train, val)
    notes += [*listing.told(passed, folder), *_notes({"training": train, "validation": val, "test": test}, classes)]
    return Images(folder, classes, tuple(train), tuple(val), quarantined, tuple(notes), tuple(test))


def labelled(folder: Path, classes: tuple[str, ...]) -> tuple[list[Sample], dict[str, str]]:
    """Return (samples, what was left out and why) of what `layout.to_measure` takes, labelled by known classes.

    Paths are relative to `folder`.

    :raises DataError: no such folder, a class that is not among `classes`, no usable image.
    """
    part, found = layout.to_measure(folder)
    if strangers := sorted(set(part.names) - set(classes)):
        if twins := look_alike([*classes, *strangers]):
            raise DataError(f"a class folder of {str(part.root)!r} and a known class, {twins}: rename the folder")
        raise DataError(f"{str(part.root)!r} has unknown classes {listed(strangers)}; known are {listed(classes)}")
    quarantined: dict[str, str] = {}
    passed = dict(found.passed)
    samples = _scan(folder, part, classes, quarantined, passed)
    if not samples:
        raise DataError(f"{str(part.root)!r}: no usable image in a folder of any of the classes {listed(classes)}")
    return samples, quarantined | {shown(path, folder): reason for path, reason in passed.items()}


def split(samples: Iterable[Sample], classes: int, holdout: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return (training, validation): of each class the share `holdout`, at least one, is validation.

    Which ones depends on the seed and the files' content alone, not on names or listing order; equal pictures
    stay on one side.
    """
    samples = list(samples)
    named: dict[str, str] = {}  # picture -> the first of its files' sha256, by which it takes its turn
    for sample in samples:
        named[sample.picture] = min(sample.sha256, named.get(sample.picture, sample.sha256))
    held: set[str] = set()
    for label in range(classes):
        found = {s.picture for s in samples if s.label == label}
        order = sorted(found, key=lambda picture: (key("split", seed, named[picture]), named[picture]))
        held.update(order[: max(1, round(holdout * len(order)))])
    return [s for s in samples if s.picture not in held], [s for s in samples if s.picture in held]


def _scan(
    folder: Path, part: Part, classes: tuple[str, ...], quarantined: dict[str, str], passed: dict[Path, str]
) -> list[Sample]:
    labels = {name: label for label, name in reversed(tuple(enumerate(classes)))}  # of equal names the first counts
    files: list[tuple[Path, int]] = []
    for place in part.classes:
        below = listing.below(place, part.root)
        files += [(path, labels[place.name]) for path in below.files]
        passed |= below.passed
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        proofs = list(pool.map(lambda one: _prove(folder, *one), files))
    samples = [proof for proof in proofs if isinstance(proof, Sample)]
    bad = {shown(path, folder): why for (path, _), why in zip(files, proofs, strict=True) if isinstance(why, str)}
    if len(bad) > MAX_UNREADABLE * len(files):
        first = next(iter(bad))
        raise DataError(
            f"{len(bad):,} of {len(files):,} files in {str(part.root)!r} cannot be used, more than a tenth; mend them "
            f"or move them away; {first!r}: {bad[first]}"
        )
    quarantined |= bad
    return samples


def _prove(folder: Path, path: Path, label: int) -> Sample | str:
    """Return the sample, or why the file is none."""
    try:
        if not path.is_file():
            raise DataError("not a regular file")
        content = path.read_bytes()
        highest = peak(BytesIO(content))
        image = decode(BytesIO(content), white=white_of(highest) if highest else Preprocess.white)
    except (DataError, OSError) as error:
        return str(error)
    colours, (width, height) = image.tobytes(), image.size
    plain = colours[: 3 * width] == colours[:3] * width and colours == colours[:3] * (width * height)
    # No sha256, which takes a sixth of the time of decoding: nothing but notes and which side of a split depends on it.
    words = int(numpy.frombuffer(colours, numpy.uint64, len(colours) // 8).sum())
    pixels = f"{width} {height} {highest} {crc32(colours):08x} {words:016x}"
    sha256 = hashlib.sha256(content).hexdigest()
    return Sample(path.relative_to(folder).as_posix(), label, sha256, image.size, pixels, plain, highest)


def _require_classes(root: Path, classes: tuple[str, ...], train: list[Sample], val: list[Sample]) -> None:
    present = Counter(s.label for s in train)
    empty = [name for label, name in enumerate(classes) if not present[label]]
    held = ", for its only one is held out" if any(classes[s.label] in empty for s in val) else ""
    if empty:
        raise DataError(f"{str(root)!r}: no usable image to train on in class {listed(empty)}{held}")
    if not val:
        raise DataError(f"{str(root)!r}: no usable image to validate on")


def _notes(parts: Mapping[str, list[Sample]], classes: tuple[str, ...]) -> Iterable[str]:
    every = [sample for samples in parts.values() for sample in samples]
    labels: dict[str, set[int]] = {}
    for sample in every:
        labels.setdefault(sample.picture, set()).add(sample.label)
    torn = [picture for picture, found in labels.items() if len(found) > 1]
    for later, earlier in (("validation", "training"), ("test", "training"), ("test", "validation")):
        leaked = {s.picture for s in parts[later]} & {s.picture for s in parts[earlier]}
        if leaked:
            yield f"{len(leaked)} {later} images are also {earlier} images: accuracy will look better than it is"
    if torn:
        yield f"{len(torn)} images lie in two classes with equal pixels"
    for part in ("validation", "test"):
        seen = {s.label for s in parts[part]}
        unseen = [name for label, name in enumerate(classes) if label not in seen]
        if unseen and parts[part]:
            yield f"{part} has no image of class {listed(unseen)}"
    if plain := [sample.path for sample in every if sample.plain]:
        yield f"{len(plain)} images are of one colour: {listed(plain)}"


def _fingerprint(samples: Iterable[Sample], classes: tuple[str, ...]) -> dict[str, str | int]:
    lines = sorted(f"{sample.sha256} {classes[sample.label]!r}\n" for sample in samples)
    return {"samples": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}
