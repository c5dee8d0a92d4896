"""Sentences as lists of words, with a tag for each word, in two columns of a table.

A sentence is one text of JSON on its way: `{"words": [...]}`; one that somebody typed has its `text` beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from hubft.base import files
from hubft.base.display import called, listed, quoted
from hubft.base.errors import DataError, Option
from hubft.data.rows import Source
from hubft.job import Labels

KIND = "words"
TASK = "tokens"
WORDS, TEXT = "words", "text"
NAMES = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels")
HEAD = 20  # cells by which a column of lists is known


def are(columns: Mapping[str, Sequence[Any]], labels: Labels) -> bool:
    """Tell whether the columns of a table hold words with tags: as the user says, else by their names and cells.

    :param columns: those of the table -> cells from its beginning.
    """
    if labels.task != "auto":
        return labels.task == TASK
    lists = [name for name, cells in columns.items() if _lists(cells)]
    its = [labels.input] if labels.input else called(lists, NAMES)
    tags = [*labels.target] or called(lists, TAGS)
    return len(its) == len(tags) == 1 and {*its, *tags} <= {*lists}


def found(table: str, columns: Mapping[str, Sequence[Any]], labels: Labels, tagged: bool) -> tuple[str, str]:
    """Return the columns of the words and of their tags, the latter empty where none are wanted.

    :param table: what it is called in messages.
    :param columns: those of the table -> cells from its beginning.
    :raises DataError: they cannot be told.
    """
    if labels.pair:
        raise DataError(Option("pair"), f" {labels.pair}: words are of one sentence; leave it out")
    if len(labels.target) > 1:
        raise DataError(Option("target"), f" {listed(labels.target)}: a word has one tag; name one column")
    lists = [name for name, cells in columns.items() if _lists(cells)]
    tags = [*labels.target] or called(lists, TAGS)
    others = [name for name in lists if name not in tags]
    its = [labels.input] if labels.input else called(lists, NAMES) or ([] if tagged else others)
    if len(its) != 1 or (tagged and len(tags) != 1):
        raise DataError(
            f"{table!r} has no two columns that are lists of words, as tokens, and of their tags, as tags: it has "
            f"{listed(columns)}; say which they are with ", Option("input"), " WORDS ", Option("target"), " TAGS",
        )  # fmt: skip
    return its[0], tags[0] if tagged else ""


def _lists(cells: Sequence[Any]) -> bool:
    there = [cell for cell in cells[:HEAD] if cell is not None]
    return bool(there) and all(isinstance(cell, list | tuple) for cell in there) and any(there)


def stated(words: Any, tags: Sequence[Any]) -> str:
    """Return the sentence of a row as JSON.

    :param words: the cell of its words.
    :param tags: the cell of their tags, alone; nothing where none are wanted.
    :raises DataError: it is none; says why, as the reason for which its row is left out.
    """
    its = _texts(words, "word")
    for cell in tags:
        if len(said := _texts(cell, "tag")) != len(its):
            raise DataError(f"it has {len(its):,} words and {len(said):,} tags")
    return json.dumps({WORDS: its}, ensure_ascii=False)


def _texts(cell: Any, what: str) -> list[str]:
    if cell is not None and not isinstance(cell, list | tuple):
        raise DataError(f"its {what}s are no list, but {quoted(str(cell))}")
    if not cell:
        raise DataError(f"it has no {what}s")
    for number, one in enumerate(cell, 1):
        if one is not None and not isinstance(one, str):
            raise DataError(f"{what} {number:,} is no text, but {quoted(str(one))}")
        if not one or one.isspace():
            raise DataError(f"{what} {number:,} is empty")
    return list(cell)


@dataclass(frozen=True)
class Typed:
    """Texts as sentences: what gives the words of each, those between its blanks."""

    source: Source | None = None
    """What opens a text; without one, places are paths of files."""

    def open(self, place: str) -> BytesIO:
        """Return the sentence of a text.

        :raises DataError: it is not there, no UTF-8, or there is nothing in it.
        """
        path = Path(place)
        if self.source is None and not path.is_file():
            raise DataError("no such file")
        opened = self.source.open(place) if self.source else path
        content = files.content(opened)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"no text in UTF-8: {error.reason} at byte {error.start:,}") from error
        if not text.split():
            raise DataError("the text is empty")
        return BytesIO(json.dumps({WORDS: text.split(), TEXT: text}).encode())
