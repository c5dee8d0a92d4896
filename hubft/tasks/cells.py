"""What stands in a cell: labels with something between them, a list, 0 or 1, a number. Without torch."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hubft.base.display import quoted
from hubft.base.errors import DataError

if TYPE_CHECKING:
    from hubft.tasks.task import Column

SEPARATORS = (";", "|", ",")
FLAGS = {"0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0}
GAPS = ("", "-1", "-1.0", "nan", "na", "n/a")  # of a column of 0 and 1, where none of these can be a name
GAP = math.nan
TOLD = 1e-6  # of a number: less apart, two of them are one in single precision
LARGEST = 1e30  # of a number to learn: its square is not far from what single precision holds
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)  # a number with a decimal comma
THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
NOT_FINITE = ("nan", "inf", "infinity")
ITEM = r"""(?:'([^'\\]*)'|"([^"\\]*)")"""
PYTHON_LIST = re.compile(rf"\[\s*{ITEM}(?:\s*,\s*{ITEM})*\s*\]")  # `['a', 'b']`, as pandas writes a list into CSV


def blank(value: Any) -> bool:
    """Tell whether a cell is empty."""
    return value is None or (isinstance(value, str) and not value.strip())


# ---- several labels in one cell ----


def as_list(value: Any) -> list[Any] | None:
    """Return the list that a cell is, or that its text writes down; None where it is no list."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return None
    text = value.strip()
    if PYTHON_LIST.fullmatch(text):
        return [single or double for single, double in re.findall(ITEM, text)]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def labels(value: Any, separator: str) -> list[Any]:
    """Return the labels in a cell that is not empty; what is empty between two separators is none.

    :raises DataError: a list of lists, or of objects.
    """
    found = as_list(value)
    if found is None:
        found = list(split(value, separator)) if isinstance(value, str) else [value]
    for one in found:
        if isinstance(one, list | dict):
            raise DataError(f"a label must be a text or a number, and {quoted(str(one))} is neither")
    return [one for one in found if not blank(one)]


def split(text: str, separator: str) -> Iterable[str]:
    """Return the pieces of a text, without blanks around them and without empty ones."""
    if not separator:
        return (text.strip(),)
    pieces = text.split() if separator.isspace() else map(str.strip, text.split(separator))
    return filter(None, pieces)


def texts(column: Column) -> list[str]:
    """Return the cells of a column that are texts and write down no list; empty ones are left out."""
    return [value for value in column.values if isinstance(value, str) and not blank(value) and as_list(value) is None]


def separator(column: Column, said: str) -> str:
    """Return what stands between the labels of a cell; nothing where each cell has one label, or is a list.

    :param said: by the user, or nothing: then it is found among `;`, `|` and `,`, and a blank where each piece recurs.
    :raises DataError: more than one of them is there, or what was said is nowhere.
    """
    cells, where = texts(column), f"column {quoted(column.name)}"
    if said:
        if cells and not any(said in cell for cell in cells):
            raise DataError(
                f"{where} has no {quoted(said)} in any cell, as the first shows: {quoted(cells[0])}; "
                "leave out --separator, or name what stands between the labels"
            )
        return said
    there = {one: sum(one in cell for cell in cells) for one in SEPARATORS if any(one in cell for cell in cells)}
    if len(there) > 1:
        counted = " and ".join(f"{quoted(one)} in {number:,}" for one, number in there.items())
        example = next(cell for cell in cells if [one for one in there if one in cell][-1:] == [[*there][-1]])
        raise DataError(
            f"{where} has mixed separators, {counted} cells, as in {quoted(example)}: say which one stands between "
            f"labels, as --separator {quoted(max(there, key=lambda one: there[one]))}"
        )
    if there:
        return next(iter(there))
    return " " if _spaced(cells, alone=0) else ""


def tells(column: Column) -> str:
    """Return the separator by which a column clearly has several labels a cell; nothing where it has not.

    That is one whose pieces recur in other cells: names with a comma, `crane, hoist`, have pieces of their own. Blanks
    are within names too, `dark red` and `dark blue`: there half of the pieces must stand alone in a cell as well.
    """
    cells = texts(column)
    for one in SEPARATORS:
        counts = _spread(cells, one)
        pieces = {piece for cell in cells if one in cell for piece in split(cell, one)}
        if pieces and 2 * sum(counts[piece] > 1 for piece in pieces) >= len(pieces):
            return one
    return " " if _spaced(cells, alone=0.5) else ""


def _spread(cells: Iterable[str], separator: str) -> Counter[str]:
    """Return in how many different cells each piece is."""
    return Counter(piece for cell in set(cells) for piece in set(split(cell, separator)))


def _spaced(cells: Sequence[str], alone: float) -> bool:
    different = {cell.strip() for cell in cells}
    if not any(" " in cell for cell in different):
        return False
    counts = _spread(different, " ")
    return min(counts.values()) > 1 and sum(piece in different for piece in counts) >= alone * len(counts)


# ---- 0 or 1 ----


def flag(value: Any) -> float | None:
    """Return 1.0 or 0.0, NaN for a gap, and None for what is none of these."""
    if value is None:
        return GAP
    if isinstance(value, str):
        text = value.strip().casefold()
        return GAP if text in GAPS else FLAGS.get(text)
    if isinstance(value, int | float):
        return float(value) if value in (0, 1) else GAP if value == -1 or value != value else None
    return None


# ---- numbers ----


def number(value: Any) -> float | None:
    """Return what a cell holds as a number, NaN and the infinite ones too; None where it holds none."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if NUMBER.fullmatch(text) or text.lower().lstrip("+-") in NOT_FINITE else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of JSON may have any length
        return math.inf


