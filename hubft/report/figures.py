"""The report of a run: curves and the pictures of its task as PNG, all numbers as JSON."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hubft.base.files import write_bytes, write_json
from hubft.run.folder import RESULTS_FILE
from hubft.tasks.metrics import Measured, Metrics, title
from hubft.tasks.task import Task

MAX_MARKED = 12  # epochs up to which each has a mark and a bar of its own
DPI = 120


def write(
    folder: Path, history: Sequence[dict[str, Any]], task: Task, results: dict[str, Any], metrics: Metrics
) -> list[Path]:
    """Write results.json, curves.png, beside.png where there was a teacher, and the task's pictures into `folder`;
    return the files of these.

    :param results: what results.json holds, JSON types.
    :param metrics: of the packaged model, which the pictures show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS_FILE, results)
    if history:
        draw(curves(history, metrics.headline, results.get("probe")), folder / "curves.png")
    if results.get("beside"):
        draw(beside(results["beside"], metrics), folder / "beside.png")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in a script that the font lacks: boxes
        drawn = task.figures(metrics)
        for name, figure in drawn.items():
            draw(figure, folder / name)
    return [folder / name for name in drawn]


def draw(figure: Figure, path: Path) -> None:
    """Write a picture as PNG."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=DPI)
    write_bytes(path, drawn.getvalue())


def curves(history: Sequence[dict[str, Any]], headline: str, probe: dict[str, Any] | None = None) -> Figure:
    """Return loss and headline over the epochs, this with its 95 % interval, and the probe they start from."""
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses(left, history, headline, probe)
    headlines(right, history, headline, probe)
    return figure


def losses(axes: Axes, history: Sequence[dict[str, Any]], headline: str, probe: dict[str, Any] | None) -> None:
    """Draw the losses of training and validation over the epochs."""
    epochs = [line["epoch"] for line in history]
    marker = "o" if len(epochs) <= MAX_MARKED else ""
    axes.plot(epochs, [line["loss"] for line in history], marker=marker, label="training")
    axes.plot(epochs, [line["val_loss"] for line in history], marker=marker, label="validation")
    if probe:
        axes.axhline(probe["loss"], color="grey", linestyle="--", label="probe, validation")
    axes.set(xlabel="epoch", ylabel="loss")
    _over_epochs(axes, epochs)
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])


def headlines(axes: Axes, history: Sequence[dict[str, Any]], headline: str, probe: dict[str, Any] | None) -> None:
    """Draw the headline over the epochs with its 95 % interval."""
    epochs = [line["epoch"] for line in history]
    reached = [Measured(**line[headline]) for line in history]
    values = [one.value for one in reached]
    low = [one.value if one.low is None else one.low for one in reached]
    high = [one.value if one.high is None else one.high for one in reached]
    if len(epochs) > MAX_MARKED:  # bars would run into one another
        axes.plot(epochs, values, color="C1", label="validation")
        axes.fill_between(epochs, low, high, color="C1", alpha=0.2, label="95 % interval")
    else:
        label = "validation" if low == high else "validation, 95 % interval"
        bars = [[v - b for v, b in zip(values, low, strict=True)], [a - v for v, a in zip(values, high, strict=True)]]
        axes.errorbar(epochs, values, bars, marker="o", capsize=3, color="C1", label=label)
    if probe:
        axes.axhline(probe[headline]["value"], color="grey", linestyle="--", label="probe")
    axes.set(xlabel="epoch", ylabel=title(headline))
    _over_epochs(axes, epochs)


def _over_epochs(axes: Axes, epochs: Sequence[int]) -> None:
    axes.margins(y=0.08)  # so that a mark at the edge is whole
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)  # whole epochs, also where there is one
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")


def beside(found: dict[str, Any], metrics: Metrics) -> Figure:
    """Return the headline of a model beside that of its teacher and of the same model without it, each with its 95 %
    interval, and what is known of the difference.

    :param found: what `Beside.plain` gave.
    """
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    models = {"with the teacher": metrics.plain(), "without": found["without"], "the teacher": found["teacher"]}
    for place, (name, its) in enumerate(models.items()):
        if its:
            one = Measured(**its[metrics.headline])
            low, high = (one.value if end is None else end for end in (one.low, one.high))
            axes.errorbar(one.value, place, xerr=[[one.value - low], [high - one.value]], marker="o", capsize=3)
        else:
            axes.annotate(f"not trained: {name}", (0.02, place), xycoords=("axes fraction", "data"), va="center")
    axes.set_yticks(range(len(models)), list(models))
    axes.set(ylim=(-0.5, len(models) - 0.5), xlabel=f"{title(metrics.headline)}, 95 % interval")
    difference = found["difference"] and Measured(**found["difference"])
    told = f"higher by {difference} on the same samples" if difference else f"no difference measured: {found['note']}"
    axes.set_title(told, fontsize="small")
    axes.grid(axis="x", alpha=0.3)
    return figure
