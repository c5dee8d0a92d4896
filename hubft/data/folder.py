"""Rows of a folder of class folders: a row an image file, its class the name of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hubft.data import layout, listing
from hubft.data.layout import Layout, Part
from hubft.data.listing import shown
from hubft.data.rows import Folder, Row, Rows

COLUMN = "class"


def to_train(folder: Path) -> Rows:
    """Return the rows of a folder to train on; its classes are the folders of the training part.

    :raises DataError: see `layout.to_train`.
    """
    found = layout.to_train(folder)
    return _rows(found, found.parts or {"train": found.whole}, found.train.names)


def to_measure(folder: Path) -> Rows:
    """Return the rows of a folder on which a package is measured: one part, whichever it is.

    :raises DataError: see `layout.to_measure`.
    """
    part, found = layout.to_measure(folder)
    kind = next((kind for kind, one in found.parts.items() if one is part), "test")
    return _rows(found, {kind: part}, part.names)


def _rows(found: Layout, parts: Mapping[str, Part], classes: tuple[str, ...]) -> Rows:
    passed, deep = dict(found.passed), 0
    rows: dict[str, list[Row]] = {}
    for kind, part in parts.items():
        rows[kind] = []
        for place in part.classes:
            below = listing.below(place, part.root)
            passed |= below.passed
            deep += sum(path.parent != place for path in below.files)
            rows[kind] += [Row(path.relative_to(found.folder).as_posix(), (place.name,)) for path in below.files]
    notes = [*found.notes()]
    if deep:
        notes.append(f"{deep:,} files lie in folders below a class folder: they are of that class")
    return Rows(
        Folder(found.folder),
        (COLUMN,),
        {kind: tuple(its) for kind, its in rows.items()},
        passed={shown(path, found.folder): reason for path, reason in passed.items()},
        notes=tuple(notes),
        names={COLUMN: classes} if classes else {},
        titles={kind: str(part.root) for kind, part in parts.items()},
    )
