"""Columns: of targets, as data states them, and of tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from hubft.tasks.metrics import Metrics


@dataclass(frozen=True)
class Column:
    """A target column as the data states it."""

    name: str
    values: Sequence[Any]
    """A text or a JSON type for each row; None for a gap."""
    names: tuple[str, ...] = ()
    """Of its classes in order, where the data says them."""


@dataclass(frozen=True)
class Table:
    """A table for people."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    """Names are foreign text, for the reader's side to escape; a `Measured` shows its interval."""

    @classmethod
    def of_names(cls, what: str, names: Sequence[str], metrics: Metrics, columns: Sequence[str]) -> Self:
        """Return what was measured of each name, a row each: details that are a list of `Measured` as JSON, or None.

        :param what: the names are, as the head of their column.
        """
        from hubft.tasks.metrics import Measured

        found = [metrics.details.get(column, [None] * len(names)) for column in columns]
        cells = [[one and Measured(**one) for one in column] for column in found]
        return cls((what, *columns), [(name, *row) for name, *row in zip(names, *cells, strict=True)])
