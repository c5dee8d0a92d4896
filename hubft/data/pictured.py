"""Images in a column of a table, as bytes or by their paths: which column they are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hubft.base.display import called, listed, quoted
from hubft.base.errors import DataError, Option
from hubft.data.formats import recognised
from hubft.data.sheet import IMAGES, Book
from hubft.data.source import Folder, below

NAMES = ("file_name", "filename", "fname", "image", "path", "filepath", "image_path")
PROBED = 32  # paths of a column that are tried


def column(book: Book, root: Path, prefix: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """Return the one column that holds images, or paths of such as are there."""
    packed = [name for name in columns if name in book.sheets[0].packed and book.source]
    found = packed + [name for name in columns if _leads(columns[name], root, prefix)]
    if len(found) > 1:
        found = called(found, NAMES) or found
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{book.path!r} has more than one column of images, {listed(found)}: say which with ", Option("input"),
            " COLUMN",
        )  # fmt: skip
    likely = [name for name in columns if any(text.lower().endswith(IMAGES) for text in _texts(columns[name]))]
    if likely:
        raise _not_there(book, likely[0], next(_texts(columns[likely[0]])), root)
    raise DataError(
        f"{book.path!r} has no column with paths of images that are there, or images: it has {listed(columns)}; say "
        "which it is with ", Option("input"), " COLUMN, and where paths begin with ", Option("images"), " FOLDER",
    )  # fmt: skip


def check(book: Book, name: str, values: Sequence[Any], root: Path, prefix: str) -> None:
    """Refuse a column that was given of which no path leads to a file; single ones are told when they are opened."""
    texts = list(_spread(_texts(values)))
    for text in texts:
        with suppress(DataError):
            Folder(root).open(below(text, root, prefix))
            return
    if texts:
        raise _not_there(book, name, texts[0], root)
    raise DataError(
        f"column {quoted(name)} of {book.path!r} holds no paths: say with ", Option("input"), " which column does; it "
        f"has {listed(book.sheets[0].columns)}",
    )  # fmt: skip


def _not_there(book: Book, name: str, text: str, root: Path) -> DataError:
    return DataError(
        f"no image is where column {quoted(name)} of {book.path!r} says, {quoted(text)} below {str(root)!r}: say where "
        "paths begin with ", Option("images"), " FOLDER",
    )  # fmt: skip


def _leads(values: Sequence[Any], root: Path, prefix: str) -> bool:
    """Tell whether a text of a column is the path of an image that is there, by a sample of them."""
    for text in _spread(_texts(values)):
        with suppress(DataError):
            if recognised(Folder(root).open(below(text, root, prefix))):
                return True
    return False


def _texts(values: Sequence[Any]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str) and value and not value.isspace())


def _spread(texts: Iterable[str]) -> list[str]:
    """Return so many texts as are tried, from the whole of what was read."""
    texts = list(dict.fromkeys(texts))
    return texts[:: -(-len(texts) // PROBED)] if texts else []


def are(values: Sequence[Any], root: Path, prefix: str) -> bool:
    """Tell whether a column leads to images, or its texts are called as images are."""
    few = _spread(_texts(values))
    return bool(few) and (all(text.lower().endswith(IMAGES) for text in few) or _leads(few, root, prefix))
