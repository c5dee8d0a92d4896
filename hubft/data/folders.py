"""Which tables lie in a folder: shards of Parquet or of samples, a table among the images that it describes, a saved
data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.data import conll, patterns, text
from hubft.data.sheet import kind

TEXT = (*text.DELIMITERS, *text.LINES, ".json")
PARQUET = ".parquet"
SUFFIXES = (*TEXT, PARQUET, conll.SUFFIX, patterns.SUFFIX)
"""Of the files that are tables."""
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
NAMED = "file_name"
"""Column of a table that lies among the images that it describes; that of `imagefolder` of the Hugging Face Hub."""
BETWEEN = "data"
SAVED = ("dataset_dict.json", "state.json")  # of several splits, of one


@dataclass(frozen=True)
class Found:
    """The tables of a folder."""

    saved: bool = False
    """Whether the library `datasets` saved it."""
    metadata: tuple[Path, ...] = ()
    parquet: tuple[Path, ...] = ()
    shards: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.saved or self.metadata or self.parquet or self.shards)


def look(folder: Path) -> Found:
    """Return the tables in a folder, in its folder `data`, and in folders that are called as parts of a split there.

    Of several kinds the first counts: a set that was saved, a table among images, Parquet, tar files. The latter are no
    samples beside a folder that is no part of a split, as of a class.

    :raises DataError: two tables for the same images.
    """
    if any((folder / name).is_file() for name in SAVED):
        return Found(saved=True)
    places = list(_places(folder))
    metadata = [path for place in places if (path := _metadata(place))]
    if any(path.parent in other.parent.parents for path in metadata for other in metadata):
        names = listed(path.relative_to(folder).as_posix() for path in metadata)
        raise DataError(f"{str(folder)!r} has tables for the same images, {names}: keep one of them")
    if metadata:
        return Found(metadata=tuple(metadata))
    if parquet := _of(PARQUET, places):
        return Found(parquet=parquet)
    alone = not any(path.is_dir() and path not in places for place in places for path in _seen(place))
    return Found(shards=_of(patterns.SUFFIX, places) if alone else ())


def _of(suffix: str, places: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(path for place in places for path in _seen(place) if path.suffix.lower() == suffix and path.is_file())


def _seen(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if not path.name.startswith((".", "_")))


def _places(folder: Path) -> Iterator[Path]:
    yield folder
    for place in (folder, folder / BETWEEN):
        if place != folder and place.is_dir():
            yield place
        if place.is_dir():
            yield from sorted(path for path in place.iterdir() if kind(path.name) and path.is_dir())


def _metadata(place: Path) -> Path | None:
    """Return the table among the images of a folder, if it has one: it must name their files."""
    found = [place / name for name in METADATA if (place / name).is_file() and _names_files(place / name)]
    if len(found) > 1:
        raise DataError(f"{str(place)!r} has tables for the same images, {listed(p.name for p in found)}: keep one")
    return found[0] if found else None


def _names_files(path: Path) -> bool:
    """Tell whether a table has the column that names files, by its beginning."""
    if path.suffix == PARQUET:
        return True
    with path.open("rb") as file:
        line = file.readline(1 << 20).decode("utf-8-sig", "replace")
    if path.suffix in text.LINES:
        try:
            first = json.loads(line)
        except ValueError:
            return False
        return isinstance(first, dict) and NAMED in first
    return NAMED in (cell.strip().strip('"') for cell in line.replace(";", ",").replace("\t", ",").split(","))
