"""Tables: CSV, TSV, JSON Lines and Parquet files, shards of samples, folders of them, and data sets of the library
`datasets`.

In: what the user gave as data, and which columns hold what. Out: the rows. Without torch; pyarrow and datasets are
imported when such a table is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubft.base import files, urls
from hubft.base.bars import Counting, nobody
from hubft.base.display import listed
from hubft.base.errors import DataError, Option
from hubft.data import assemble, columns, conll, folders, patterns, shards, text
from hubft.data.rows import Rows
from hubft.data.sheet import Book, Sheet, part_of
from hubft.job import Labels

HUB = "datasets:"
EXTRA = "hubft[datasets]"


def is_table(data: str | Path) -> bool:
    """Tell whether data is a table, or a folder of tables; else it is a folder of class folders, or nothing at all.

    :raises DataError: a folder with two tables for the same images.
    """
    path = Path(data)
    if elsewhere(data) or (path.suffix.lower() in folders.SUFFIXES and not _is_folder(path)):
        return True
    if not _is_folder(path):
        return urls.there(path)  # a file of another kind: `read` says which it knows
    return not files.ours(path) and bool(folders.look(path))


def elsewhere(data: str | Path) -> bool:
    """Tell whether data is a table that no path of this machine names: of the Hub, of a server, by a pattern."""
    return str(data).startswith(HUB) or patterns.named(data)


def is_table_file(path: Path) -> bool:
    """Tell whether a file is called as a table."""
    return path.suffix.lower() in folders.SUFFIXES


def read(
    data: str | Path,
    labels: Labels,
    soft: Sequence[str] = (),
    labelled: bool = True,
    kinds: Sequence[str] = (Rows.kind,),
    counting: Counting = nobody,
) -> Rows:
    """Return the rows of a table.

    :param data: a file; a folder of Parquet files or of shards, or with `metadata.csv`, `.jsonl` or `.parquet` among
        its images, or that `datasets` saved; `datasets:owner/name[@revision]`; shards by a pattern or a URL.
    :param soft: options that count only where the table has such a column.
    :param labelled: without, no column of labels is looked for.
    :param kinds: of the inputs that are looked for: images where a column holds such, else another.
    :raises DataError: nothing of that kind, a table that is damaged, columns or splits that cannot be told.
    """
    path = Path(data)
    if not elsewhere(data) and (problem := urls.answer(data)):
        raise DataError(problem)
    images = Path(labels.images) if labels.images else None
    if images and Rows.kind not in kinds:
        raise DataError(Option("images"), f" {str(images)!r}: a column of {kinds[0]} holds no paths; leave it out")
    if images and not _is_folder(images):
        raise DataError(f"{str(images)!r}, where ", Option("images"), " says that paths begin, is no folder")
    if str(data).startswith(HUB):
        book = _datasets(str(data))
    elif patterns.named(data):
        book = shards.read(str(data), counting)
    elif _is_folder(path):
        book = _folder(path, counting)
    else:
        book = _file(path, counting)
    if images:
        book = replace(book, sheets=tuple(replace(sheet, prefix="") for sheet in book.sheets))
    with counting(f"rows of {path.name}", None):
        book = replace(book, kind=columns.inputs(book, labels, images or book.root, kinds))
        known = book.sheets[0].columns if book.sheets else ()
        gone: dict[str, Any] = {role: "" for role in soft if getattr(labels, role) not in known}
        labels = replace(labels, **gone)
        return assemble.rows(book, labels, images or book.root, labelled)


def _is_folder(path: Path) -> bool:
    return urls.there(path) and path.is_dir()


def _file(path: Path, counting: Counting) -> Book:
    if not urls.there(path):
        raise DataError(f"{str(path)!r} does not exist")
    if path.suffix.lower() not in folders.SUFFIXES:
        raise DataError(f"{path.name!r} is no table by its name: known are {listed(folders.SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{str(path)!r} is not a regular file")
    if path.suffix.lower() == folders.PARQUET:
        return _parquet(path.name, path.parent, [path], parts=False)
    if path.suffix.lower() == patterns.SUFFIX:
        return shards.files_of(path.name, path.parent, [path], parts=False, counting=counting)
    return Book(path.name, path.parent, (_sheet(path, path.name),))


def _folder(folder: Path, counting: Counting) -> Book:
    found = folders.look(folder)
    if found.saved:
        return _datasets(str(folder))
    if found.metadata:
        sheets = tuple(_among(path, folder) for path in found.metadata)
        return Book(str(folder), folder, sheets, files=True)
    if found.shards:
        return shards.files_of(str(folder), folder, found.shards, parts=True, counting=counting)
    if not found.parquet:
        raise DataError(f"{str(folder)!r} holds no table: known are {listed(folders.SUFFIXES)}")
    names = {path: part_of(path.relative_to(folder).as_posix()) for path in found.parquet}
    used = [path for path in names if names[path]] or list(names)
    book = _parquet(str(folder), folder, used, parts=True)
    aside = [path.relative_to(folder).as_posix() for path in names if path not in used]
    notes = (f"not used, no part of a split by their names: {listed(aside)}",) if aside else ()
    return replace(book, notes=notes)


def _among(path: Path, folder: Path) -> Sheet:
    """Return the table among the images of a folder, or of one part."""
    name = path.relative_to(folder).as_posix()
    above = path.parent.relative_to(folder).as_posix()
    prefix = "" if above == "." else f"{above}/"
    return replace(_sheet(path, name), part=part_of(prefix), prefix=prefix)


def _sheet(path: Path, name: str) -> Sheet:
    if path.suffix.lower() == folders.PARQUET:
        return _parquet(name, path.parents[name.count("/")], [path], parts=False).sheets[0]
    if path.suffix.lower() == conll.SUFFIX:
        return conll.sheet(path, name)
    return (text.delimited if path.suffix.lower() in text.DELIMITERS else text.json_lines)(path, name)


def _parquet(shown: str, root: Path, shards: Sequence[Path], parts: bool) -> Book:
    from hubft.data import parquet  # not at the top: pyarrow takes a while to import

    return parquet.book(shown, root, shards, parts)


def _datasets(data: str) -> Book:
    try:
        from hubft.data import huggingface  # not at the top: datasets is an extra
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise DataError(f"{data!r} needs the library datasets: pip install '{EXTRA}'") from error
    return huggingface.hub(data.removeprefix(HUB)) if data.startswith(HUB) else huggingface.saved(Path(data))
