"""The curve of a range test: in the terminal, and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from hubft.choosing.rates import Curve
from hubft.tasks.metrics import number

WIDTH, HEIGHT = 60, 10  # characters
EIGHTHS = " ▁▂▃▄▅▆▇█"
HIGH = 3.0  # times the range up to the suggested rate's edge: what lies above is cut, else the rest would be flat


def drawn(curve: Curve) -> list[str]:
    """Return the smoothed loss over the rate as lines of block characters, the rates to be known below it."""
    values, top = _columns(curve)
    low = min(values)
    span = (top - low) or 1.0
    filled = [round(8 * HEIGHT * min(1.0, max(0.02, (value - low) / span))) for value in values]
    lines = []
    for row in reversed(range(HEIGHT)):
        bars = "".join(EIGHTHS[max(0, min(8, one - 8 * row))] for one in filled)
        label = number(top) if row == HEIGHT - 1 else number(low) if row == 0 else ""
        lines.append(f"{label:>9} │{bars}")
    marks = [" "] * WIDTH
    for rate, mark in ((curve.default, "d"), (curve.suggestion, "s"), (curve.edge, "e")):
        marks[_at(curve, rate)] = mark
    first, last = f"{curve.rates[0]:.0e}", f"{curve.rates[-1]:.0e}"
    lines += [f"{'':>9} └{''.join(marks).replace(' ', '─')}", f"{'':>11}{first}{last:>{WIDTH - len(first)}}"]
    return lines


def _at(curve: Curve, rate: float) -> int:
    """Return the column of a rate."""
    low, high = math.log(curve.rates[0]), math.log(curve.rates[-1])
    share = (math.log(rate) - low) / (high - low)
    return round((WIDTH - 1) * min(1.0, max(0.0, share)))


def _columns(curve: Curve) -> tuple[Sequence[float], float]:
    """Return the smoothed loss at each column, and where the picture ends above."""
    means = curve.smoothed
    values = [means[round(place * (len(means) - 1) / (WIDTH - 1))] for place in range(WIDTH)]
    calm = [mean for mean, rate in zip(means, curve.rates, strict=True) if rate <= curve.edge]
    return values, min(max(values), min(calm) + HIGH * max(max(calm) - min(calm), 0.1 * abs(min(calm)), 1e-6))


def picture(curve: Curve) -> Figure:
    """Return the loss of each step, its moving average, and the rates that are to be known."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="C0", alpha=0.3, label="loss of a batch")
    axes.plot(curve.rates, curve.smoothed, color="C0", label="its moving average")
    for rate, color, name in (
        (curve.edge, "grey", "the last that does no harm"),
        (curve.suggestion, "C1", "suggestion, a tenth of it"),
        (curve.default, "C2", "the recipe's own"),
    ):
        axes.axvline(rate, color=color, linestyle="--", label=f"{name}: {rate:.2g}")
    _, top = _columns(curve)
    low = min(curve.smoothed)
    axes.set(
        xscale="log",
        xlabel="learning rate of the head",
        ylabel="loss",
        ylim=(max(0.0, low - 0.5 * (top - low)) if low >= 0 else None, top + 0.5 * (top - low)),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
    return figure