def quantity(value: Any, column: str) -> float:
    """Return the number to learn in a cell; NaN for a gap.

    :raises DataError: something else.
    """
    if blank(value):
        return GAP
    found, where = number(value), f"column {quoted(column)} has {quoted(str(value))}"
    if found is None:
        text = str(value).strip()
        hint = ""
        if THOUSANDS.fullmatch(text):
            hint = f": write {text.replace(',', '')}, without a comma (or with a point, where it is the decimal one)"
        elif COMMA.fullmatch(text):
            hint = (
                f": write {text.replace(',', '.')}, with a point (or give --task multilabel, if labels stand around "
                "the comma)"
            )
        raise DataError(f"{where}, which is no number{hint}")
    if not math.isfinite(found):
        raise DataError(f"{where}, which cannot be learned: leave the cell empty where the number is not known")
    if abs(found) > LARGEST:
        raise DataError(f"{where}, which is beyond {LARGEST:.0e}: give it in another unit, or its logarithm")
    return found


def spread(there: Sequence[float], column: str) -> tuple[float, float]:
    """Return mean and deviation of the numbers of a column in the rows to train on.

    :raises DataError: none, all the same, or too near to each other to be told apart.
    """
    where = f"column {quoted(column)}"
    if not there:
        raise DataError(f"{where} has no number in any row to train on: there is nothing to learn")
    middle = math.fsum(there) / len(there)
    deviation = math.sqrt(math.fsum((value - middle) ** 2 for value in there) / len(there))
    if max(there) == min(there):
        raise DataError(f"{where} is {short(middle)} in every row to train on: there is nothing to learn")
    if deviation < TOLD * abs(middle) or deviation < 1 / LARGEST:
        raise DataError(
            f"{where} is {short(middle)} give or take {deviation:.2g}, too near to be told apart in single "
            "precision: subtract what they have in common, or give another unit"
        )
    return middle, deviation


def short(value: float) -> str:
    """Return a number in five digits: 12.3, 250000, 1.2e-07."""
    return f"{float(f'{value:.5g}'):.12g}"


def stated_flag(value: Any, column: str) -> float:
    """Return what a cell of a column of 0 and 1 says, NaN for a gap.

    :raises DataError: something else.
    """
    if (found := flag(value)) is None:
        raise DataError(
            f"column {quoted(column)} has {quoted(str(value))}: with several columns of labels each holds 0 or 1, or "
            "nothing where it is not known; --task several gives each column a head of its own"
        )
    return found


def flags(column: Column) -> list[float]:
    """Return what a column of 0 and 1 says.

    :raises DataError: the same in every row.
    """
    found = [stated_flag(value, column.name) for value in column.values]
    counts = Counter(value for value in found if value == value)
    if len(counts) < 2:
        same = f"is {next(iter(counts)):.0f} in every row" if counts else "says of no row whether it has the label"
        raise DataError(f"column {quoted(column.name)} {same}: there is nothing to tell apart, leave it out")
    return found
