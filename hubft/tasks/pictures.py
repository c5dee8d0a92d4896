"""Pictures of what a model reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from hubft.base.display import visible

COLOURED = 10  # curves that can be told apart
MAX_CELLS = 40  # classes up to which the matrix carries names; more could not be read


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Return the confusion matrix: a row a true class, shaded by the share of the row, counts in the cells."""
    n = len(classes)
    side = 2.4 + min(n, MAX_CELLS) * 0.42
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true")
    if n <= MAX_CELLS:
        labels = [visible(name, 24) for name in classes]
        axes.set_xticks(range(n), labels, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(range(n), labels, parse_math=False)
        for i, row in enumerate(matrix):
            for j, count in enumerate(row):
                if count:
                    axes.text(
                        j, i, str(count), ha="center", va="center", color="white" if shares[i][j] > 0.5 else "black"
                    )
    return figure


def histogram(values: Sequence[float], what: str, of: str) -> Figure:
    """Return how often values lie where, each counted once.

    :param what: they are, with their unit.
    :param of: they are of, in the plural.
    """
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(values, bins="auto" if len(values) > 1 else 1)
    axes.set(xlabel=what, ylabel=of)
    axes.grid(axis="y", alpha=0.3)
    return figure


def bars(
    found: Sequence[Mapping[str, Any] | None],
    labels: Sequence[str],
    support: Sequence[int],
    what: str = "average precision",
) -> Figure:
    """Return a number of each label, from 0 to 1, as a bar, with its interval: the first MAX_CELLS.

    :param support: samples that have the label, shown beside its name.
    :param what: the number is.
    """
    shown = list(zip(found, labels, support, strict=True))[:MAX_CELLS]
    figure = Figure(figsize=(6.4, 1.2 + 0.26 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, (one, _, _) in enumerate(shown):
        if one is not None:
            axes.barh(place, one["value"], color="tab:blue", alpha=0.7)
            if one["low"] is not None:
                axes.plot((one["low"], one["high"]), (place, place), color="black", linewidth=1)
    names = [f"{visible(label, 24)} ({count:,})" for _, label, count in shown]
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), xlabel=f"{what}, and its 95 % interval")
    return figure


def curves(found: Sequence[Sequence[float] | None], labels: Sequence[str]) -> Figure:
    """Return the precision of each class over recall, at 0, 0.01, ..., 1: the first COLOURED with their names, the
    others in grey.

    :param found: of each class, None where it has no object.
    """
    # A blank begins a name: matplotlib hides a line whose label begins with an underscore.
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for place, (line, label) in enumerate(zip(found, labels, strict=True)):
        if line is not None:
            recall = [step / (len(line) - 1) for step in range(len(line))]
            named = {"label": f" {visible(label, 24)}"} if place < COLOURED else {"color": "lightgrey", "zorder": 0}
            axes.plot(recall, line, **named)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision, IoU 0.5")
    axes.grid(alpha=0.3)
    if any(line is not None for line in found[:COLOURED]):
        for text in axes.legend(loc="lower left", fontsize="small").get_texts():
            text.set_parse_math(False)
    return figure


def scatter(points: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Return predictions against the truth, with the line on which they agree: a square for each column.

    :param points: column -> pairs of truth and prediction; the first nine columns are shown.
    """
    shown = list(points.items())[:9]
    wide = min(3, max(1, len(shown)))
    high = max(1, -(-len(shown) // wide))
    figure = Figure(figsize=(4.8 * wide, 4.8 * high), layout="constrained")
    for place, axes in enumerate(figure.subplots(high, wide, squeeze=False).flat):
        if place >= len(shown):
            axes.set_axis_off()
            continue
        name, pairs = shown[place]
        axes.set_title(visible(name, 40), parse_math=False)
        axes.set(xlabel="true", ylabel="predicted")
        if pairs:
            truth, said = zip(*pairs, strict=True)
            axes.axline((truth[0], truth[0]), slope=1, color="black", linewidth=1)
            axes.scatter(truth, said, s=8, alpha=0.5, linewidths=0)
    return figure
