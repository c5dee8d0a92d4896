"""Tables that are text: CSV, TSV and JSON Lines, read line by line by the standard library.

It refuses what others let pass: a quote that never ends would make the rest of a file one cell. And it guesses no
types: `NA` and `null` are texts, as is a date.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.data.formats import recognised
from hubft.data.sheet import IMAGES, Sheet

HEAD = 1000  # rows whose keys are the columns of a table of JSON
DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
"""What may stand between cells: the first of these that the header holds."""
LINES = (".jsonl", ".ndjson")
STARTS = {
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PAR1": "Parquet",
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a ZIP archive, as Excel writes them",
    b"ARROW1": "Arrow IPC",
}


def what(path: Path) -> str:
    """Return what a file is by its bytes, where it is known and no plain text; else nothing."""
    with path.open("rb") as file:
        start = file.read(4096)
    for sign, name in STARTS.items():
        if start.startswith(sign):
            return name
    if b"\0" in start or not _decodes(start):
        if recognised(path):
            return "an image"
        return "text in UTF-16" if start[1:8:2] == b"\0" * 4 or start[:8:2] == b"\0" * 4 else ""
    return ""


def _decodes(start: bytes) -> bool:
    """Tell whether bytes are the beginning of a text in UTF-8; its last character may be cut."""
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.start >= max(1, len(start) - 3)
    return True


def refuse_foreign(path: Path, name: str, wanted: str) -> None:
    """Refuse a file that is not what its suffix says.

    :raises DataError: says what it is.
    """
    if found := what(path):
        cure = "save it as UTF-8" if "UTF-16" in found else f"name {wanted}"
        raise DataError(f"{name!r} is {found}, not {path.suffix.lower().lstrip('.').upper()}: {cure}")


@contextmanager
def opened(path: Path, name: str) -> Iterator[IO[str]]:
    """Give a file as text, in UTF-8 with a mark at its beginning or without.

    :raises DataError: it has bytes that are no UTF-8; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        with path.open("rb") as raw:
            line = next((i for i, text in enumerate(raw, 1) if not _whole(text)), 1)
        raise DataError(f"{name!r} is not UTF-8 in line {line:,}: save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{name!r} cannot be read: {error.strerror or error}") from error


def _whole(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


# ---- cells between delimiters --------------------------------------------------------------------------


def delimited(path: Path, name: str, part: str = "", prefix: str = "") -> Sheet:
    """Return a table of cells with a delimiter between them, of which the first line names the columns.

    :raises DataError: no header, or names that repeat.
    """
    refuse_foreign(path, name, "a CSV file")
    with opened(path, name) as file:
        line = file.readline()
        between = next((sign for sign in DELIMITERS[path.suffix.lower()] if sign in line), ",")
        file.seek(0)
        header = next(_records(file, name, between), [])
    if not any(text.strip() for text in header):
        raise DataError(f"{name!r} has no columns: its first line must name them")
    if paths := [text for text in header if text.lower().endswith(IMAGES)]:
        raise DataError(
            f"{name!r}: the first line must name the columns, and holds {quoted(paths[0])}: add such a line"
        )
    refuse_repeated(header, name)

    def rows(columns: Sequence[str]) -> Iterator[Sequence[str]]:
        places = [header.index(column) for column in columns]
        with opened(path, name) as file:
            records = _records(file, name, between)
            next(records)
            for number, record in enumerate(records, 1):
                if len(record) != len(header):
                    raise DataError(
                        f"{name!r}: row {number:,} has {len(record)} cells, and the first line names {len(header)} "
                        f"columns; put a cell with {'a tab' if between == chr(9) else quoted(between)} in it in quotes"
                    )
                yield [record[place] for place in places]

    return Sheet(name, tuple(header), rows, part, prefix)


def _records(file: IO[str], name: str, between: str) -> Iterator[list[str]]:
    """Yield the cells of each line that is not empty."""
    reader = csv.reader(file, delimiter=between, strict=True)
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            begun = "a quote in it, or before it, does not end" if "end of data" in str(error) else str(error)
            raise DataError(f"{name!r} is no table at line {reader.line_num:,}: {begun}") from error
        if record:
            yield record


def refuse_repeated(columns: Sequence[str], name: str) -> None:
    """Refuse two columns of one name.

    :raises DataError: names them.
    """
    named = [column for column in columns if column.strip()]
    if twice := sorted({column for column in named if named.count(column) > 1}):
        raise DataError(f"{name!r} has more than one column {listed(twice)}: give each a name of its own")


# ---- JSON ----------------------------------------------------------------------------------------------


def json_lines(path: Path, name: str, part: str = "", prefix: str = "") -> Sheet:
    """Return a table of JSON objects, one a line; of a `.json` also one array of them.

    :raises DataError: lines that are no objects.
    """
    refuse_foreign(path, name, "a file of JSON Lines")
    columns: dict[str, None] = {}
    for record in islice(_objects(path, name), HEAD):
        columns |= dict.fromkeys(record)

    def rows(wanted: Sequence[str]) -> Iterator[Sequence[Any]]:
        for record in _objects(path, name):
            yield [record.get(column) for column in wanted]

    return Sheet(name, tuple(columns), rows, part, prefix)


def _objects(path: Path, name: str) -> Iterator[Mapping[str, Any]]:
    with opened(path, name) as file:
        start = next((line.lstrip() for line in file if line.strip()), "")
        file.seek(0)
        if start.startswith("["):
            yield from _array(file, path, name)
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _object(line, f"{name!r}: line {number:,}")


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON object, which a line must be: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{where} is no JSON object, which a line must be, but {quoted(line.strip())}")
    return found


def _array(file: IO[str], path: Path, name: str) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() in LINES:
        raise DataError(f"{name!r} is one JSON array, not a JSON object a line: name it {path.stem}.json")
    try:
        found = json.load(file)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise DataError(f"{name!r} is no JSON: {error}") from error
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise DataError(f"{name!r}: row {number:,} of its array is no JSON object")
        yield record
