"""Texts in a column of a table: which column they are in, and what gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from hubft.base import display
from hubft.base.display import listed, quoted
from hubft.base.errors import DataError, Option

KIND = "text"
PAIR, TYPED = "\x1f", "|||"  # between the two texts of a pair, in a place of rows, and as people type it
NAMES = ("text", "texts", "txt", "sentence", "document", "content", "review", "comment", "message", "body", "tweet")
SHARE = 0.5  # of the cells of a column: so many differ, and so many are more than a word


@dataclass(frozen=True)
class Texts:
    """Texts, as the bytes of their UTF-8, by the places of their rows."""

    texts: Mapping[str, str]

    def open(self, place: str) -> BytesIO:
        """Return the bytes of a text; half a character of UTF-16, which JSON can hold, makes bytes that are no UTF-8.

        :raises DataError: there is none.
        """
        if place not in self.texts:
            raise DataError(f"{quoted(place)} is no row with a text")
        return BytesIO(self.texts[place].encode("utf-8", "surrogatepass"))


def joined(cells: Sequence[Any], columns: Sequence[str]) -> str:
    """Return the text of a row, every character of it, or its two texts with PAIR between them.

    :raises DataError: a cell that holds none.
    """
    for cell, name in zip(cells, columns, strict=True):
        if cell is not None and not isinstance(cell, str):
            raise DataError(f"{quoted(name)} is no text, but {quoted(str(cell))}")
        if not cell or cell.isspace():
            raise DataError(f"{quoted(name)} is empty")
    return PAIR.join(cells)


def column(table: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """Return the one column that holds texts: by its cells, or by its name where they do not tell.

    :param table: what it is called in messages.
    :param columns: those that may be it -> cells from the beginning of the table.
    :raises DataError: there is none, or more than one.
    """
    held = {name: found for name, cells in columns.items() if (found := _strings(cells))}
    called = display.called(list(held), NAMES)
    found = list(dict.fromkeys([*called, *(name for name, cells in held.items() if _free(cells))]))
    found = called if len(called) == 1 else found
    if len(found) == 1:
        return found[0]
    why = f"more than one column that may hold texts, {listed(found)}" if found else "no column that may hold texts"
    raise DataError(
        f"{table!r} has {why}: it has {listed(columns)}; say which it is with ", Option("input"), " COLUMN"
    )  # fmt: skip


def check(table: str, name: str, cells: Sequence[Any], known: Sequence[str]) -> None:
    """Refuse a column that was given and of which no cell holds a text.

    :raises DataError: says which columns are known.
    """
    if not _strings(cells):
        raise DataError(
            f"column {quoted(name)} of {table!r} holds no texts: say with ", Option("input"), " which column does; it "
            f"has {listed(known)}",
        )  # fmt: skip


def pair(texts: str) -> tuple[str, str]:
    """Return the two texts of a pair.

    :raises DataError: there is one text, or there are more than two.
    """
    found = texts.split(PAIR) if PAIR in texts else [one.strip() for one in texts.split(TYPED)]
    if len(found) != 2 or not all(found):
        raise DataError(f"the model takes pairs of texts: write two with {TYPED} between them, or name a table")
    return found[0], found[1]


def _strings(cells: Sequence[Any]) -> list[str]:
    return [cell for cell in cells if isinstance(cell, str) and not (not cell or cell.isspace())]


def _free(cells: Sequence[str]) -> bool:
    """Tell whether cells are what people wrote, by themselves: they differ, and hold blanks between letters, or
    characters of scripts that do without blanks."""
    written = [any(c.isalpha() for c in cell) and (len(cell.split()) > 1 or not cell.isascii()) for cell in cells]
    return sum(written) >= SHARE * len(cells) and len(set(cells)) >= SHARE * len(cells)
