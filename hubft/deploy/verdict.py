"""What is worth shipping: a row for each candidate, what speaks against it, the table and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hubft.base.console import Console
from hubft.base.display import visible
from hubft.deploy.latency import Latency
from hubft.tasks.metrics import Measured, title
from hubft.tasks.paired import lost

BATCHES = (1, 32)  # samples at once
WORTH = 0.95  # of the first one's size or time: what saves less than a twentieth is told as no gain
WIDE = 6  # times the least latency: from there on marks of 1, 2 and 5 say more than even steps
MARKS = "osD^v"  # after ten colours the next


@dataclass(frozen=True)
class Row:
    """A candidate as it was measured; the first row is the package as it is."""

    name: str
    path: str = ""
    """The file, or the folder of the package, that can be shipped."""
    score: Measured | None = None
    """The task's headline on the samples."""
    difference: Measured | None = None
    """Of the headline to the first row's on the same samples, with the interval of a paired bootstrap; None for it."""
    agreement: float | None = None
    """Share of the samples for which it says what the first row says."""
    size: int = 0
    """Bytes of the weights, or of the file."""
    memory: int = 0
    """Most bytes that a fresh process held which loaded it and answered a batch of each size."""
    latency: Mapping[int, Latency] = field(default_factory=dict)
    """By samples in a batch."""
    failure: str = ""
    """Why there is no such file, in one line."""
    verdicts: tuple[str, ...] = ()
    """What a user should know before it is shipped; nothing, where it holds all that it promises."""


def judged(rows: Sequence[Row], max_drop: float) -> list[Row]:
    """Return the rows with their verdicts.

    :param max_drop: points of a hundred of the headline that a candidate may lose.
    """
    first, *others = rows
    return [first, *(replace(row, verdicts=tuple(_verdicts(row, first, max_drop))) for row in others)]


def _verdicts(row: Row, first: Row, max_drop: float) -> list[str]:
    if row.failure:
        return [row.failure]
    said = []
    if row.difference is not None and first.score is not None:
        worst = row.difference.low if row.difference.better == "higher" else row.difference.high
        points, at_most = (
            lost(replace(row.difference, value=value or 0.0), first.score) for value in (row.difference.value, worst)
        )
        if points > max_drop:
            said.append(f"fails the limit: {points:.1f} points lost, {max_drop:g} allowed")
        elif at_most > max_drop:
            said.append(f"holds the limit here, but the interval reaches {at_most:.1f} points lost")
    if row.size > WORTH * first.size:
        said.append("did not get smaller")
    if all(one.ratio < 1 / WORTH for one in row.latency.values()):
        said.append("did not get faster")
    return said


def show(console: Console, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """Print what the candidates say, what they cost, and a line for each.

    :param facts: of the machine and the data, as benchmark.json states them.
    """
    console.table(*answers(rows, facts["headline"]), title=f"on {facts['samples']:,} validation {facts['word']}s")
    sets = " ".join(facts["instruction_sets"])
    console.table(*costs(rows), title=f"{facts['timed']}; {facts['processor']}, {sets}; {facts['threads']} threads")
    for line in lines(rows):
        console.say(line)


def answers(rows: Sequence[Row], headline: str) -> tuple[list[str], list[list[object]]]:
    """Return the columns and rows of a table of what the candidates say."""
    columns = ["candidate", title(headline), "difference, points", "agrees"]
    there = [row for row in rows if not row.failure]
    return columns, [[row.name, str(row.score), signed(row.difference), _share(row.agreement)] for row in there]


def costs(rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """Return the same of what they cost."""
    columns = ["candidate", "MB", "memory, MB", *(f"ms for {batch}" for batch in BATCHES), "times as fast"]
    return columns, [_costs(row) for row in rows if not row.failure]


def _costs(row: Row) -> list[object]:
    took = [row.latency[batch] for batch in BATCHES]
    times = [f"{1e3 * one.median:.1f} [{1e3 * one.low:.1f}, {1e3 * one.high:.1f}]" for one in took]
    size, memory = map(_megabytes, (row.size, row.memory))
    return [row.name, size, memory, *times, ", ".join(f"{one.ratio:.2f}" for one in took)]


def lines(rows: Sequence[Row]) -> list[str]:
    """Return what is to be said of each candidate."""
    return [f"{row.name}: {'; '.join(row.verdicts) or 'holds all that was asked'}" for row in rows[1:]]


def _share(found: float | None) -> str:
    return "-" if found is None else f"{found:.1%}"


def signed(found: Measured | None) -> str:
    """Return a difference in points of a hundred: `-0.4 [-1.2, +0.3]`."""
    if found is None:
        return "-"
    ends = "" if found.low is None or found.high is None else f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{100 * found.value:+.1f}{ends}"


def picture(rows: Sequence[Row], headline: str) -> Figure:
    """Return the scores, with their intervals, against the latency of one sample; the area of a mark is the size.

    Names stand in a legend beside: marks of models that are as fast and as good lie on one another.
    """
    shown = [row for row in rows if row.score and row.latency]
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    largest, handles = max(row.size for row in shown), []
    for place, row in enumerate(shown):
        assert row.score is not None
        at, value, color = 1e3 * row.latency[1].median, row.score.value, f"C{place % 10}"
        low, high = (value if end is None else end for end in (row.score.low, row.score.high))
        axes.errorbar(at, value, [[value - low], [high - value]], color=color, capsize=3, alpha=0.5)
        look: dict[str, Any] = {"color": color, "marker": MARKS[place // 10 % len(MARKS)], "alpha": 0.6}
        axes.scatter(at, value, s=40 + 900 * row.size / largest, **look)
        name = f"{visible(row.name, 30)}, {_megabytes(row.size)} MB"
        handles.append(Line2D([], [], linestyle="", markersize=8, label=name, **look))
    axes.set(xlabel="latency of one sample, ms (median); area: size", ylabel=title(headline))
    scale(axes, [1e3 * row.latency[1].median for row in shown])
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    legend = axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def scale(axes: Any, values: Sequence[float]) -> None:
    """Have an axis of times grow by factors, with a number wherever there is room for one."""
    axes.set_xscale("log")
    wide = max(values) > WIDE * min(values)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}" if size >= 1e7 else f"{size / 1e6:.2g}"
