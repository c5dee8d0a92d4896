"""Which column of a table is what: as the user says, else found where only one can be meant.

Nothing is guessed: where two columns could be it, the refusal lists the columns and says what to type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hubft.base.display import called, listed, quoted
from hubft.base.errors import DataError, Option, suggest
from hubft.data import documents, freetext, pictured, words
from hubft.data.rows import Rows
from hubft.data.sheet import Book, Sheet, kind
from hubft.job import Labels

TARGETS = ("label", "labels", "class", "cls", "target", "category", "tags", "boxes")
SPLITS = ("split", "is_valid", "subset", "partition")
INDEX = ("", "index", "unnamed: 0", "__index_level_0__")
"""What pandas calls the numbers of the rows: never taken for labels."""
HEAD = 1000  # rows that are looked at
YES, NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


class Chosen(NamedTuple):
    """What each column is."""

    input: str
    packed: bool
    """Whether the input column holds bytes of images, not paths."""
    target: tuple[str, ...]
    split: str = ""
    group: str = ""
    text: bool = False
    """Whether the input column holds the inputs themselves, as texts."""
    pair: str = ""
    """Column with the second text of each input, if there is one."""
    parts: tuple[tuple[str, str], ...] = ()
    """Of documents and sentences of words, what columns hold of them, and which."""
    learned: bool = True
    """Whether documents hold what is learned."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of which an input is made."""
        named = tuple(column for _, column in self.parts) or (self.input, self.pair)
        return tuple(filter(None, named))

    def note(self) -> str:
        """Return it in a line."""
        given = {"input": [self.input], "pair": [self.pair], "target": self.target}
        roles: Any = {part: [column] for part, column in self.parts} | {"tags": self.target} if self.parts else given
        roles |= {"split": [self.split], "group": [self.group]}
        return "columns: " + ", ".join(f"{role} {listed(names)}" for role, names in roles.items() if any(names))


def choose(book: Book, labels: Labels, root: Path, labelled: bool = True) -> Chosen:
    """Return which column is what.

    :param root: where relative paths begin.
    :param labelled: whether there must be labels.
    :raises DataError: a column that is not there or is given two roles; one that cannot be told.
    """
    sheet, cells = _head(book)
    _check_given(book, labels)
    if book.kind == documents.KIND:
        return _documents(book, labels, cells, labelled)
    if book.kind == words.KIND:
        return _words(book, labels, cells, labelled)
    given = {labels.input, labels.pair, *labels.target, labels.split, labels.group}
    free = [name for name in sheet.columns if name not in given]
    text, columns = book.kind == freetext.KIND, {name: cells.get(name, []) for name in free}
    find = partial(freetext.column, book.path) if text else partial(pictured.column, book, root, sheet.prefix)
    input = labels.input or find(columns)
    if labels.pair and not text:
        raise DataError(Option("pair"), f" {labels.pair}: {book.path!r} is read as images; leave it out")
    if text:
        for name in filter(None, (input, labels.pair)):
            freetext.check(book.path, name, cells.get(name, ()), sheet.columns)
    elif input == labels.input and input in cells:
        pictured.check(book, input, cells[input], root, sheet.prefix)
    free = [name for name in free if name != input]
    parts = {one.part for one in book.sheets} - {"", "train"}
    split = labels.split or ("" if parts else _split(book, {name: cells[name] for name in free if name in cells}))
    free = [name for name in free if name != split and name not in sheet.packed]
    target = labels.target or ((_target(book, free),) if labelled else ())
    return Chosen(input, input in sheet.packed, target, split, labels.group, text, labels.pair)


def _documents(book: Book, labels: Labels, cells: Mapping[str, Sequence[Any]], labelled: bool) -> Chosen:
    free = {name: found for name, found in cells.items() if name not in (labels.split, labels.group)}
    parts = documents.found(book.path, free, labels, labelled)
    free = {name: free[name] for name in {*free} - {*parts.values()}}
    split = labels.split or ("" if {one.part for one in book.sheets} - {"", "train"} else _split(book, free))
    its = tuple(parts.items())
    return Chosen(its[0][1], False, (), split, labels.group, True, parts=its, learned=labelled)


