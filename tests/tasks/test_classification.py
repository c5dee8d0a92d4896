"""Classification: what its options mean for the loss, and what it says of data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from hubft.base.errors import DataError, JobError
from hubft.job import Labels, Recipe
from hubft.tasks import kinds
from hubft.tasks.classification import Classification
from hubft.tasks.task import Column

TASK = Classification(("ant", "bee", "cat"), (60, 30, 10))


def batch(n: int = 24) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, generator=random), torch.randint(0, 3, (n,), generator=random)


# ---- the loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "weight"),
    [
        (("balanced",), [100 / 180, 100 / 90, 100 / 30]),  # samples over classes times count
        (("cat=4", "ant=0.5"), [0.5, 1.0, 4.0]),
        (("bee=0",), [1.0, 0.0, 1.0]),
    ],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_those_of_torch(asked: tuple[str, ...], weight: list[float], smoothing: float) -> None:
    outputs, targets = batch()
    criterion = TASK.criterion(Recipe(class_weights=asked))
    expected = cross_entropy(outputs, targets, torch.tensor(weight))
    torch.testing.assert_close(criterion(outputs, targets), expected)
    plain = TASK.criterion(Recipe(smoothing=smoothing))
    assert plain(outputs, targets) == cross_entropy(outputs, targets, label_smoothing=smoothing)


def test_balanced_classes_have_the_same_part_in_the_loss() -> None:
    targets = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    weights = TASK.criterion(Recipe(class_weights=("balanced",))).weights(targets)
    assert [weights[targets == label].sum().item() for label in range(3)] == pytest.approx([100 / 3] * 3)
    assert weights.sum().item() == pytest.approx(100)


def test_focal_turns_from_what_is_known() -> None:
    outputs, targets = batch()
    losses = cross_entropy(outputs, targets, reduction="none")
    expected = ((1 - (-losses).exp()) ** 2 * losses).mean()
    torch.testing.assert_close(TASK.criterion(Recipe(loss="focal"))(outputs, targets), expected)
    sure = 20.0 * one_hot(targets, 3)
    assert TASK.criterion(Recipe(loss="focal"))(sure, targets) < 1e-12


@pytest.mark.parametrize(
    "options",
    [{}, {"class_weights": ("balanced",)}, {"loss": "focal"}, {"loss": "focal", "class_weights": ("cat=9",)}],
)
@pytest.mark.parametrize("kind", ["all", "missing", "mixed"])
def test_the_means_of_parts_give_the_mean_of_the_batch(options: dict[str, Any], kind: str) -> None:
    outputs, targets = batch()
    if kind == "missing":
        targets = torch.where(torch.arange(24) % 5 == 0, -100, targets)
    elif kind == "mixed":
        targets = 0.7 * one_hot(targets, 3) + 0.3 * one_hot(targets.roll(1), 3)
    criterion = TASK.criterion(Recipe(**options))
    whole = criterion(outputs, targets)
    parts = []
    for low, high in ((0, 5), (5, 17), (17, 24)):
        share = (high - low) / 24
        parts.append(share * criterion.part(targets, share)(outputs[low:high], targets[low:high]))
    torch.testing.assert_close(sum(parts), whole)


def test_the_plain_loss_is_that_of_evaluation() -> None:
    outputs, targets = batch()
    assert TASK.criterion()(outputs, targets) == cross_entropy(outputs, targets)
    assert TASK.measure(outputs, targets).loss == pytest.approx(float(cross_entropy(outputs, targets)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "bce"}, "--loss bce: the losses of classification are cross-entropy, focal."),
        ({"loss": "focall"}, "are cross-entropy, focal. Did you mean 'focal'?"),
        ({"class_weights": ("beee=2",)}, "--class-weights: 'beee' is none of 'ant', 'bee', 'cat'. Did you mean 'bee'?"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as caught:
        TASK.criterion(Recipe(**options))
    assert said in caught.value.typed()


# ---- the data ----------------------------------------------------------------------------------------


def fit(values: Sequence[Any], names: tuple[str, ...] = ()) -> Classification:
    return Classification.fit([Column("kind", values, names)], Labels())


def test_names_are_sorted_and_numbers_as_numbers() -> None:
    assert fit(["b", "a", None, "b", ""]).classes == ("a", "b")
    assert fit([10, 9.0, "2", 10]).classes == ("2", "9", "10")
    assert fit(["x", "x"], ("y", "x")).classes == ("y", "x"), "as the data says it"


def test_a_name_with_blanks_is_found_as_it_is_written() -> None:
    """The folder ` b ` is a class; a table gives its cells without blanks around them."""
    found = fit([" b ", "a"], ("a", " b "))
    assert [found.encode([value]) for value in (" b ", "a", None, -1)] == [1, 0, None, None]
    with pytest.raises(DataError, match="unknown class ' a'; 'a' and ' a' look the same"):
        found.encode([" a"])
    with pytest.raises(DataError, match=r"unknown class 'c'; known are 'a', ' b '"):
        found.encode(["c"])


def test_plain_data_states_it() -> None:
    assert kinds.read(kinds.plain(TASK)) == TASK
    assert replace(TASK, counts=()).settled([0, 1, 1, 2]).counts == (1, 2, 1)
    with pytest.raises(DataError, match="nothing usable to train on in class 'cat'"):
        TASK.settled([0, 1, 1])
