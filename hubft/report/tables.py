"""Tables of a page: of what was measured, of single classes, of which class was taken for which. Every number of them
is linked to where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from hubft.base.display import visible
from hubft.report.documents import Documents, Steps, shown
from hubft.tasks import joined
from hubft.tasks.metrics import Measured, Metrics, title
from hubft.tasks.several import Several
from hubft.tasks.task import Task

RESULTS = "results"
CELLS = 24  # classes up to which the whole matrix is shown; of more, those with the most mistakes
PAIRS = 12  # of classes that are confused
ROWS = 1000  # of a table of classes
NOTHING = "nothing"


class Cell(NamedTuple):
    """A cell of a table that sorts."""

    key: float | str
    """By which it is sorted; numbers before texts."""
    text: Markup | str


class Sortable(NamedTuple):
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What was measured of one head; of a task that has one, all of it."""

    name: str
    task: Task
    metrics: Metrics
    path: Steps
    """Where the metrics stand in the results."""


def parts(task: Task, metrics: Metrics) -> list[Part]:
    """Return the heads of a task with what was measured of each."""
    if not isinstance(task, Several):
        return [Part("", task, metrics, ("metrics",))]
    heads = joined.of_heads(metrics)
    return [
        Part(name, task.tasks[name], own, ("metrics", "heads", place, "metrics"))
        for place, (name, own) in enumerate(heads.items())
    ]


def measured(known: Documents, columns: Mapping[str, Steps]) -> Sortable:
    """Return all that was measured, a row a metric and a column a model or a part of the data.

    :param columns: title -> where its metrics stand in the results.
    """
    found = {column: known.get(RESULTS, *path) for column, path in columns.items()}
    there = {column: its for column, its in found.items() if its}
    first = next(iter(there.values()))
    names = [name for name, one in first.items() if isinstance(one, Mapping) and "value" in one]
    rows = []
    for name in [*names, "loss"]:
        cells = [known.number(RESULTS, *columns[column], name) for column in there]
        rows.append([Cell(name, visible(title(name))), *(Cell(0.0, cell) for cell in cells)])
    return Sortable(("metric, 95 % interval", *there), rows)


def classes(known: Documents, part: Part) -> Iterator[Sortable]:
    """Yield the tables of single classes, labels or columns of a head."""
    for table in part.task.tables(part.metrics):
        rows = [
            [_cell(known, part, table.columns, place, row, column) for column in range(len(row))]
            for place, row in enumerate(table.rows[:ROWS])
        ]
        more = len(table.rows) - ROWS
        note = f"{more:,} more are in results.json" if more > 0 else ""
        yield Sortable([visible(title(column), 60) for column in table.columns], rows, note)


def _cell(known: Documents, part: Part, columns: Sequence[str], place: int, row: Sequence[Any], column: int) -> Cell:
    value, name = row[column], columns[column]
    if value is None:
        return Cell(-1.0, "-")
    path = _place(known, part, name, place, value) if column else None
    if isinstance(value, Measured):
        text = known.measured(value, RESULTS, *path) if path else str(value)
        return Cell(value.value, text)
    number = isinstance(value, int | float)
    text = shown(value) if number else visible(str(value))
    key = value if number else float(value) if path else str(value)
    return Cell(key, known.link(text, RESULTS, *path) if path else text)


def _place(known: Documents, part: Part, name: str, row: int, value: Any) -> Steps | None:
    """Return where a number of a table of classes stands in the results; None where it does not.

    :param name: of its column.
    :param row: number of its row, in the order of the names.
    """
    if name == "samples" and "confusion" in part.metrics.details:
        return (*part.path, "confusion", row)  # of which it is the sum
    for path in ((name, row), (f"{name}_of_labels", row), (f"{name}s", row), ("by_column", row, name)):
        found = known.get(RESULTS, *part.path, *path)
        if isinstance(found, Mapping) and isinstance(value, Measured) and found.get("value") == value.value:
            return (*part.path, *path)
        if isinstance(found, int | float) and (found == value or f"{found:.3f}" == value):
            return (*part.path, *path)
    return None


def counts(known: Documents, task: Task) -> Sortable:
    """Return how many samples of each class each part of the data has; no rows where samples are of no classes."""
    found = known.get("facts", "data", "parts") or {}
    there = [part for part, its in found.items() if "counts" in its]
    path = ("data", "parts")
    rows = [
        [Cell(name, visible(name, 60))]
        + [_of_part(known, (*path, part, "counts", place), found[part]["counts"][place]) for part in there]
        for place, name in enumerate(task.names[:ROWS] if there else ())
    ]
    return Sortable((task.word, *there), rows)


def _of_part(known: Documents, path: Steps, number: int) -> Cell:
    return Cell(number, known.number("facts", *path))


class Pair(NamedTuple):
    """Two classes, of which one was taken for the other."""

    true: str
    said: str
    times: Markup
    share: str
    """Of the samples of the true class."""


class Matrix(NamedTuple):
    """Which class was taken for which."""

    pairs: Sequence[Pair]
    """The most confused first."""
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[Markup, int]]]]
    """True class, and of each class that was said the count and the share in percent."""
    note: str


def confusion(known: Documents, part: Part) -> Matrix | None:
    """Return the confusion of a head, the most confused pairs first; None where a task has none."""
    counts = part.metrics.details.get("confusion")
    if not counts:
        return None
    names = [visible(name, 40) for name in part.task.names] + [NOTHING] * (len(counts) - len(part.task.names))
    path, totals = (*part.path, "confusion"), [max(1, sum(row)) for row in counts]
    wrong = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if count and i != j]
    wrong.sort(key=lambda one: (-one[0], -one[0] / totals[one[1]], one[1:]))
    pairs = [
        Pair(names[i], names[j], known.link(f"{count:,}", RESULTS, *path, i, j), f"{count / totals[i]:.0%}")
        for count, i, j in wrong[:PAIRS]
    ]
    mistakes = [0] * len(counts)
    for count, i, j in wrong:
        mistakes[i] += count
        mistakes[j] += count
    worst = sorted(range(len(counts)), key=lambda place: -mistakes[place])[:CELLS]
    kept = sorted(worst)
    rows = [
        (names[i], [(_count(known, path, counts[i][j], i, j), round(100 * counts[i][j] / totals[i])) for j in kept])
        for i in kept
    ]
    note = f"The {CELLS} of {len(counts):,} classes with the most mistakes" if len(counts) > CELLS else ""
    return Matrix(pairs, [names[j] for j in kept], rows, note)


def _count(known: Documents, path: Steps, count: int, i: int, j: int) -> Markup:
    return known.link(f"{count:,}", RESULTS, *path, i, j) if count else Markup("")
