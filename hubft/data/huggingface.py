"""Data sets of the library `datasets`: those it saved in a folder, and those of the Hugging Face Hub.

Imports pyarrow and datasets: imported itself only when such a set is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError, reason
from hubft.data import arrow, parquet
from hubft.data.sheet import Book, Sheet, kind


def saved(folder: Path) -> Book:
    """Return the tables of a folder that `save_to_disk` wrote.

    :raises DataError: it is damaged.
    """
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever a file that is missing or cut leads to
        raise DataError(f"{str(folder)!r} was saved by datasets and cannot be loaded: {reason(error)}") from error
    return _book(str(folder), folder, found)


def hub(name: str) -> Book:
    """Return the tables of a data set of the Hub, as `owner/name` or `owner/name@revision`; it is fetched once.

    :raises DataError: there is none, or it cannot be fetched.
    """
    repository, _, revision = name.partition("@")
    try:
        found = datasets.load_dataset(repository, revision=revision or None)
    except Exception as error:  # of the network, of the Hub, of a file in it
        raise DataError(f"'datasets:{name}' cannot be loaded: {reason(error)}") from error
    return _book(f"datasets:{name}", Path.cwd(), found)


def _book(shown: str, root: Path, found: datasets.Dataset | datasets.DatasetDict) -> Book:
    splits = {"all": found} if isinstance(found, datasets.Dataset) else dict(found)
    parts = {name: kind(name) for name in splits}
    used = {name: splits[name] for name in splits if parts[name]} or splits
    for part in filter(None, parts.values()):
        if len(twins := [name for name in parts if parts[name] == part]) > 1:
            raise DataError(f"{shown!r} has two splits for one part, {listed(twins)}: keep one of them")
    aside = sorted(splits.keys() - used.keys())
    notes = (f"not used, splits that are no part of a run: {listed(aside)}",) if aside else ()
    if not used:
        raise DataError(f"{shown!r} has no splits")
    schema = next(iter(used.values())).features.arrow_schema
    sheets = tuple(_sheet(name, one, parts[name]) for name, one in used.items())
    return Book(shown, root, sheets, lambda column: Stored(used, column, root), arrow.class_names(schema), notes=notes)


def _sheet(name: str, one: datasets.Dataset, part: str) -> Sheet:
    schema = one.features.arrow_schema
    names = arrow.class_names(schema)

    def rows(columns: Sequence[str]) -> Iterator[Sequence[Any]]:
        chosen = one.select_columns(list(dict.fromkeys(columns))).with_format("arrow")
        yield from arrow.cells(chosen.iter(arrow.BATCH), columns, names)

    return Sheet(name, tuple(schema.names), rows, part, packed=arrow.packed(schema))


class Stored:
    """The images in a column of a data set, at places such as `train#17`, rows counted from 0.

    It is sent to another process as `datasets` sends itself: by the paths of the files that are mapped into memory.
    """

    def __init__(self, splits: Mapping[str, datasets.Dataset], column: str, root: Path) -> None:
        self.splits = {name: one.select_columns([column]).with_format("arrow") for name, one in splits.items()}
        self.column, self.root = column, root

    def open(self, place: str) -> Path | BytesIO:
        """Return the bytes of an image, or its file.

        :raises DataError: there is none.
        """
        name, _, row = place.rpartition("#")
        if name not in self.splits or not row.isdecimal() or int(row) >= len(self.splits[name]):
            raise DataError(f"{quoted(place)} is no row of the data set")
        values = self.splits[name][int(row)][self.column]
        value = values[0].as_py()
        if isinstance(value, dict) and not value.get("bytes") and value.get("path"):
            value = self._fetched(name, values)
        return parquet.taken(value, self.root)

    def _fetched(self, name: str, values: pa.ChunkedArray) -> Any:
        """Return the value with its bytes, which `datasets` reads from wherever its path leads: into an archive."""
        feature = self.splits[name].features[self.column]
        try:
            return feature.embed_storage(values.combine_chunks())[0].as_py()
        except Exception as error:  # a file that is gone, an archive that is cut
            raise DataError(f"the image of this row cannot be read: {reason(error)}") from error
