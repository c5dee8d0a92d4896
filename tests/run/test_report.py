"""The report: pictures that are pictures, whatever the classes are called, and all numbers as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from hubft.report import figures as report
from hubft.tasks import pictures
from hubft.tasks.classification import Classification
from hubft.tasks.metrics import Metrics, proportion

HOSTILE = ("a\nb", "\x1b[31mred", "$x^2$", "$\\frac{$", "w" * 10_000, "\u202egnp.exe", "", "图 🐶", "[red]x[/red]")
HOSTILE += ("\0", "\udcff", "o\u200bk", "\x9b31m", "\U000e0041", "_hidden", "twice", "twice")


def measured(classes: int) -> Metrics:
    targets = torch.arange(classes).repeat(2)
    outputs = torch.nn.functional.one_hot(targets.roll(1), classes).float()
    return Classification(tuple(map(str, range(classes)))).measure(outputs, targets)


def write(folder: Path, history: list[dict[str, Any]], names: Sequence[str], **more: Any) -> dict[str, Any]:
    """Write the report of a classifier, and return what its results are."""
    metrics = measured(len(names))
    results = {"classes": list(names), "metrics": metrics.plain(), "uncompressed": None, **more}
    drawn = report.write(folder, history, Classification(tuple(names)), results, metrics)
    assert drawn == [folder / "confusion.png"]
    return results


def line(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "loss": 1 / epoch,
        "val_loss": 1.2 / epoch,
        "accuracy": asdict(proportion(min(3 + epoch, 9), 10)),
    }


def picture(path: Path) -> numpy.ndarray:
    with Image.open(path) as image:
        return numpy.asarray(image.convert("RGB")).astype(int)


def inked(pixels: numpy.ndarray) -> float:
    """Return the share of the pixels that are not white."""
    return float((pixels.min(2) < 250).mean())


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_curves_are_drawn_for_any_number_of_epochs(tmp_path: Path, epochs: int) -> None:
    write(tmp_path, [line(epoch + 1) for epoch in range(epochs)], ("a", "b"))
    curves = picture(tmp_path / "curves.png")
    assert curves.shape[0] > 300 and curves.shape[1] > 2 * curves.shape[0]
    halves = curves[:, : curves.shape[1] // 2], curves[:, curves.shape[1] // 2 :]
    for half in halves:
        assert inked(half) > 0.01
        assert (half.max(2) - half.min(2) > 80).any(), "coloured points or lines"


@pytest.mark.parametrize("epochs", [1, 2, 12, 13, 30, 300])
@pytest.mark.parametrize("probe", [None, {"accuracy": asdict(proportion(9, 10)), "loss": 0.3}], ids=["", "probe"])
def test_curves_have_whole_epochs_and_a_legend_beside_their_points(epochs: int, probe: dict[str, Any] | None) -> None:
    figure = report.curves([line(epoch + 1) for epoch in range(epochs)], "accuracy", probe)
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks and all(tick == round(tick) and 1 <= tick <= epochs for tick in ticks)
        assert len(ticks) == epochs or len(ticks) > 5, "each of few epochs, or some of many"
        assert {tick.get_text() for tick in axes.get_xticklabels() if tick.get_text()} >= {str(round(ticks[0]))}
        legend = axes.get_legend()
        assert legend and len(legend.get_texts()) == len(axes.get_legend_handles_labels()[1]) > 0
        assert legend.get_window_extent().y0 >= axes.get_window_extent().y1, "above the axes, over no point"
        drawn = [y for shown in axes.lines for y in shown.get_ydata()]
        bottom, top = axes.get_ylim()
        assert bottom <= min(drawn) and max(drawn) < top - 0.02 * (top - bottom), "no mark is cut"


def test_curves_show_what_the_history_says() -> None:
    history = [line(1), line(2), line(3)]
    left: Any
    right: Any
    left, right = report.curves(history, "accuracy").axes
    shown = [list(drawn.get_ydata()) for drawn in left.lines]
    assert shown == [[h["loss"] for h in history], [h["val_loss"] for h in history]]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["training", "validation"]
    assert list(right.lines[0].get_ydata()) == [0.4, 0.5, 0.6] and list(right.lines[0].get_xdata()) == [1, 2, 3]
    ends = right.collections[0].get_datalim(right.transData)
    assert (ends.y0, ends.y1) == (history[0]["accuracy"]["low"], history[2]["accuracy"]["high"])


def test_without_history_there_are_no_curves(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "report", [], ("a", "b"))
    assert sorted(path.name for path in (tmp_path / "deep" / "report").iterdir()) == ["confusion.png", "results.json"]


@pytest.mark.parametrize("count", [2, pictures.MAX_CELLS, 300])
def test_confusion_is_drawn_for_any_number_of_classes(tmp_path: Path, count: int) -> None:
    write(tmp_path, [], [f"class {i}" for i in range(count)])
    pixels = picture(tmp_path / "confusion.png")
    assert min(pixels.shape[:2]) > 200 and max(pixels.shape[:2]) < 3000 and inked(pixels) > 0.02


def test_confusion_has_true_classes_down_and_counts_in_the_cells() -> None:
    figure = pictures.confusion([[3, 1], [0, 4]], ("ant", "bee"))
    axes: Any = figure.axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ant", "bee"]
    cells = {text.get_position(): text.get_text() for text in axes.texts}  # column, row
    assert cells == {(0, 0): "3", (1, 0): "1", (1, 1): "4"}
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]


def test_hostile_names_are_drawn_inert(tmp_path: Path) -> None:
    write(tmp_path, [line(1)], HOSTILE)
    pixels = picture(tmp_path / "confusion.png")
    assert max(pixels.shape) < 2000 and inked(pixels) > 0.02
    labels = pictures.confusion(measured(len(HOSTILE)).details["confusion"], HOSTILE).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels[:4]] == ["a\\nb", "\\x1b[31mred", "$x^2$", "$\\frac{$"]
    assert not any(label.get_parse_math() for label in labels)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text)["classes"] == list(HOSTILE)
    assert all(c.isprintable() or c == "\n" for c in text) and "图 🐶" in text


def test_all_numbers_are_in_results(tmp_path: Path) -> None:
    numbers = write(tmp_path, [], ("a", "b", "c"), quarantined={"a/b.gif": "the suffix"})
    assert json.loads((tmp_path / "results.json").read_text()) == numbers
    assert {"headline", "accuracy", "loss", "recall", "precision", "confusion"} <= numbers["metrics"].keys()


def test_a_report_is_written_anew(tmp_path: Path) -> None:
    for count in (2, 3):
        write(tmp_path, [line(1)], ["x"] * count)
    assert len(json.loads((tmp_path / "results.json").read_text())["classes"]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "curves.png", "results.json"]
