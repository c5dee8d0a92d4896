"""Pictures of what a model reached."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from hubft.base.display import visible

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
