"""What a rank shows: tables, lines, and the picture of score against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from hubft.base.console import Console
from hubft.base.display import visible
from hubft.choosing.rows import Row, Standing
from hubft.deploy.verdict import MARKS, scale, signed
from hubft.tasks.metrics import title

COMPARED = ("to the best, points", "p", "behind")


def show(console: Console, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """Print the tables, and a line for each backbone of which something is missing."""
    name, where = title(facts["headline"]), f"{facts['samples']:,} validation {facts['word']}s"
    lines = [[row.reference, *_stands(row.probe, "none" if row.failure else "no probe")] for row in rows]
    console.table(["backbone", name, *COMPARED], lines, title=f"probes on {where}")
    costs = [[row.reference, *_costs(row)] for row in rows if not row.failure]
    machine = f"{facts['device']}, {facts['processor']}, {facts['threads']} threads"
    console.table(["backbone", "features, s", "ms for one", "parameters"], costs, title=machine)
    if tuned := [(row, one) for row in rows for one in row.rounds[-1:]]:
        trained = [[row.reference, one.round, one.epochs, *_stands(one.stands, "failed")] for row, one in tuned]
        how = f"fine-tunes, {facts['budget']} by {facts['bandit']}; each beside those of its last round"
        console.table(["backbone", "round", "epochs", name, *COMPARED], trained, title=how)
    for row in rows:
        if row.reason:
            console.say(f"{row.reference}: {row.reason}")
    console.say("note: differences are paired, on the same samples; p is corrected for all comparisons (Holm)")
    console.say(f"chance   {_told(rows)}")


def _told(rows: Sequence[Row]) -> str:
    """Return who is behind, in a sentence."""
    best, *others = [row for row in rows if row.stands]
    behind = [row.reference for row in others if row.stands and row.stands.behind]
    level = [row.reference for row in others if row.stands and not row.stands.behind]
    said = f"{best.reference} is first"
    said += f"; behind by more than chance: {', '.join(behind)}" if behind else "; none is behind by more than chance"
    return f"{said}; not told apart: {', '.join(level)}" if behind and level else said


def _stands(its: Standing | None, missing: str) -> list[object]:
    if its is None:
        return [missing, "-", "-", "-"]
    if its.difference is None:
        return [str(its.score), "-", "-", "-"]
    return [str(its.score), signed(its.difference), f"{its.chance:.3f}", "yes" if its.behind else "no"]


def _costs(row: Row) -> list[object]:
    took = row.latency
    times = f"{1e3 * took.median:.1f} [{1e3 * took.low:.1f}, {1e3 * took.high:.1f}]" if took else "-"
    features = "-" if row.unprobed else "cached" if row.features is None else f"{row.features:.1f}"
    return [features, times, f"{row.parameters / 1e6:.2f} M"]


def picture(rows: Sequence[Row], headline: str) -> Figure:
    """Return the scores, with their intervals, against the latency of one sample: of the probes, open marks, and of the
    fine-tunes, full ones."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    times = []
    for place, row in enumerate(row for row in rows if row.stands and row.latency):
        assert row.latency
        at, color, marker = 1e3 * row.latency.median, f"C{place % 10}", MARKS[place // 10 % len(MARKS)]
        times.append(at)
        tuned = next((one.stands for one in reversed(row.rounds) if one.stands), None)
        for its, face in ((row.probe, "white"), (tuned, color)):
            if its is None:
                continue
            value, name = its.score.value, visible(row.reference, 40) if its is row.stands else None
            low, high = (value if end is None else end for end in (its.score.low, its.score.high))
            bars = [[value - low], [high - value]]
            look: dict[str, Any] = {"color": color, "marker": marker, "markerfacecolor": face, "linestyle": ""}
            axes.errorbar(at, value, bars, capsize=3, label=name, **look)
    axes.set(xlabel="latency of one sample, ms (median)", ylabel=title(headline))
    axes.set_title("open: the probe; full: the fine-tune; bars: 95 % intervals", fontsize="small")
    if times:
        scale(axes, times)
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
        for text in legend.get_texts():
            text.set_parse_math(False)
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    return figure
