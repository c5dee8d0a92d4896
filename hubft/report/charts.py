"""Charts of a page: matplotlib's figures as SVG within the page, its text selectable, its colours the page's own.

matplotlib is kept, and hubft depends on it anyway: its figures stand on the card and in notebooks too. It writes SVG
whose text is text; colours that it was given are replaced by variables of the page's style, for light, dark and paper.
Libraries of charts that run in the page (plotly, vega) bring megabytes of script for what does not move here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hubft.base.display import visible
from hubft.report import figures
from hubft.tasks.metrics import Measured, title

COLOURS = {
    "#000000": "--ink",
    "#ffffff": "--paper",
    "#1f77b4": "--c0",
    "#ff7f0e": "--c1",
    "#2ca02c": "--c2",
    "#d62728": "--c3",
    "#9467bd": "--c4",
    "#808080": "--muted",
    "#b0b0b0": "--line",
    "#cccccc": "--line",
    "#d3d3d3": "--line",
}
"""Of matplotlib's -> variables of the style: its default colours, which the figures of tasks have."""
SIZE = (4.3, 3.0)  # inches of a chart, so that its letters can be read on a phone
SETTINGS: Any = {"svg.fonttype": "none", "svg.image_inline": True, "font.size": 10}


def svg(figure: Figure, label: str) -> Markup:
    """Return a figure as SVG for a page, on no ground, with its text as text.

    :param label: what it shows, for who cannot see it.
    """
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
    drawn = StringIO()
    # Names of clip paths are digests of their shape and of this salt: those of two figures of a page must differ.
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's fonts may have it
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[A-Za-z0-9]+_\d+"', "", text)  # names of parts, the same in every figure
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
    for colour, variable in COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    width, height = (float(size) for size in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0])
    head = f'<svg role="img" aria-label="{Markup.escape(label)}" viewBox="0 0 {width:g} {height:g}"'
    head += f' style="min-width:{min(width, 420):.0f}px"' if width > 1.3 * 72 * SIZE[0] else ""
    return Markup(re.sub(r"<svg[^>]*>", head.replace("\\", r"\\") + ">", text, count=1))


def curves(history: Sequence[dict[str, Any]], headline: str, probe: dict[str, Any] | None) -> list[Markup]:
    """Return loss and headline over the epochs, a chart each."""
    found = []
    for name, draw in (("loss", figures.losses), (title(headline), figures.headlines)):
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.subplots(), history, headline, probe or None)
        found.append(svg(figure, f"{visible(name)} over the epochs"))
    return found


def compared(reached: Mapping[str, Measured], name: str) -> Markup:
    """Return a number of several models, one below the other, each with its 95 % interval.

    :param reached: by what each model is called; the first is the one that the page is of.
    :param name: of the metric.
    """
    figure = Figure(figsize=(SIZE[0], 0.75 + 0.32 * len(reached)), layout="constrained")
    axes = figure.subplots()
    _intervals(axes, reached, lambda place: "grey" if place else "C0")
    axes.set_xlabel(f"{visible(title(name))}, 95 % interval")
    return svg(figure, f"{visible(title(name))} of the model beside others")


def apart(found: Mapping[str, Measured], name: str) -> Markup:
    """Return differences of a number to that of one other run, each with its 95 % interval, beside a line at 0.

    :param found: by the name of the run.
    """
    figure = Figure(figsize=(SIZE[0], 0.75 + 0.32 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="grey", linestyle="--", linewidth=1)
    _intervals(axes, found, lambda place: "C0")
    axes.set_xlabel(f"difference of {visible(title(name))}, 95 % interval")
    return svg(figure, f"difference of {visible(title(name))} to the first run")


def _intervals(axes: Axes, found: Mapping[str, Measured], colour: Callable[[int], str]) -> None:
    """Draw numbers with their intervals, one below the other."""
    for place, one in enumerate(found.values()):
        low, high = (one.value if end is None else end for end in (one.low, one.high))
        strong = colour(place) != "grey"
        axes.plot((low, high), (place, place), color=colour(place), linewidth=2.2 if strong else 1.4)
        axes.plot(one.value, place, "o", color=colour(place), markersize=7 if strong else 5)
    axes.set_yticks(range(len(found)), [visible(label, 32) for label in found], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.margins(x=0.06)
    axes.grid(axis="x", alpha=0.3)
