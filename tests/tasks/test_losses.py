"""Losses: what is missing counts in neither the sum nor its denominator, and parts of a batch give the whole."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hubft.base import batches
from hubft.base.errors import JobError
from hubft.job import Recipe
from hubft.tasks.classification import Classification
from hubft.tasks.losses import MISSING, Loss, Masked, asymmetric, binary
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.regression import Regression
from hubft.tasks.several import Several

NAN = float("nan")
TAGS = Multilabel(("ant", "bee", "cat"), counts=(1, 50, 100), known=(101, 100, 100))
NUMBERS = Regression(("price", "size"), (10.0, -3.0), (2.0, 0.5))
COLOURS = Classification(("red", "blue"), counts=(1, 3))
HEADS = Several.of({"colour": COLOURS, "tags": TAGS, "price": Regression(("price",), (10.0,), (2.0,))})

OUTPUTS = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.0, -0.5], [-2.0, 1.0, 0.25], [0.0, 0.1, 0.2]])
GAPPY = torch.tensor([[1.0, 0, NAN], [NAN, NAN, NAN], [NAN, 1, 0], [0, 1, 1]])
JOINT = torch.linspace(-2, 2, 4 * 6).view(4, 6)
TARGETS = {
    "colour": torch.tensor([0, MISSING, 1, MISSING]),
    "tags": GAPPY,
    "price": torch.tensor([[NAN], [11.0], [8.0], [NAN]]),
}


def recipe(**fields: Any) -> Recipe:
    return Recipe(**fields)


def known(targets: Tensor) -> Tensor:
    return ~targets.isnan()


# --- a gap counts nowhere -------------------------------------------------------------------------------------


def test_a_masked_loss_is_the_loss_of_what_is_known() -> None:
    there = known(GAPPY)
    wanted = functional.binary_cross_entropy_with_logits(OUTPUTS[there], GAPPY[there])
    found = TAGS.criterion()(OUTPUTS, GAPPY)
    assert torch.isclose(found, wanted)
    over_all = functional.binary_cross_entropy_with_logits(OUTPUTS, GAPPY.nan_to_num(0.0), reduction="none")[there]
    assert not torch.isclose(found, over_all.sum() / GAPPY.numel()), "the denominator counts what is known"
    assert not torch.isclose(found, functional.binary_cross_entropy_with_logits(OUTPUTS, GAPPY.nan_to_num(0.0)))


def test_numbers_are_compared_in_units_of_their_deviation() -> None:
    outputs, truth = OUTPUTS[:, :2], torch.tensor([[12.0, NAN], [NAN, -3.5], [6.0, -2.0], [NAN, NAN]])
    scaled = (truth - torch.tensor([10.0, -3.0])) / torch.tensor([2.0, 0.5])
    there = known(truth)
    losses = {"mse": functional.mse_loss, "l1": functional.l1_loss, "huber": functional.huber_loss}
    for name, function in losses.items():
        found = NUMBERS.criterion(recipe(loss=name))(outputs, truth)
        assert torch.isclose(found, function(outputs[there], scaled[there])), name
    assert torch.equal(NUMBERS.criterion()(outputs, truth), NUMBERS.criterion(recipe())(outputs, truth))


def test_a_gap_moves_no_weight_whatever_the_mean_is() -> None:
    far = Regression(("x",), (1e30,), (1e20,))
    outputs = torch.zeros(2, 1, requires_grad=True)
    loss = far.criterion()(outputs, torch.tensor([[NAN], [1e30]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss) and outputs.grad is not None and outputs.grad[0] == 0 and outputs.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (TAGS.criterion(), OUTPUTS, torch.full_like(GAPPY, NAN)),
        (NUMBERS.criterion(), OUTPUTS[:, :2], torch.full((4, 2), NAN)),
        (HEADS.criterion(), JOINT, HEADS.collate([None] * 4)),
        (HEADS.criterion(recipe(head_weights=("uncertainty",))), JOINT, HEADS.collate([None] * 4)),
    ],
)
def test_a_batch_without_any_label_has_no_loss_and_no_gradient(loss: Loss, outputs: Tensor, targets: Any) -> None:
    outputs = outputs.clone().requires_grad_()
    found = loss(outputs, targets)
    found.backward()
    assert found == 0 and outputs.grad is not None and not outputs.grad.any()


# --- parts of a batch -----------------------------------------------------------------------------------------

CASES: list[tuple[Any, Recipe | None, Tensor, Any]] = [
    (COLOURS, None, OUTPUTS[:, :2], torch.tensor([0, MISSING, MISSING, 1])),
    (COLOURS, recipe(class_weights=("balanced",)), OUTPUTS[:, :2], torch.tensor([0, 1, 1, MISSING])),
    (TAGS, None, OUTPUTS, GAPPY),
    (TAGS, recipe(class_weights=("bee=5",)), OUTPUTS, GAPPY),
    (TAGS, recipe(loss="asymmetric"), OUTPUTS, GAPPY),
    (NUMBERS, recipe(loss="huber"), OUTPUTS[:, :2], torch.tensor([[12.0, NAN], [NAN, NAN], [NAN, NAN], [1.0, -2.0]])),
    (HEADS, None, JOINT, TARGETS),
    (HEADS, recipe(head_weights=("tags=3",), loss="focal"), JOINT, TARGETS),
]


@pytest.mark.parametrize(("task", "how", "outputs", "targets"), CASES)
@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 4), (0, 1, 2, 3, 4)])
def test_the_parts_of_a_batch_give_its_loss_and_gradient(
    task: Any, how: Recipe | None, outputs: Tensor, targets: Any, cuts: tuple[int, ...]
) -> None:
    criterion, whole, parts = task.criterion(how), outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    wanted = criterion(whole, targets)
    wanted.backward()
    total = 0.0
    for start, stop in pairwise(cuts):
        share = (stop - start) / 4
        part = criterion.part(targets, share)(parts[start:stop], batches.rows(targets, start, stop)) * share
        part.backward()
        total += part.item()
    assert total == pytest.approx(wanted.item(), rel=1e-6)
    assert whole.grad is not None and parts.grad is not None and torch.allclose(whole.grad, parts.grad, atol=1e-7)
    assert criterion.total is None, "the loss itself stays as it is"


@pytest.mark.parametrize(("task", "how", "outputs", "targets"), CASES)
def test_the_losses_of_samples_are_those_of_each_alone(task: Any, how: Any, outputs: Tensor, targets: Any) -> None:
    criterion = task.criterion(how)
    found = criterion.samples(outputs, targets)
    for row in range(4):
        alone = criterion.samples(outputs[row : row + 1], batches.rows(targets, row, row + 1))
        assert torch.isclose(found[row], alone[0])
    assert found.isfinite().all()


# --- weights --------------------------------------------------------------------------------------------------


def test_a_positive_counts_as_the_root_of_negatives_over_positives() -> None:
    loss, targets = TAGS.criterion(recipe()), torch.ones(1, 3)
    plain = binary()(OUTPUTS[:1], targets)
    assert torch.allclose(loss.losses(OUTPUTS[:1], targets) / plain, torch.tensor([10.0, 1.0, 1.0]))
    assert torch.equal(loss.losses(OUTPUTS[:1], targets * 0), binary()(OUTPUTS[:1], targets * 0))
    unseen = Multilabel(("a", "b"), counts=(0, 4), known=(0, 8)).criterion(recipe())
    assert unseen.losses(torch.zeros(1, 2), torch.ones(1, 2)).isfinite().all()


def test_the_weight_of_a_label_is_in_the_sum_and_the_denominator() -> None:
    found = Masked(binary(), torch.tensor([1.0, 2.0, 0.0]))(OUTPUTS, GAPPY)
    each = binary()(OUTPUTS, GAPPY.nan_to_num(0.0))
    by_hand = (each[0, 0] + each[3, 0] + 2 * (each[0, 1] + each[2, 1] + each[3, 1])) / (2 + 2 * 3)
    assert torch.isclose(found, by_hand)


def test_the_asymmetric_loss_is_that_of_its_paper() -> None:
    outputs, targets = torch.tensor([[0.3, -4.0, 1.2]]), torch.tensor([[1.0, 0.0, 0.0]])
    p = outputs.sigmoid()
    cut = (p - 0.05).clamp(min=0)
    wanted = [-(1 - p[0, 0]) * p[0, 0].log(), 0.0, -(cut[0, 2] ** 4) * (1 - cut[0, 2]).log()]
    assert asymmetric(outputs, targets)[0].tolist() == pytest.approx([float(one) for one in wanted])


def test_heads_are_summed_with_their_weights() -> None:
    each = {
        "colour": functional.cross_entropy(JOINT[[0, 2], :2], torch.tensor([0, 1])),
        "tags": TAGS.criterion()(JOINT[:, 2:5], GAPPY),
        "price": functional.mse_loss(JOINT[1:3, 5], torch.tensor([0.5, -1.0])),
    }
    assert torch.isclose(HEADS.criterion()(JOINT, TARGETS), torch.stack(list(each.values())).sum())
    weighed = HEADS.criterion(recipe(loss="l1", head_weights=("tags=0", "price=2")))(JOINT, TARGETS)
    l1 = functional.l1_loss(JOINT[1:3, 5], torch.tensor([0.5, -1.0]))
    assert torch.isclose(weighed, each["colour"] + 2 * l1)


def test_uncertainty_gives_each_head_one_over_its_loss_as_its_weight() -> None:
    def gradient(loss: nn.Module) -> Tensor:
        outputs = JOINT.clone().requires_grad_()
        loss(outputs, TARGETS).backward()
        assert outputs.grad is not None
        return outputs.grad

    uncertain = HEADS.criterion(recipe(head_weights=("uncertainty",), class_weights=("colour: red=1",)))
    for name, columns in HEADS.places.items():
        only = HEADS.criterion(recipe(head_weights=tuple(f"{other}=0" for other in HEADS.columns if other != name)))
        found, alone = gradient(uncertain)[:, columns], gradient(only)[:, columns]
        assert torch.allclose(found, alone / (only(JOINT, TARGETS) + 0.01), atol=1e-6)
    assert not list(uncertain.parameters()) and not uncertain.state_dict(), "nothing for a checkpoint"
    assert torch.equal(uncertain.part(TARGETS, 1.0)(JOINT, TARGETS), uncertain(JOINT, TARGETS))
    with pytest.raises(ValueError, match="whole batch"):
        uncertain.part(TARGETS, 0.5)


@pytest.mark.parametrize(
    ("task", "fields", "line"),
    [
        (TAGS, {"loss": "mse"}, "loss mse: the losses of multilabel are bce, asymmetric."),
        (TAGS, {"smoothing": 0.1}, "smoothing 0.1: it has no meaning for multilabel; leave it out"),
        (TAGS, {"class_weights": ("be=2",)}, "'be' is none of 'ant', 'bee', 'cat'."),
        (NUMBERS, {"class_weights": ("balanced",)}, "it has no meaning for regression; leave it out"),
        (NUMBERS, {"head_weights": ("price=2",)}, "head_weights price=2: it has no meaning for regression; leave it"),
        (COLOURS, {"head_weights": ("uncertainty",)}, "it has no meaning for classification; leave it out"),
        (NUMBERS, {"loss": "hubber"}, "the losses of regression are mse, l1, huber. Did you mean 'huber'?"),
        (HEADS, {"loss": "mae"}, "the losses of these heads are cross-entropy, focal, bce, asymmetric, mse, l1, hub"),
        (HEADS, {"head_weights": ("color=2",)}, "head_weights: 'color' is none of 'colour', 'tags', 'price'."),
        (HEADS, {"class_weights": ("red=2",)}, "'red' is none of 'colour: red'"),
        (HEADS, {"head_weights": ("uncertainty",), "accumulate": 2}, "a whole batch, which accumulate cuts"),
        (Several.of({"a": NUMBERS, "b": NUMBERS}), {"smoothing": 0.1}, "it has no meaning for these heads"),
    ],
)  # fmt: skip
def test_options_without_a_meaning_are_refused(task: Any, fields: dict[str, Any], line: str) -> None:
    with pytest.raises(JobError) as caught:
        task.criterion(recipe(**fields))
    assert line in str(caught.value)


def test_options_of_some_heads_go_to_those() -> None:
    smooth = HEADS.criterion(recipe(smoothing=0.2, class_weights=("colour: red=3", "tags: bee=2")))
    alone = COLOURS.criterion(recipe(smoothing=0.2, class_weights=("red=3",)))
    assert torch.equal(smooth.heads["colour"][1].weight, torch.tensor([3.0, 1.0]))  # type: ignore[attr-defined]
    assert torch.equal(smooth.heads["tags"][1].weight, torch.tensor([1.0, 2.0, 1.0]))  # type: ignore[attr-defined]
    only = {**TARGETS, "tags": GAPPY * NAN, "price": TARGETS["price"] * NAN}
    wanted = Loss.forward(alone, JOINT[:, :2], TARGETS["colour"])
    assert torch.isclose(smooth(JOINT, only), wanted)
