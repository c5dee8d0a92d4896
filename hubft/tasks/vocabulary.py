"""Names of classes and labels: from the values of a column, checked, found again. Without torch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hubft.base.display import listed, look_alike, quoted, unprintable
from hubft.base.errors import DataError, suggest
from hubft.tasks import cells

if TYPE_CHECKING:
    from hubft.tasks.task import Column

MOST = 100_000  # names; a head with more is asked for by mistake


def name(value: Any) -> str:
    """Return a cell's value as the name of a class: 3 and 3.0 are `3`."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def of(column: Column, found: Iterable[str], what: str, least: int = 2) -> tuple[str, ...]:
    """Return the names of a column in the order of the outputs: as the data says it, else sorted, numbers as numbers.

    :param found: the names that are there, each as often as it is there.
    :param what: they are: `class`, `label`.
    :param least: how many there must be; one can be told from nothing where samples need not have any.
    :raises DataError: fewer, all different, or some that cannot be told apart.
    """
    found = list(found)
    names = list(column.names) or sorted(set(found), key=_order)
    where = f"column {quoted(column.name)}"
    if not found:
        raise DataError(f"{where} has no {what} in any row: name another --target")
    if len(names) < least:
        raise DataError(f"{where} has one {what} only, {quoted(names[0])}: there is nothing to tell apart")
    if len(names) > MOST or (len(names) == len(found) > 8 and not column.names):
        raise DataError(
            f"{where} has {len(names):,} values, all different, as {listed(names, 3)}: that is no {what}; for numbers "
            "give --task regression, or name another --target"
        )
    for one in names:
        if problem := unprintable(one):
            raise DataError(f"{where}: the {what} {quoted(one)} {problem}")
    if twins := look_alike(names):
        raise DataError(f"{where}: two {what} names, {twins}: give them one name")
    return tuple(names)


def headers(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the names of columns that are names of outputs.

    :raises DataError: one that cannot be shown, or two that cannot be told apart.
    """
    names = tuple(column.name for column in columns)
    for one in names:
        if problem := unprintable(one):
            raise DataError(f"the name of column {quoted(one)} {problem}: rename it")
    if twins := look_alike(names):
        raise DataError(f"two columns, {twins}: rename one of them")
    return names


def _order(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def index(value: Any, names: Sequence[str], positions: dict[str, int], what: str) -> int | None:
    """Return the place of a value among the names; None for a gap, as -1 is where no name is called so.

    :param positions: of each name.
    :raises DataError: it is none of them; says which are known.
    """
    if cells.blank(value):
        return None
    exact = positions.get(value) if isinstance(value, str) else None  # the name of a folder may begin with a blank
    if (found := positions.get(name(value)) if exact is None else exact) is not None:
        return found
    if value == -1:
        return None
    if twins := look_alike([*names, name(value)]):
        raise DataError(f"unknown {what} {quoted(name(value))}; {twins}: give them one name")
    raise DataError(f"unknown {what} {quoted(name(value))}; known are {listed(names)}.{suggest(name(value), names)}")


def rarest_first(keys: Iterable[Hashable], counts: Sequence[int]) -> list[Hashable]:
    """Return strata that are indices into `counts`, those of few rows first."""
    return sorted(keys, key=lambda key: (counts[key] if counts else 0, key))  # type: ignore[call-overload]
