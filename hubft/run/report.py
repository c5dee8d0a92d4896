"""The report of a run: curves and confusion matrix as PNG, all numbers as JSON."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hubft.base.display import visible
from hubft.base.files import write_bytes, write_json

MATRIX = "confusion.png"
MAX_MARKED = 12  # epochs up to which each has a mark and a bar of its own
MAX_CELLS = 40  # classes up to which the matrix carries names; more could not be read


def write(folder: Path, history: Sequence[dict[str, Any]], classes: Sequence[str], results: dict[str, Any]) -> None:
    """Write results.json, curves.png and confusion.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", {"classes": list(classes), **results})
    if history:
        _draw(curves(history, results.get("probe")), folder / "curves.png")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in a script that the font lacks: boxes
        _draw(confusion(results["metrics"]["confusion"], classes), folder / MATRIX)


def _draw(figure: Figure, path: Path) -> None:
    drawn = BytesIO()
    figure.savefig(drawn, dpi=120)
    write_bytes(path, drawn.getvalue())


def curves(history: Sequence[dict[str, Any]], probe: dict[str, Any] | None = None) -> Figure:
    """Return loss and accuracy over the epochs, the accuracy with its 95 % interval, and the probe they start from."""
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    marker = "o" if len(epochs) <= MAX_MARKED else ""
    left.plot(epochs, [line["loss"] for line in history], marker=marker, label="training")
    left.plot(epochs, [line["val_loss"] for line in history], marker=marker, label="validation")
    left.set(xlabel="epoch", ylabel="cross entropy, nats")
    accuracy = [line["accuracy"] for line in history]
    shares = [a["value"] for a in accuracy]
    below = [a["value"] - a["low"] for a in accuracy]
    above = [a["high"] - a["value"] for a in accuracy]
    if len(epochs) > MAX_MARKED:  # bars would run into one another
        right.plot(epochs, shares, color="C1", label="validation")
        low, high = [a["low"] for a in accuracy], [a["high"] for a in accuracy]
        right.fill_between(epochs, low, high, color="C1", alpha=0.2, label="95 % interval")
    else:
        label = "validation, 95 % interval"
        right.errorbar(epochs, shares, (below, above), marker="o", capsize=3, color="C1", label=label)
    if probe:
        right.axhline(probe["accuracy"]["value"], color="grey", linestyle="--", label="probe")
        left.axhline(probe["loss"], color="grey", linestyle="--", label="probe, validation")
    right.set(xlabel="epoch", ylabel="accuracy")
    for axes in (left, right):
        axes.margins(y=0.08)  # so that a mark at the edge is whole
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)  # whole epochs, also where there is one
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")
    left.set_ylim(0, 1.05 * left.get_ylim()[1])
    return figure


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
