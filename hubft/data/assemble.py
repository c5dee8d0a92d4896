"""Rows of opened tables, with their parts: which are used, and why others are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError, Option
from hubft.data import columns, documents, freetext, words
from hubft.data.columns import Chosen
from hubft.data.freetext import Texts
from hubft.data.rows import PARTS, Row, Rows, Source
from hubft.data.sheet import Book, Sheet, cell, kind
from hubft.data.source import Folder, below
from hubft.job import Labels

SHARED = 65_536  # different texts of a column that are kept once: classes recur, numbers do not


def rows(book: Book, labels: Labels, root: Path, labelled: bool = True) -> Rows:
    """Return the rows of tables that belong together.

    Values stay as they are stated: what they mean, and whether there are enough, a task says.

    :param root: where relative paths begin.
    :param labelled: without, no column of labels is looked for.
    :raises DataError: columns that cannot be told, no rows, a split that is none.
    """
    chosen = columns.choose(book, labels, root, labelled)
    for sheet in book.sheets:
        if missing := [name for name in _read(chosen) if name not in sheet.columns]:
            raise DataError(f"{sheet.name!r} has no column {listed(missing)}, which {book.sheets[0].name!r} has")
    taking = _Taking(book, chosen, root)
    for sheet in book.sheets:
        taking.take(sheet)
    if not taking.count:
        raise DataError(f"{book.path!r} has no rows: nothing to train on")
    parts = {part: tuple(taking.parts[part]) for part in PARTS if taking.parts[part] or taking.titles.get(part)}
    if taking.titles and "train" not in taking.titles:
        raise DataError(_no_train(book, chosen, taking.titles))
    _refuse_shared_groups(parts, chosen.group)
    source = Texts(taking.texts) if chosen.text else _files(book, chosen, root)
    names = {name: book.names[name] for name in chosen.target if name in book.names}
    notes = (*book.notes, chosen.note(), *taking.notes())
    titles = {part: _title(said) for part, said in taking.titles.items()}
    task = words.TASK if book.kind == words.KIND else Rows.task
    return Rows(
        source,
        chosen.target,
        parts or {"train": ()},
        taking.left_out,
        notes=notes,
        names=names,
        kind=book.kind,
        name=book.path,
        titles=titles,
        task=task,
    )


def _files(book: Book, chosen: Chosen, root: Path) -> Source:
    return book.source(chosen.input) if chosen.packed and book.source else Folder(root)


def _read(chosen: Chosen) -> list[str]:
    """Return the columns of which cells are read: labels, then split, group and path, where there are such."""
    others = (chosen.split, chosen.group, *(() if chosen.packed else chosen.inputs))
    return [*chosen.target, *filter(None, others)]


class _Taking:
    """Rows as they are taken, one after the other."""

    def __init__(self, book: Book, chosen: Chosen, root: Path) -> None:
        self.book, self.chosen, self.root = book, chosen, root
        self.parts: dict[str, list[Row]] = {part: [] for part in PARTS}
        self.titles: dict[str, list[str]] = {}
        """Part -> what it is called where it lies, where the data says parts."""
        self.left_out: dict[str, str] = dict(book.left_out)
        self.texts: dict[str, str] = {}
        """Place of a row -> its input, where that is a text."""
        self.count = self.repeated = 0
        self.loose = ""
        """A path of which no folder says its part, where folders may."""
        self._known: dict[str, dict[str, Row]] = {part: {} for part in PARTS}
        self._splits: dict[Any, str] = {}
        self._texts: dict[str, str] = {}
        self._values: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def notes(self) -> Iterator[str]:
        if self.repeated:
            yield f"left out, {self.repeated:,} rows that say again what an earlier row says"

    def take(self, sheet: Sheet) -> None:
        """Take the rows of a table."""
        wanted, chosen = _read(self.chosen), self.chosen
        size = len(chosen.target)
        where = "row" if len(self.book.sheets) == 1 else f"{sheet.name}, row"
        if sheet.part and not chosen.split:
            self._title(sheet.part, sheet.name)
        for number, cells in enumerate(sheet.rows(wanted), 1):
            self.count += 1
            rest = list(cells[size:])
            said = rest.pop(0) if chosen.split else None
            group = rest.pop(0) if chosen.group else None
            try:
                place = sheet.place(number - 1) if chosen.packed or chosen.text else self._place(rest[0], sheet)
                if chosen.text:
                    self.texts[place] = _input(rest, chosen, cells[:size])
                part = self._part(said, f"{where} {number:,}", sheet, place)
                row = Row(place, self._values_of(cells[:size]), self._group(group), number)
                self._add(row, part, f"{where} {number:,}")
            except _Leave as why:
                self.left_out[f"{where} {number:,}"] = str(why)

    def _title(self, part: str, said: str) -> None:
        known = self.titles.setdefault(part, [])
        if said not in known:
            known.append(said)

    def _place(self, path: Any, sheet: Sheet) -> str:
        if path is None or path == "" or (isinstance(path, str) and path.isspace()):
            raise _Leave("path is empty")
        if not isinstance(path, str):
            raise _Leave(f"path is no text, but {quoted(str(path))}")
        try:
            return below(path, self.root, sheet.prefix)
        except DataError as error:
            raise _Leave(str(error)) from error

    def _part(self, said: Any, where: str, sheet: Sheet, place: str) -> str:
        if not self.chosen.split:
            return sheet.part or (self.book.files and self._by_folder(place)) or "train"
        try:
            return self._splits[said]
        except (KeyError, TypeError):  # not seen before, or a list
            pass
        column = self.chosen.split
        if not isinstance(said, list | dict) and cell(said) is None:
            raise _Leave(f"{quoted(column)} is empty")
        part = columns.part(column, said)
        if not part:
            raise DataError(
                f"{where} of {self.book.path!r}: column {quoted(column)} holds {quoted(str(said))}, which is no part "
                "of a split; known are train, val (also valid, validation, dev, eval) and test"
            )
        self._title(part, f"{column} == {said!r}")
        self._splits[said] = part
        return part

    def _by_folder(self, place: str) -> str:
        """Return the part whose folder a path begins with, where a table describes the images around it."""
        folder = place.partition("/")[0] if "/" in place else ""
        if part := kind(folder):
            self._title(part, folder)
        else:
            self.loose = self.loose or place
        if self.loose and self.titles:
            raise DataError(
                f"paths of {self.book.path!r} begin with folders of a split, {listed(map(str, self.titles))}, but "
                f"{quoted(self.loose)} does not: add a column 'split' that says the part of each row"
            )
        return part

    def _group(self, value: Any) -> str:
        if type(value) is str and (known := self._texts.get(value)) is not None:
            return known
        try:
            value = cell(value)
        except DataError as error:
            raise _Leave(f"{quoted(self.chosen.group)} is {error}") from error
        return "" if value is None else self._shared(str(value))

    def _shared(self, text: str) -> str:
        known = self._texts.get(text)
        if known is None and len(self._texts) < SHARED:
            self._texts[text] = text
        return known or text

    def _values_of(self, cells: Sequence[Any]) -> tuple[Any, ...]:
        """Return the cells of the targets, those that recur kept once: only of texts are equal ones the same."""
        stated = tuple(cells)
        texts = all(type(one) is str for one in stated)
        if texts and (known := self._values.get(stated)) is not None:
            return known
        found = tuple(map(self._value, self.chosen.target, stated))
        if texts and len(self._values) < SHARED:
            self._values[stated] = found
        return found

    def _value(self, column: str, stated: Any) -> Any:
        try:
            value = cell(stated)
        except DataError as error:
            raise _Leave(f"{quoted(column)} holds {error}") from error
        if isinstance(value, list):
            return [self._shared(one) if isinstance(one, str) else one for one in value]
        return self._shared(value) if isinstance(value, str) else value

    def _add(self, row: Row, part: str, where: str) -> None:
        if not (self.chosen.packed or self.chosen.text):
            for other, known in self._known.items():
                if (before := known.get(row.place)) is not None:
                    self._refuse_or_leave(row, before, part, other)
                    return
            self._known[part][row.place] = row
        self.parts[part].append(row)

    def _refuse_or_leave(self, row: Row, before: Row, part: str, other: str) -> None:
        if other != part:
            raise DataError(
                f"{quoted(row.place)} is in two parts of the split of {self.book.path!r}, {other} by row "
                f"{before.number:,} and {part} by row {row.number:,}: keep one of these rows"
            )
        if repr((row.values, row.group)) != repr((before.values, before.group)):
            raise _Leave(f"{quoted(row.place)} is in row {before.number:,} too, with other labels")
        self.repeated += 1


def _title(said: Sequence[str]) -> str:
    return " or ".join(said) if len(said) <= 3 else f"{said[0]} and {len(said) - 1:,} more"


class _Leave(Exception):
    """Why a row is left out."""


def _input(cells: Sequence[Any], chosen: Chosen, targets: Sequence[Any]) -> str:
    """Return the text of an input, or the two of a pair; of documents and of words, what their cells hold."""
    try:
        if chosen.parts and chosen.parts[0][0] == words.WORDS:
            return words.stated(cells[0], targets)
        if chosen.parts:
            return documents.stated([part for part, _ in chosen.parts], cells, chosen.learned)
        return freetext.joined(cells, chosen.inputs)
    except DataError as error:
        raise _Leave(str(error)) from error


def _no_train(book: Book, chosen: Chosen, titles: dict[str, list[str]]) -> str:
    said = [title for part in titles.values() for title in part]
    what = f"column {quoted(chosen.split)} of {book.path!r} names" if chosen.split else f"{book.path!r} has"
    return f"{what} no part to train on, only {listed(said)}: one must be called train"


def _refuse_shared_groups(parts: dict[str, tuple[Row, ...]], column: str) -> None:
    """Refuse a group of which rows are in two parts of a split that the data itself says."""
    if not column or len(parts) < 2:
        return
    known: dict[str, str] = {}
    for part, found in parts.items():
        for row in found:
            if row.group and known.setdefault(row.group, part) != part:
                raise DataError(
                    f"group {quoted(row.group)} of column {quoted(column)} is in {known[row.group]} and in {part}: "
                    "move its rows into one part, or leave out ", Option("group"),
                )  # fmt: skip
