"""Which column of a table is what: as the user says, else found where only one can be meant.

Nothing is guessed: where two columns could be it, the refusal lists the columns and says what to type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError, Option, suggest
from hubft.data import documents, freetext
from hubft.data.formats import recognised
from hubft.data.rows import Rows
from hubft.data.sheet import IMAGES, Book, Sheet, kind
from hubft.data.source import Folder, below
from hubft.job import Labels

INPUTS = ("file_name", "filename", "fname", "image", "path", "filepath", "image_path")
TARGETS = ("label", "labels", "class", "target", "category", "tags")
SPLITS = ("split", "is_valid", "subset", "partition")
INDEX = ("", "index", "unnamed: 0", "__index_level_0__")
"""What pandas calls the numbers of the rows: never taken for labels."""
HEAD, PROBED = 1000, 32  # rows that are looked at; paths of them that are tried
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
    parts: tuple[tuple[str, str], ...] = ()
    """Of documents, what columns hold of them, and which."""
    learned: bool = True
    """Whether documents hold what is learned."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(column for _, column in self.parts) or (self.input,)

    def note(self) -> str:
        """Return it in a line."""
        roles: Any = {part: [column] for part, column in self.parts} or {"input": [self.input], "target": self.target}
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
    given = {labels.input, *labels.target, labels.split, labels.group}
    free = [name for name in sheet.columns if name not in given]
    text, columns = book.kind == freetext.KIND, {name: cells.get(name, []) for name in free}
    find = partial(freetext.column, book.path) if text else partial(_input, book, root, sheet.prefix)
    input = labels.input or find(columns)
    if text:
        freetext.check(book.path, input, cells.get(input, ()), sheet.columns)
    elif input == labels.input and input in cells:
        _check_paths(book, input, cells[input], root, sheet.prefix)
    free = [name for name in free if name != input]
    parts = {one.part for one in book.sheets} - {"", "train"}
    split = labels.split or ("" if parts else _split(book, {name: cells[name] for name in free if name in cells}))
    free = [name for name in free if name != split and name not in sheet.packed]
    target = labels.target or ((_target(book, free),) if labelled else ())
    return Chosen(input, input in sheet.packed, target, split, labels.group, text)


def _documents(book: Book, labels: Labels, cells: Mapping[str, Sequence[Any]], labelled: bool) -> Chosen:
    free = {name: found for name, found in cells.items() if name not in (labels.split, labels.group)}
    parts = documents.found(book.path, free, labels, labelled)
    free = {name: free[name] for name in {*free} - {*parts.values()}}
    split = labels.split or ("" if {one.part for one in book.sheets} - {"", "train"} else _split(book, free))
    return Chosen(next(iter(parts.values())), False, (), split, labels.group, True, tuple(parts.items()), labelled)


def inputs(book: Book, labels: Labels, root: Path, kinds: Sequence[str]) -> str:
    """Return the kind of the inputs of a table: of more than one that may be, documents where its columns are called
    as theirs are, images where a column holds such.

    :param kinds: those that may be.
    """
    if len(kinds) == 1:
        return kinds[0]
    sheet, cells = _head(book)
    if documents.KIND in kinds and documents.are({name: cells[name] for name in {*cells} - {*SPLITS}}, labels):
        return documents.KIND
    kinds = [one for one in kinds if one != documents.KIND]
    if Rows.kind not in kinds:
        return kinds[0]
    names = (labels.input,) if labels.input else tuple(n for n in sheet.columns if n not in labels.target)
    packed = any(name in sheet.packed for name in names)
    if packed or labels.images or any(_pictured(cells.get(n, ()), root, sheet.prefix) for n in names):
        return Rows.kind
    return next(one for one in kinds if one != Rows.kind)


def _pictured(values: Sequence[Any], root: Path, prefix: str) -> bool:
    """Tell whether a column leads to images, or its texts are called as images are."""
    few = _spread(_texts(values))
    return bool(few) and (all(text.lower().endswith(IMAGES) for text in few) or _leads(few, root, prefix))


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
    given = {"input": (labels.input,), "target": labels.target, "split": (labels.split,), "group": (labels.group,)}
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


# ---- the input ---------------------------------------------------------------------------------------


def _input(book: Book, root: Path, prefix: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """Return the one column that holds images, or paths of such as are there."""
    packed = [name for name in columns if name in book.sheets[0].packed and book.source]
    found = packed + [name for name in columns if _leads(columns[name], root, prefix)]
    if len(found) > 1:
        found = _called(found, INPUTS) or found
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


def _check_paths(book: Book, name: str, values: Sequence[Any], root: Path, prefix: str) -> None:
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


# ---- the others --------------------------------------------------------------------------------------


def _split(book: Book, columns: Mapping[str, Sequence[Any]]) -> str:
    """Return the column that is called as a split and names a part in some row, or nothing."""
    called = [name for name in columns if name.strip().lower() in SPLITS]
    found = [name for name in called if any(part(name, value) for value in columns[name])]
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
    found = left if len(left) == 1 else _called(left, TARGETS)
    if len(found) == 1:
        return found[0]
    why = "more than one column that may hold labels" if left else "no column left that may hold labels"
    raise DataError(
        f"{book.path!r} has {why}: it has {listed(book.sheets[0].columns)}; say which with ", Option("target"),
        " COLUMN, once for each",
    )  # fmt: skip


def _called(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in names if name.strip().lower() in known]
