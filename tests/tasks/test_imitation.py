"""What a student misses of its teacher's answers: against worked values, in every kind of labels."""

import math

import pytest
import torch
from torch.nn import functional

from hubft.base import batches
from hubft.base.errors import JobError
from hubft.tasks.classification import Classification
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.regression import Regression
from hubft.tasks.several import Several
from hubft.tasks.task import Task

CLASSES = Classification(("ant", "bee", "cat"))
LABELS = Multilabel(("red", "round"), counts=(3, 2), known=(6, 6))
NUMBERS = Regression(("price",), mean=(100.0,), scale=(20.0,), standardised=True)
SEVERAL = Several.of({"kind": CLASSES, "price": NUMBERS})


def test_classes_are_compared_by_divergence_at_a_temperature() -> None:
    ours, theirs = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, 1.0]])
    wanted = 0.0
    for p, q in zip((theirs / 3).softmax(1)[0].tolist(), (ours / 3).softmax(1)[0].tolist(), strict=True):
        wanted += 9 * p * (math.log(p) - math.log(q))
    assert CLASSES.imitation(3.0)(ours, theirs).item() == pytest.approx(wanted, rel=1e-5)
    assert CLASSES.imitation(0.0)(ours, theirs) == CLASSES.imitation(4.0)(ours, theirs)


def test_the_gradient_of_hot_answers_is_that_of_the_logits() -> None:
    """Hinton et al. 2015, equation 4: at a high temperature it is the difference of the centred logits over classes."""
    ours, theirs = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True), torch.tensor([[0.0, 2.0, -2.0]])
    CLASSES.imitation(100.0)(ours, theirs).backward()
    assert ours.grad is not None
    assert torch.allclose(ours.grad, (ours.detach() - theirs) / 3, atol=0.02)


def test_labels_are_compared_each_by_itself_also_where_no_label_is_known() -> None:
    ours, theirs = torch.tensor([[0.5, -1.0]]), torch.tensor([[2.0, 0.0]])
    pairs = [functional.log_softmax(torch.stack([x / 2, torch.zeros_like(x)]), 0) for x in (ours, theirs)]
    wanted = 4 * functional.kl_div(*pairs, reduction="none", log_target=True).sum(0).mean()
    assert LABELS.imitation(2.0)(ours, theirs).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_numbers_are_compared_in_the_users_unit_whatever_the_teacher_was_trained_in() -> None:
    packaged = Regression(("price",), mean=(90.0,), scale=(10.0,), standardised=False)
    training = Regression(("price",), mean=(90.0,), scale=(10.0,), standardised=True)
    ours = torch.tensor([[1.0]])  # 120
    for teacher, said in ((packaged, 130.0), (training, 4.0)):
        answers = teacher.answers(torch.tensor([[said]]))
        assert NUMBERS.imitation(0.0)(ours, answers).item() == pytest.approx(((120 - 130) / 20) ** 2)


def test_heads_are_compared_each_by_its_own() -> None:
    ours, theirs = torch.tensor([[1.0, 0.0, -1.0, 1.0]]), torch.tensor([[0.0, 2.0, 1.0, 1.5]])
    wanted = CLASSES.imitation(2.0)(ours[:, :3], theirs[:, :3]) + 0.25
    assert SEVERAL.imitation(2.0)(ours, SEVERAL.answers(theirs)).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("task", [CLASSES, LABELS, NUMBERS, SEVERAL], ids=lambda task: task.kind)
def test_who_answers_as_the_teacher_misses_nothing_and_parts_make_the_whole(task: Task) -> None:
    random = torch.Generator().manual_seed(1)
    ours, theirs = (torch.randn(6, task.outputs, generator=random) for _ in range(2))
    loss = task.imitation(0.0)
    assert loss(theirs, task.answers(theirs)).item() == pytest.approx(0.0, abs=1e-6)
    answers, parts = task.answers(theirs), 0.0
    for start, stop in ((0, 2), (2, 6)):
        share = (stop - start) / 6
        parts += share * loss.part(answers, share)(ours[start:stop], batches.rows(answers, start, stop)).item()
    assert parts == pytest.approx(loss(ours, answers).item(), rel=1e-5)


@pytest.mark.parametrize("task", [NUMBERS, Several.of({"a": NUMBERS, "b": Regression(("b",))})])
def test_a_temperature_has_no_meaning_for_numbers(task: Task) -> None:
    with pytest.raises(JobError, match="temperature 2: numbers have none; leave it out"):
        task.imitation(2.0)


def test_tasks_are_alike_where_every_output_means_the_same() -> None:
    assert CLASSES.like(Classification(CLASSES.classes, counts=(1, 2, 3)))
    assert not CLASSES.like(Classification(("bee", "ant", "cat"))) and not CLASSES.like(Multilabel(CLASSES.classes))
    tags = Several.of({"kind": Multilabel(CLASSES.classes), "price": NUMBERS})
    assert SEVERAL.names == tags.names and not SEVERAL.like(tags) and SEVERAL.like(SEVERAL)
