"""The figures of a sweep: a line a trial over the options that were tried, and what explains their differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from hubft.base.display import visible
from hubft.choosing.rows import worth
from hubft.choosing.space import Axis
from hubft.report.charts import SIZE
from hubft.tasks.metrics import number, title

if TYPE_CHECKING:
    from hubft.choosing.swept import Row, Swept


def importance(shares: Mapping[str, float]) -> Figure:
    """Return the shares as bars, the largest on top."""
    figure = Figure(figsize=(SIZE[0], 0.9 + 0.35 * max(1, len(shares))), layout="constrained")
    plot = figure.subplots()
    plot.barh(range(len(shares)), list(shares.values()), color="C0", height=0.6)
    plot.set_yticks(range(len(shares)), [visible(name.replace("_", "-"), 24) for name in shares], parse_math=False)
    plot.set(xlim=(0, 1), ylim=(max(1, len(shares)) - 0.5, -0.5), xlabel="share of the differences that it explains")
    return figure


def parallel(found: Swept) -> Figure:
    """Return parallel coordinates: an upright for each option and one for the headline, and a line for each trial that
    came to its end, the best one thick; Inselberg 1985, https://doi.org/10.1007/BF01898350."""
    ended = [row for row in found.rows if row.number is not None and row.done.score]
    scores = [row.done.score.value for row in ended if row.done.score]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    figure = Figure(figsize=(max(SIZE[0], 1.5 * (len(found.space) + 1)), 3.4), layout="constrained")
    plot = figure.subplots()
    for row in reversed(ended):
        assert row.done.score
        ys = [height(axis, row.options[axis.name]) for axis in found.space]
        last = (row.done.score.value - low) / (high - low) if high > low else 0.5
        best = row is ended[0]
        look: dict[str, Any] = {"color": "C1", "linewidth": 2.4} if best else {"color": "C0", "linewidth": 1.1}
        plot.plot(range(len(ys) + 1), [*ys, last], alpha=1.0 if best else _shade(row, ended), **look)
    for place, axis in enumerate(found.space):
        ticks = list(axis.texts) or [f"{axis.low:g}", f"{axis.high:g}"]
        _upright(plot, place, {visible(text or "none", 16): height(axis, text) for text in ticks})
    _upright(plot, len(found.space), {number(low): 0.0, number(high): 1.0} if high > low else {number(low): 0.5})
    names = [axis.name.replace("_", "-") for axis in found.space] + [title(found.facts["headline"])]
    plot.set_xticks(range(len(names)), [visible(name, 20) for name in names], parse_math=False)
    plot.set(yticks=[], ylim=(-0.08, 1.08), xlim=(-0.25, len(names) - 0.5))
    plot.spines[["left", "bottom"]].set_visible(False)
    plot.tick_params(axis="x", length=0)
    return figure


def height(axis: Axis, text: str) -> float:
    """Return where a value of an option lies on its upright, from 0 to 1."""
    if axis.texts:
        return axis.texts.index(text) / (len(axis.texts) - 1)
    value, low, high = (math.log(one) if axis.by_tenfold else one for one in (float(text), axis.low, axis.high))
    return float((value - low) / (high - low))


def _shade(row: Row, ended: list[Row]) -> float:
    """Return how strong a line is: the better half of the trials stands out."""
    half = sorted((worth(one.done.score) for one in ended if one.done.score), reverse=True)[(len(ended) - 1) // 2]
    return 0.7 if row.done.score and worth(row.done.score) >= half else 0.25


def _upright(plot: Any, place: int, ticks: Mapping[str, float]) -> None:
    plot.plot((place, place), (0, 1), color="grey", linewidth=1)
    for text, at in ticks.items():
        plot.text(place + 0.04, at, text, fontsize="small", verticalalignment="center", parse_math=False)
