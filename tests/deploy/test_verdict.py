"""What the table of candidates says of each: the limit, the size, the time, and why a file is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.collections import PathCollection

from hubft.deploy import latency, verdict
from hubft.deploy.latency import Latency
from hubft.deploy.verdict import Row
from hubft.tasks.metrics import Measured


def took(ratio: float) -> Latency:
    return Latency(0.01 / ratio, 0.009 / ratio, 0.011 / ratio, ratio, 9)


FIRST = Row("as it is", "p", Measured(0.9, 0.85, 0.94, 100), None, None, 1000, 5000, {1: took(1.0), 32: took(1.0)})
GOOD = replace(
    FIRST,
    name="int8",
    difference=Measured(-0.002, -0.004, 0.0, 100),
    agreement=0.99,
    size=250,
    latency={1: took(2.0), 32: took(0.9)},
)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD, ()),
        (
            replace(GOOD, difference=Measured(-0.012, -0.02, -0.002, 100)),
            ("fails the limit: 1.2 points lost, 0.5 allowed",),
        ),
        (
            replace(GOOD, difference=Measured(0.0, -0.02, 0.02, 100)),
            ("holds the limit here, but the interval reaches 2.0 points lost",),
        ),
        (replace(GOOD, size=980), ("did not get smaller",)),
        (replace(GOOD, latency={1: took(1.01), 32: took(0.8)}), ("did not get faster",)),
        (replace(GOOD, failure="needs openvino"), ("needs openvino",)),
    ],
)
def test_each_row_says_what_speaks_against_it(row: Row, said: tuple[str, ...]) -> None:
    first, other = verdict.judged([FIRST, row], 0.5)
    assert first.verdicts == ()
    assert other.verdicts == said


def test_the_tables_have_a_row_for_each_candidate_that_is_there_and_a_line_for_all() -> None:
    rows = verdict.judged([FIRST, GOOD, Row("openvino", failure="needs openvino")], 0.5)
    for columns, cells in (verdict.answers(rows, "accuracy"), verdict.costs(rows)):
        assert [row[0] for row in cells] == ["as it is", "int8"]
        assert {len(row) for row in cells} == {len(columns)}
    assert "-0.2 [-0.4, +0.0]" in verdict.answers(rows, "accuracy")[1][1]
    assert "2.00, 0.90" in verdict.costs(rows)[1][1]
    assert verdict.lines(rows) == ["int8: holds all that was asked", "openvino: needs openvino"]


def test_the_picture_shows_what_was_measured_and_nothing_else() -> None:
    figure = verdict.picture([FIRST, GOOD, Row("openvino", failure="needs openvino")], "accuracy")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["as it is, 0.001 MB", "int8, 0.00025 MB"]
    marks = [tuple(one.get_offsets()[0]) for one in axes.collections if isinstance(one, PathCollection)]
    assert marks == [(pytest.approx(1e3 * row.latency[1].median), 0.9) for row in (FIRST, GOOD)]


@pytest.mark.parametrize("times", [(1.0, 1.0), (1.0, 1.2), (1.0, 300.0)])
def test_names_and_numbers_of_the_picture_do_not_lie_on_one_another(times: tuple[float, ...]) -> None:
    rows = [replace(FIRST, name=f"{n} $x_{n % 3}$", latency={1: took(times[n % 2])}) for n in range(14)]
    figure = verdict.picture(rows, "accuracy")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    names = [text.get_window_extent() for text in axes.get_legend().get_texts()]
    ticks = [tick.get_window_extent() for tick in axes.get_xticklabels() if axes.get_xlim()[0] < tick.get_position()[0]]
    ticks = ticks[: len(axes.get_xticks())]
    for boxes in (names, ticks):
        assert len(boxes) > 1 and not [1 for n, one in enumerate(boxes) for two in boxes[:n] if one.overlaps(two)]
    assert min(box.x0 for box in names) > axes.get_window_extent().x1, "beside the marks"
    looks = {(mark.get_marker(), mark.get_color()) for mark in axes.get_legend().legend_handles}
    assert len(looks) == len(rows)


def test_models_take_turns_and_the_first_is_what_the_others_are_compared_with() -> None:
    calls: list[str] = []
    found = latency.measure({name: lambda name=name: calls.append(name) for name in "abc"}, seconds=0.0)
    turns = calls[3 * latency.WARMUP :]
    assert [turns[at : at + 3] for at in (0, 3, 6)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]
    assert found["a"].ratio == 1.0
    assert {one.n for one in found.values()} == {latency.MIN_ROUNDS}
    assert all(one.low <= one.median <= one.high for one in found.values())
