"""What changed an architecture after it was built: plain records, done again by whoever loads the package.

A record is an object with its `kind`, one of KINDS, and what that kind says. Records are anybody's: they are checked,
and what they ask for is bounded by the model that they are done to, before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubft.base.errors import PackageError, suggest
from hubft.compress import counts, widths
from hubft.hookspecs import Loaded

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """How the records of a kind are checked and done again."""

    check: Callable[[Record], None]
    """Raises PackageError where the record is not of this kind's form; knows no model."""
    words: str
    """What was done, for a card, as the beginning of a sentence."""
    build: Callable[[Loaded, Record], None] = lambda loaded, record: None
    """Changes the architecture, before its weights are filled in."""
    facts: Callable[[Record], str] = lambda record: ""
    """How much was done, in words; empty where there is no how much."""


KINDS: Mapping[str, Kind] = {
    widths.KIND: Kind(widths.check, "Channels were taken out of it", widths.give, counts.words),
}


def check(records: Sequence[Record]) -> None:
    """Check records of which nothing is known yet.

    :raises PackageError: a kind that is not known, or a record that is not of its form.
    """
    for record in records:
        kind = record.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            near = suggest(str(kind)[:80], KINDS)
            raise PackageError(
                f"its structure has a record of kind {str(kind)[:80]!r}, not known here: update hubft.{near}"
            )
        KINDS[kind].check(record)


def build(loaded: Loaded, records: Sequence[Record]) -> Loaded:
    """Return the model with its architecture changed, in place, by the records in their order; its weights come later.

    :param records: that passed `check`.
    :raises PackageError: one does not fit the model.
    """
    for record in records:
        KINDS[record["kind"]].build(loaded, record)
    return loaded


def words(records: Sequence[Record]) -> list[str]:
    """Return what was done to a model, and how much of it: the beginning of a sentence a kind."""
    facts: dict[str, list[str]] = {}
    for record in records:
        kind = KINDS[record["kind"]]
        facts.setdefault(kind.words, []).append(kind.facts(record))
    return [f"{words} ({'; then '.join(its)})" if any(its) else words for words, its in facts.items()]
