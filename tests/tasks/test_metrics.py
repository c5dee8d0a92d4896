"""Metrics, against published and hand-worked values."""

import json
import math

import pytest
import torch

from hubft.tasks.metrics import classification, proportion

CLASSES = ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_those_of_newcombes_table(hits: int, n: int, low: float, high: float) -> None:
    found = proportion(hits, n)
    assert (round(found["low"], 4), round(found["high"], 4)) == (low, high)
    assert (found["value"], found["n"]) == (hits / n, n)


@pytest.mark.parametrize(("hits", "n"), [(7, 7), (0, 1), (3, 10), (145, 153)])
def test_intervals_follow_wilsons_formula(hits: int, n: int) -> None:
    z, p = 1.959963984540054, hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    wanted = {"value": p, "low": (middle - half) / (1 + z * z / n), "high": (middle + half) / (1 + z * z / n), "n": n}
    assert proportion(hits, n) == pytest.approx(wanted, abs=1e-12)


def test_rows_of_the_confusion_are_the_true_classes() -> None:
    targets = torch.tensor([0, 0, 0, 0, 1])
    predicted = torch.tensor([0, 1, 2, 0, 1])
    outputs = torch.nn.functional.one_hot(predicted, 3).float() * 2
    found = classification(outputs, targets, CLASSES)
    assert found["confusion"] == [[2, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert found["accuracy"] == proportion(3, 5)
    assert found["recall"] == [proportion(2, 4), proportion(1, 1), None]
    right, wrong = math.log(1 + 2 * math.exp(-2)), math.log(1 + 2 * math.exp(-2)) + 2
    assert found["loss"] == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-6)
    assert json.loads(json.dumps(found)) == found, "plain JSON types"


def test_one_class_seen_and_predicted_alone_is_measured() -> None:
    found = classification(torch.tensor([[0.0, 1.0]] * 4), torch.ones(4, dtype=torch.int64), ("a", "b"))
    assert found["confusion"] == [[0, 0], [0, 4]] and found["recall"] == [None, proportion(4, 4)]
