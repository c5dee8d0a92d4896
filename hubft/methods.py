"""How a trained model is compressed, as a user writes it: the grammar of `--compress`.

    none                 not at all
    NAME                 a method of the core or of the family: bf16, int8
    NAME:ARGUMENT        one that is told how much: prune:0.5

Methods are joined by commas and follow each other: `prune:0.5,int8`. Which names there are, and what their arguments
may be, is for the hook `compress` to say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hubft.base.errors import JobError, Option

NONE = "none"


@dataclass(frozen=True)
class Method:
    """One step of a compression."""

    name: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else self.name


def parse(text: str) -> tuple[Method, ...]:
    """Return the methods of a `--compress` text in order; `none` has none.

    :raises JobError: a part that is no method, `none` beside others, or one that stands twice.
    """
    found = tuple(_method(text, part.strip()) for part in text.split(","))
    names = Counter(method.name for method in found)
    if found == (Method(NONE),):
        return ()
    if twice := [name for name, times in names.items() if times > 1 or name == NONE]:
        why = "stands beside others" if twice[0] == NONE else "stands twice"
        raise JobError(Option("compress"), f" {text!r}: {twice[0]} {why}")
    return found


def joined(methods: Iterable[Method]) -> str:
    """Return methods as a user writes them; the reverse of `parse`."""
    return ",".join(map(str, methods)) or NONE


def _method(text: str, part: str) -> Method:
    found = re.fullmatch(r"([^\s:,]+)(?::([^\s,]+))?", part)
    if found is None:
        raise JobError(
            Option("compress"), f" {text!r}: {part!r} is no method; write NAME or NAME:ARGUMENT, joined by commas"
        )
    return Method(found[1], found[2] or "")
