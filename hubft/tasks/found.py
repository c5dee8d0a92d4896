"""What a user's columns mean, found from what stands in them. Without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.tasks import cells, rectangles

if TYPE_CHECKING:
    from hubft.job import Labels
    from hubft.tasks.task import Column

FEW = 20  # different whole numbers up to which they are taken as classes, if each recurs
BETWEEN = {" ": "a blank", ",": "a comma", ";": "a semicolon", "|": "a bar"}


def kind(columns: Sequence[Column], labels: Labels) -> tuple[str, str]:
    """Return the kind of task that columns state, and a sentence of how they were taken where that may surprise.

    :raises DataError: what the user said of them does not fit their number, or each other.
    """
    found, note = (labels.task, "") if labels.task != "auto" else _found(columns, labels)
    _check(found, columns, labels)
    return found, note


def _found(columns: Sequence[Column], labels: Labels) -> tuple[str, str]:
    if not columns:  # what is learned is in the inputs
        return "generation", ""
    if len(columns) == 1:
        said = bool(labels.separator or labels.empty)
        return ("multilabel", "") if said else _of_one(columns[0])
    named = listed([column.name for column in columns], 4)
    if all(cells.flag(value) is not None for column in columns for value in column.values):
        note = f"columns {named} hold 0 and 1, taken as labels; --task several gives each a head of its own"
        return "multilabel", note
    each = [_of_one(column) for column in columns]
    if all(found == "regression" for found, _ in each):
        return "regression", "; ".join(note for _, note in each if note)
    return "several", "; ".join(note for _, note in each if note)


def _check(found: str, columns: Sequence[Column], labels: Labels) -> None:
    if not columns and found != "generation":
        raise DataError(f"--task {found} learns labels, and no column of them is there: name one with --target")
    named = f"{len(columns)} columns are named, {listed([column.name for column in columns], 4)}"
    if found in ("classification", "boxes", "tokens") and len(columns) > 1:
        raise DataError(f"--task {found} takes one --target, and {named}: --task several gives each a head of its own")
    if found == "several" and len(columns) == 1:
        raise DataError(
            f"--task several takes more than one --target, and {quoted(columns[0].name)} alone is named: name another, "
            "or leave out --task"
        )
    option = "--separator" if labels.separator else "--empty" if labels.empty else ""
    single = found in ("classification", "regression", "boxes", "generation", "tokens")
    if option and (single or (found == "multilabel" and len(columns) > 1)):
        raise DataError(f"{option} is for one column with several labels a cell, and here the task is {found}")
    said = labels.separator
    if found == "several" and not any(said in cell for column in columns for cell in cells.texts(column) or [""]):
        raise DataError(f"--separator {quoted(said)} is in no cell: {named}")


def _of_one(column: Column) -> tuple[str, str]:
    """Return the kind of task that one column states, and how it was taken."""
    there = [value for value in column.values if not cells.blank(value)]
    where = f"column {quoted(column.name)}"
    if column.names and not any(isinstance(value, list | tuple) for value in there):
        return "classification", ""
    if there and all(cells.as_list(value) is not None for value in there):
        return "boxes" if any(rectangles.holds(value) for value in there) else "multilabel", ""
    if there and all(isinstance(value, str) and cells.COMMA.fullmatch(value.strip()) for value in there):
        return "regression", ""  # decimal commas, of which it says how they must be written
    if there and all(cells.number(value) is not None and not _is_code(value) for value in there):
        return _of_numbers([cells.number(value) or 0.0 for value in there], where)
    if between := cells.tells(column):
        note = f"{where} holds labels with {BETWEEN[between]} between them; --task classification takes a cell as one"
        return "multilabel", note
    return "classification", ""


def _is_code(value: object) -> bool:
    """Tell whether digits are a code, `007`, and no quantity."""
    text = value.strip().lstrip("+-") if isinstance(value, str) else ""
    return len(text) > 1 and text[0] == "0" and text.isdigit()


def _of_numbers(numbers: Sequence[float], where: str) -> tuple[str, str]:
    counts = Counter(numbers)
    if not all(number.is_integer() for number in counts):
        return "regression", ""
    if len(counts) <= FEW and min(counts.values()) > 1:
        if counts.keys() <= {0.0, 1.0}:
            return "classification", ""
        note = (
            f"{where} holds whole numbers, taken as {len(counts)} classes; --task regression takes them as quantities"
        )
        return "classification", note
    note = f"{where} holds whole numbers, taken as quantities; --task classification takes them as classes"
    return "regression", note
