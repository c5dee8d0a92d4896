"""Sentences in columns of text, as CoNLL has them: a word a line, its tag in the last column, a blank line behind a
sentence (https://aclanthology.org/W03-0419, section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from hubft.data import text
from hubft.data.sheet import Sheet
from hubft.data.words import NAMES, TAGS

SUFFIX = ".conll"
DOCUMENT = "-DOCSTART-"  # stands for a word at the beginning of a document
COLUMNS = (NAMES[0], TAGS[0])


def sheet(path: Path, name: str) -> Sheet:
    """Return a table with a row a sentence: its words, and their tags. Columns lie between tabs, or between blanks; of
    a line with one column alone the word has no tag.

    :raises DataError: it is no text in UTF-8.
    """
    text.refuse_foreign(path, name, "a text file")

    def rows(wanted: Sequence[str]) -> Iterator[Sequence[Any]]:
        for words, tags in _sentences(path, name):
            row = dict(zip(COLUMNS, (words, tags), strict=True))
            yield [row[column] for column in wanted]

    return Sheet(name, COLUMNS, rows)


def _sentences(path: Path, name: str) -> Iterator[tuple[list[str], list[str]]]:
    words: list[str] = []
    tags: list[str] = []
    with text.opened(path, name) as file:
        for line in chain(file, ("",)):
            cells = (line.rstrip("\r\n").split("\t") if "\t" in line else line.split()) if line.strip() else []
            if cells and cells[0] != DOCUMENT:
                words.append(cells[0])
                tags += cells[-1:] if len(cells) > 1 else []
            elif words:
                yield words, tags
                words, tags = [], []