def _words(book: Book, labels: Labels, cells: Mapping[str, Sequence[Any]], labelled: bool) -> Chosen:
    free = {name: found for name, found in cells.items() if name not in (labels.split, labels.group)}
    its, tags = words.found(book.path, free, labels, labelled)
    free = {name: free[name] for name in {*free} - {its, tags}}
    split = labels.split or ("" if {one.part for one in book.sheets} - {"", "train"} else _split(book, free))
    target = (tags,) if tags else ()
    return Chosen(its, False, target, split, labels.group, True, parts=((words.WORDS, its),))


def inputs(book: Book, labels: Labels, root: Path, kinds: Sequence[str]) -> str:
    """Return the kind of the inputs of a table: of more than one that may be, documents or words where its columns are
    called as theirs are, images where a column holds such.

    :param kinds: those that may be.
    """
    if len(kinds) == 1:
        return kinds[0]
    sheet, cells = _head(book)
    if documents.KIND in kinds and documents.are({name: cells[name] for name in {*cells} - {*SPLITS}}, labels):
        return documents.KIND
    if words.KIND in kinds and words.are(cells, labels):
        return words.KIND
    kinds = [one for one in kinds if one not in (documents.KIND, words.KIND)]
    if Rows.kind not in kinds:
        return kinds[0]
    names = (labels.input,) if labels.input else tuple(n for n in sheet.columns if n not in labels.target)
    packed = any(name in sheet.packed for name in names)
    if packed or labels.images or any(pictured.are(cells.get(n, ()), root, sheet.prefix) for n in names):
        return Rows.kind
    return next(one for one in kinds if one != Rows.kind)


def _head(book: Book) -> tuple[Sheet, dict[str, list[Any]]]:
    """Return the first table that has rows, and the cells at its beginning, of columns that hold no files."""
    for sheet in book.sheets:
        plain = [name for name in sheet.columns if name not in sheet.packed]
        if head := list(islice(sheet.rows(plain), HEAD)) if plain or not sheet.columns else [()]:
            return sheet, {name: [row[i] for row in head] for i, name in enumerate(plain)}
    raise DataError(f"{book.path!r} has no rows: nothing to train on")


def _check_given(book: Book, labels: Labels) -> None:
    known = book.sheets[0].columns
    roles: dict[str, str] = {}
    single = {role: (getattr(labels, role),) for role in ("input", "pair", "split", "group")}
    given = {**single, "target": labels.target}
    for role, names in given.items():
        for name in filter(None, names):
            if name not in known:
                raise DataError(
                    f"{book.path!r} has no column {quoted(name)}, which ", Option(role), " names: it has "
                    f"{listed(known)}.{suggest(name, known)}",
                )  # fmt: skip
            if name in roles:
                raise DataError(
                    f"column {quoted(name)} is given for both ", Option(roles[name]), " and ", Option(role),
                    ": one column has one meaning",
                )  # fmt: skip
            roles[name] = role
    for name in (*labels.target, labels.split, labels.group, "" if book.source else labels.input):
        if name in book.sheets[0].packed:
            raise DataError(
                f"column {quoted(name)} of {book.path!r} holds bytes, which cannot be read here: name another"
            )


# ---- the others --------------------------------------------------------------------------------------


def _split(book: Book, columns: Mapping[str, Sequence[Any]]) -> str:
    """Return the column that is called as a split and names a part in some row, or nothing."""
    likely = called(list(columns), SPLITS)
    found = [name for name in likely if any(part(name, value) for value in columns[name])]
    if len(found) > 1:
        raise DataError(
            f"{book.path!r} has more than one column that may be its split, {listed(found)}: say which with ",
            Option("split"), " COLUMN",
        )  # fmt: skip
    return found[0] if found else ""


def part(column: str, value: Any) -> str:
    """Return the part that a cell of a split column names, or nothing: of `is_valid` and such, by yes and no."""
    text = str(value).strip().lower()
    flag = kind(column.strip().lower().removeprefix("is_"))
    if flag in ("val", "test") and text in (*YES, *NO):
        return flag if text in YES else "train"
    return kind(text)


def _target(book: Book, columns: Sequence[str]) -> str:
    """Return the one column that is left, or the one that is called as labels are."""
    left = [name for name in columns if name.strip().lower() not in INDEX]
    found = left if len(left) == 1 else called(left, TARGETS)
    if len(found) == 1:
        return found[0]
    why = "more than one column that may hold labels" if left else "no column left that may hold labels"
    raise DataError(
        f"{book.path!r} has {why}: it has {listed(book.sheets[0].columns)}; say which with ", Option("target"),
        " COLUMN, once for each",
    )  # fmt: skip
