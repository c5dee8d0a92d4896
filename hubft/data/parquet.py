"""Parquet files: their rows, and the images inside them, read where they lie.

Imports pyarrow: imported itself only when such a table is read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hubft.base.display import quoted
from hubft.base.errors import DataError
from hubft.base.store import available_memory
from hubft.data import arrow, text
from hubft.data.sheet import Book, Sheet, part_of
from hubft.data.source import Folder

SHARE = 4  # of the available memory images may take one part in so many
GROUPS = 4  # row groups that are kept where all do not fit
PROBED = 16  # rows of which is seen whether a file's bytes are inside, or its path alone


def book(shown: str, root: Path, files: Sequence[Path], parts: bool = True) -> Book:
    """Return the tables of Parquet files that belong together.

    :param root: the folder below which they lie.
    :param parts: whether the names of files say which part of a split they are.
    :raises DataError: no Parquet, or files with different columns.
    """
    opened = {path.relative_to(root).as_posix(): _opened(path) for path in files}
    first, schema = next((name, file.schema_arrow) for name, file in opened.items())
    text.refuse_repeated(schema.names, first)
    for name, file in opened.items():
        _refuse_other(schema, file.schema_arrow, first, name)
    sheets = tuple(sheet(root, name, part_of(name) if parts else "") for name in opened)
    return Book(shown, root, sheets, lambda column: Packed(root, column), arrow.class_names(schema))


def sheet(root: Path, name: str, part: str = "", prefix: str = "") -> Sheet:
    """Return the table of one file.

    :raises DataError: it is no Parquet.
    """
    path = root / name
    with _opened(path) as file, _told(path):
        schema = file.schema_arrow
        names = arrow.class_names(schema)
        packed = frozenset(column for column in arrow.packed(schema) if _inside(file, column))

    def rows(columns: Sequence[str]) -> Iterator[Sequence[Any]]:
        # Of a struct of bytes and path only the path is read: the bytes may be more than the memory.
        wanted = [f"{name}.path" if arrow.is_struct(schema.field(name).type) else name for name in columns]
        with _opened(path) as file, _told(path):
            batches = file.iter_batches(arrow.BATCH, columns=wanted, use_threads=False)
            yield from arrow.cells(batches, columns, names)

    return Sheet(name, tuple(schema.names), rows, part, prefix, packed)


def _inside(file: pq.ParquetFile, column: str) -> bool:
    """Tell whether a column holds bytes, by its first rows: a struct may hold paths alone."""
    if not arrow.is_struct(file.schema_arrow.field(column).type):
        return True
    batch = next(file.iter_batches(PROBED, columns=[column], use_threads=False), None)
    values = [value for value in (batch.column(column).to_pylist() if batch else []) if value]
    return any(value["bytes"] for value in values) or not any(value.get("path") for value in values)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(_why(path, error)) from error


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path.name!r} cannot be read: {error.strerror}"
    found = text.what(path)
    if found and found != "Parquet":
        return f"{path.name!r} is {found}, not PARQUET: name a Parquet file"
    cut = "begins as Parquet and is cut or damaged: fetch it again" if found else "is no Parquet: name a Parquet file"
    return f"{path.name!r} {cut}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Have what Arrow finds wrong in the middle of a file told in one line."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(_why(path, error)) from error


def _refuse_other(schema: pa.Schema, other: pa.Schema, first: str, name: str) -> None:
    """Refuse a file that has not the columns of the first, or not in their types."""
    for column in dict.fromkeys((*schema.names, *other.names)):
        types = [str(one.field(column).type) if column in one.names else "missing" for one in (schema, other)]
        if len({kind.replace("large_", "") for kind in types}) > 1:
            raise DataError(
                f"{first!r} and {name!r} do not belong together: column {quoted(column)} is {types[0]} in the first "
                f"and {types[1]} in the second"
            )


class Packed:
    """The images inside a column of Parquet files, at places such as `train.parquet#17`, rows counted from 0.

    All of a file's images are kept, still encoded, where those of all files that were opened fit into a quarter of
    the memory that is available; else a few row groups. Processes that are forked from this one share what it keeps;
    one that this is sent to keeps row groups only, for there may be many of them.
    """

    def __init__(self, root: Path, column: str, keeps: bool = True) -> None:
        self.root, self.column, self.keeps = root, column, keeps
        self._lock = threading.Lock()
        self._room: int | None = None
        self._files: dict[str, _File] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self.root, self.column, False)

    def open(self, place: str) -> Path | BytesIO:
        """Return the bytes of an image; its file, where the table holds a path only.

        :raises DataError: there is none.
        """
        name, _, row = place.rpartition("#")
        if not row.isdecimal():
            raise DataError(f"{quoted(place)} is no row of a table")
        with self._lock:
            if name not in self._files:
                self._files[name] = self._opened(name)
            value = self._files[name].value(int(row))
        return taken(value, self.root)

    def _opened(self, name: str) -> _File:
        if self._room is None:
            self._room = available_memory() // SHARE if self.keeps else 0
        file = _File(self.root / name, self.column)
        file.keep = file.size <= self._room
        self._room -= file.size if file.keep else 0
        return file


def taken(value: Any, root: Path) -> Path | BytesIO:
    """Return what a cell says of a file: its bytes, else its path below a folder.

    :raises DataError: it says nothing.
    """
    path = None
    if isinstance(value, dict):
        value, path = value.get("bytes"), value.get("path")
    if value:
        return BytesIO(value)
    if path:
        return Folder(root).open(path)
    raise DataError("no image in this row")


class _File:
    """The images of one file."""

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        self.file = _opened(path)
        groups = [self.file.metadata.row_group(i) for i in range(self.file.metadata.num_row_groups)]
        self.starts = [0]
        for group in groups:
            self.starts.append(self.starts[-1] + group.num_rows)
        self.sizes = [self._bytes(group) for group in groups]
        self.size = sum(self.sizes)
        self.keep = False
        self.kept: OrderedDict[int, Any] = OrderedDict()

    def _bytes(self, group: Any) -> int:
        chunks = (group.column(i) for i in range(group.num_columns))
        return sum(c.total_uncompressed_size for c in chunks if f"{c.path_in_schema}.".startswith(f"{self.column}."))

    def value(self, row: int) -> Any:
        """Return what stands in the column in this row."""
        group = next((i for i, end in enumerate(self.starts[1:]) if row < end), None)
        if group is None:
            raise DataError(f"{self.path.name!r} has no row {row:,}")
        if group in self.kept:
            self.kept.move_to_end(group)
        else:
            self._read(group)
        return self.kept[group][row - self.starts[group]].as_py()

    def _read(self, group: int) -> None:
        room, size = available_memory(), self.sizes[group]
        if room and size > room:
            raise DataError(
                f"{self.path.name!r} has a row group of {size / 1e9:.1f} GB, more than the memory that is available: "
                "write it again with fewer rows in a group, as with row_group_size=100"
            )
        held = size + sum(self.sizes[one] for one in self.kept)
        while self.kept and not self.keep and (len(self.kept) >= GROUPS or held > room // SHARE):
            held -= self.sizes[self.kept.popitem(last=False)[0]]
        with _told(self.path):
            self.kept[group] = self.file.read_row_group(group, [self.column], use_threads=False).column(0)
