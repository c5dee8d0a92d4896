"""Boxes as a task: from a cell to a target, from outputs to words, and what two lists of boxes have in common."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from hubft.base.errors import DataError, JobError
from hubft.images import frame
from hubft.inputs import Images
from hubft.job import Labels, Recipe
from hubft.tasks import boxloss, kinds, settle
from hubft.tasks.boxes import Boxes
from hubft.tasks.task import Column

TASK = Boxes(("ant", "bee"), (3, 1), threshold=0.3)
CELL = [{"label": "bee", "box": [1, 2, 11, 12]}, {"label": "ant", "box": [0, 0, 5.5, 5], "crowd": True}]
TARGET = ((1, 1.0, 2.0, 11.0, 12.0, False), (0, 0.0, 0.0, 5.5, 5.0, True))


def outputs(*rows: tuple[float, ...], most: int = 4) -> Tensor:
    """Return what a model gives for one image."""
    made = torch.zeros(1, most, 6)
    for place, row in enumerate(rows):
        made[0, place] = torch.tensor(row)
    return made


def truth(*boxes: tuple[Any, ...]) -> list[dict[str, Tensor]]:
    return TASK.collate([tuple((*box, False)[:6] for box in boxes)])


# ---- from the data ------------------------------------------------------------------------------------------


def test_a_column_of_boxes_is_found_fitted_encoded_and_stated() -> None:
    task, note = settle.fit([Column("things", [CELL, [], None])], Labels())
    assert (task, note) == (Boxes(("ant", "bee")), "") and kinds.read(kinds.plain(TASK)) == TASK
    assert task.encode([CELL]) == TARGET and task.encode([[]]) == () and task.encode([None]) is None
    assert task.state(TARGET) == {"boxes": [CELL[0], {**CELL[1], "box": [0.0, 0.0, 5.5, 5.0]}]}
    assert TASK.mark(TARGET) != TASK.mark(TARGET[:1])
    assert settle.fit([Column("one", [[CELL[0]], []])], Labels())[0].names == ("bee",), "one class is enough"
    assert settle.fit([Column("tags", [["a", "b"], ["a"]])], Labels())[0].kind == "multilabel"


@pytest.mark.parametrize("cell", ["ant", [{"label": "ant"}], ["ant"], 3])
def test_a_cell_that_holds_something_else_is_told(cell: Any) -> None:
    with pytest.raises(DataError, match="a cell must hold a list of boxes"):
        TASK.encode([cell])
    with pytest.raises(DataError, match=r"unknown class 'wasp'; known are 'ant', 'bee'"):
        TASK.encode([[{"label": "wasp", "box": [0, 0, 1, 1]}]])


def test_classes_are_counted_without_crowds_and_one_without_boxes_is_told() -> None:
    assert TASK.settled([TARGET, ((0, 0.0, 0.0, 1.0, 1.0, False),), ()]).counts == (1, 1)
    with pytest.raises(DataError, match="no box to train on of class 'ant'"):
        TASK.settled([TARGET])
    assert list(TASK.strata(TARGET)) == [1, 0] and list(TASK.strata(())) == [-1]
    assert TASK.absent([TARGET[:1]]) == ["ant"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"loss": "focal"}, "--loss focal: the losses of boxes are own"),
        ({"smoothing": 0.1}, "--smoothing 0.1: it has no meaning for boxes"),
        ({"class_weights": ("ant=2",)}, "--class-weights .*: it has no meaning for boxes"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError) as refused:
        TASK.criterion(Recipe(**options))
    assert re.search(told, refused.value.typed())


def test_labels_of_a_separator_and_a_second_column_are_refused() -> None:
    with pytest.raises(DataError, match="--separator is for one column with several labels"):
        settle.fit([Column("b", [CELL])], Labels(task="boxes", separator=";"))
    with pytest.raises(DataError, match="--task boxes takes one --target"):
        settle.fit([Column("b", [CELL]), Column("c", [CELL])], Labels(task="boxes"))


# ---- what is said ---------------------------------------------------------------------------------------------


def test_what_is_said_names_boxes_of_a_score_in_pixels_of_the_picture() -> None:
    given = outputs((4, 0, 8, 8, 0.9, 1), (0, 0, 4, 4, 0.5, 0), (0, 0, 1, 1, 0.29, 0))
    [said] = TASK.decode(given)
    assert [(one["label"], round(one["score"], 3)) for one in said["boxes"]] == [("bee", 0.9), ("ant", 0.5)]
    placed = TASK.placed(said, frame.of((32, 16), Images((8, 8), (8, 8), "squash")))
    assert placed["boxes"][0]["box"] == [16, 0, 32, 16]
    assert TASK.words(placed, 2) == "bee 0.90 [16 0 32 16], ant 0.50 [0 0 16 8]"
    assert TASK.words(placed, 1) == "bee 0.90 [16 0 32 16]", "so many classes at most"
    assert TASK.words({"boxes": []}, 3) == "nothing"
    assert list(TASK.cells(said, 1)) == list(TASK.cells({"boxes": []}, 1)) == ["boxes"]


def test_the_lines_of_a_card_say_the_same() -> None:
    given = outputs((4, 0, 8, 8, 0.9, 1), (0, 0, 4, 4, 0.2, 0))
    found: list[Any] = []
    model = SimpleNamespace(hubft={"classes": ["ant", "bee"]})
    exec(f"found += {TASK.lines()[-1]}", {"logits": given, "model": model, "found": found})
    assert [(name, box) for name, _, box in found] == [("bee", [4, 0, 8, 8])]


# ---- losses and differences -----------------------------------------------------------------------------------


def test_the_loss_counts_what_is_missed_and_what_is_too_much() -> None:
    loss = TASK.criterion()
    true = truth((0, 0.0, 0.0, 10.0, 10.0), (1, 20.0, 20.0, 30.0, 30.0))
    right = outputs((0, 0, 10, 10, 1, 0), (20, 20, 30, 30, 1, 1))
    assert float(loss(right, true)) == 0 and float(loss(outputs(), true)) == 1
    half = outputs((0, 0, 10, 10, 1, 0))
    assert float(loss(half, true)) == pytest.approx(1 - 2 / 3)
    assert float(loss(outputs((0, 0, 10, 10, 0.5, 0)), true)) == pytest.approx(1 - 2 * 0.5 / 2.5)
    assert float(loss(outputs((0, 0, 10, 10, 1, 1)), true)) == 1, "of another class"
    shifted = outputs((0, 0, 10, 8, 1, 0))
    assert float(loss(shifted, true)) == pytest.approx(1 - 2 * 0.8 / 3)
    twice = outputs((0, 0, 10, 10, 1, 0), (0, 0, 10, 10, 0.9, 0))
    assert float(loss(twice, true)) > float(loss(half, true)), "an object is found once"
    assert float(loss(outputs(), truth())) == 0 and float(loss(half, truth())) == 1


def test_errors_are_those_of_what_is_said() -> None:
    true = truth((0, 0.0, 0.0, 10.0, 10.0), (1, 20.0, 20.0, 30.0, 30.0))
    given = outputs((0, 0, 10, 10, 0.9, 0), (20, 20, 30, 30, 0.1, 1))
    assert TASK.errors(given, true).tolist() == pytest.approx([1 / 3])
    assert TASK.errors(outputs(), truth()).tolist() == [0] and TASK.errors(given, truth()).tolist() == [1]
    assert TASK.errors(given * float("nan"), true).tolist() == [1]
    assert TASK.agreement(given, given).tolist() == [1] and TASK.agreement(given, outputs()).tolist() == [0]


def test_boxes_in_a_crowd_count_neither_way() -> None:
    true = TASK.collate([((0, 0.0, 0.0, 10.0, 10.0, False), (0, 40.0, 40.0, 90.0, 90.0, True))])
    given = outputs((0, 0, 10, 10, 1, 0), (41, 41, 60, 60, 1, 0), (70, 70, 80, 80, 1, 1))
    assert float(TASK.criterion()(given, true)) == 0 and TASK.errors(given, true).tolist() == [0]


def test_lists_lie_apart_by_boxes_not_by_their_order() -> None:
    a, b = (0, 0, 10, 10, 0.5, 0), (20, 20, 30, 30, 0.49999, 1)
    assert TASK.apart(outputs(a, b), outputs(b, a), 30.0) == 0
    assert TASK.apart(outputs((0, 0, 10, 13, 0.5, 0), b), outputs(a, b), 30.0) == pytest.approx(0.1)
    assert TASK.apart(outputs((0, 0, 10, 10, 0.6, 0), b), outputs(a, b), 30.0) == pytest.approx(0.1)
    assert TASK.apart(outputs((0, 0, 10, 10, 0.5, 1), b), outputs(a, b), 30.0) == pytest.approx(0.5), "another class"
    for one, other in ((outputs(a), outputs(a, b)), (outputs(a, b), outputs(a)), (outputs(), outputs(b))):
        assert TASK.apart(one, other, 30.0) == pytest.approx(0.49999), "one is missing"
    full = outputs(a, b, most=2)
    assert TASK.apart(outputs(a, (50, 50, 60, 60, 0.5, 1), most=2), full, 30.0) == pytest.approx(1e-5, rel=0.01), (
        "cut off"
    )
    assert TASK.apart(full * float("nan"), full, 30.0) != TASK.apart(full, full, 30.0)
    assert boxloss.apart(outputs(), outputs(), 1.0) == 0
