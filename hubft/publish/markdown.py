"""Markdown of a card: texts that do nothing, blocks of code, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hubft.base.display import visible


def inert(value: object) -> str:
    """Return a text as a code span of Markdown, also in a table: it is shown, at most 80 characters, and does nothing.

    An empty text is `(empty)`, without the span.
    """
    shown = visible(str(value)).replace("|", "\\x7c")  # renderers disagree on how a table's cell escapes its own mark
    if not shown:
        return "(empty)"
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""  # one blank a side is taken off by the renderer
    return f"{fence}{pad}{shown}{pad}{fence}"


def code(*lines: str, language: str = "python") -> Iterator[str]:
    """Yield a block of code, line by line."""
    yield from (f"```{language}", *lines, "```\n")


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield a table, line by line."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""
