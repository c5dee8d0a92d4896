"""The task `generation`: documents without labels, the loss of what follows, and what is kept of a batch."""

import math

import numpy
import pytest
import torch
from torch.nn import functional

from hubft.base import batches
from hubft.base.errors import DataError, JobError
from hubft.job import Labels
from hubft.recipe import Recipe
from hubft.tasks import generated, kinds, paired, settle
from hubft.tasks.following import UNASKED
from hubft.tasks.generation import Generation
from hubft.tasks.losses import MISSING
from hubft.tasks.task import Column, fits

TASK = Generation(7)
FOLLOWED = [torch.tensor([MISSING, 3, 2]), torch.tensor([1, 1, 4, 0, 2]), torch.tensor([MISSING])]


def logits() -> torch.Tensor:
    return torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(0))


def losses(outputs: torch.Tensor) -> list[list[float]]:
    """Return the loss of each learned token, document by document, as anybody would write it."""
    return [
        [float(-functional.log_softmax(outputs[i, t], 0)[int(one)]) for t, one in enumerate(its) if one != MISSING]
        for i, its in enumerate(FOLLOWED)
    ]


def test_the_loss_is_a_mean_over_tokens_not_over_documents() -> None:
    outputs = logits()
    every = [loss for its in losses(outputs) for loss in its]
    assert len(every) == 7
    assert float(TASK.criterion()(outputs, FOLLOWED)) == pytest.approx(sum(every) / 7, rel=1e-5)


def test_parts_of_a_batch_add_up_to_its_loss_and_its_gradient() -> None:
    """Also where one of them has a single token, and another none."""
    outputs = logits().requires_grad_()
    criterion = TASK.criterion()
    criterion(outputs, FOLLOWED).backward()
    whole, outputs.grad = outputs.grad, None
    total = 0.0
    for i in range(3):
        part = batches.rows((outputs, FOLLOWED), i, i + 1)
        loss = criterion.part(FOLLOWED, 1 / 3)(*part) / 3
        loss.backward()
        total += float(loss.detach())
    assert total == pytest.approx(float(criterion(outputs.detach(), FOLLOWED)), rel=1e-6)
    assert whole is not None and torch.allclose(outputs.grad, whole, atol=1e-7)


def test_a_row_a_document_is_kept_of_a_batch() -> None:
    outputs = logits()
    outputs[0, 1, 3] = outputs[0, 2, 2] = outputs[1, 0, 1] = 9.0
    kept = TASK.kept(outputs, FOLLOWED)
    wanted = losses(outputs)
    assert kept.shape == (3, 4) and kept[:, 1].tolist() == [2, 5, 0] and kept[:, 3].tolist() == [UNASKED] * 3
    assert kept[:, 0].tolist() == pytest.approx([sum(its) for its in wanted], rel=1e-5)
    hits = [
        sum(int(outputs[i, t].argmax()) == int(one) for t, one in enumerate(its) if one != MISSING)
        for i, its in enumerate(FOLLOWED)
    ]
    assert kept[:, 2].tolist() == hits and hits[0] == 2
    said = TASK.decode(kept)
    assert said[0]["exact"] and not said[1]["exact"] and TASK.errors(kept, FOLLOWED)[2] == 0
    found = TASK.measure(kept, FOLLOWED)
    every = [loss for its in wanted for loss in its]
    assert found.head.value == pytest.approx(math.exp(sum(every) / 7), rel=1e-5)
    assert found.values["exact_match"].value == 0.5  # of two with a token to say
    assert found.loss == pytest.approx(sum(every) / 7, rel=1e-5)
    assert TASK.score(kept, FOLLOWED).head.value == pytest.approx(found.head.value)


def test_intervals_are_over_documents() -> None:
    """Tokens of a document depend on each other: a hundred times as many tell nothing more."""
    few = numpy.array([[2.0, 1.0, 0.0, -0.01], [0.5, 1.0, 1.0, -0.01], [1.5, 1.0, 1.0, -0.01], [3.0, 1.0, 0.0, -0.01]])
    one, other = generated.measure(few), generated.measure(few * 100)
    assert (one.head.low, one.head.high) == (other.head.low, other.head.high) and one.head.n == 4
    assert one.head.low is not None and one.head.high is not None and one.head.low < one.head.value < one.head.high
    assert "exact_match" in one.values and "exact_match" not in other.values  # these are long


def test_of_choices_the_likeliest_as_a_whole_is_taken() -> None:
    """By the sum over its tokens, not their mean, and a tie is no choice; the others count for nothing else."""
    followed = [
        torch.tensor([[MISSING, 3, 2], [MISSING, 4, MISSING]]),
        torch.tensor([MISSING, 1]),
        torch.tensor([[MISSING, 3, 2], [MISSING, 4, MISSING], [MISSING, 3, 5]]),
        torch.tensor([[2, MISSING], [2, MISSING]]),
    ]
    outputs = torch.zeros(8, 4, 7)  # a row for each choice; each token costs log 7
    kept = TASK.kept(outputs, followed)
    assert kept[:, 3].tolist() == [0, UNASKED, 0, 0]
    outputs[0, 1, 3] = outputs[3, 1, 3] = 9.0  # all but sure of the first token of the right ones: like the shorter
    outputs[0, 2, 2] = outputs[3, 2, 2] = 1.0  # and a little of the second
    kept = TASK.kept(outputs, followed)
    assert kept[:, 3].tolist() == [1, UNASKED, 1, 0] and kept[:, 1].tolist() == [2, 1, 2, 1]
    assert torch.equal(kept[0, :3], TASK.kept(outputs[:1], [followed[0][0]])[0, :3])
    found = TASK.measure(kept, followed)
    assert found.values["choice_accuracy"].value == pytest.approx(2 / 3) and found.values["choice_accuracy"].n == 3
    assert [one["chosen"] for one in TASK.decode(kept)] == [True, None, True, False]
    assert "choice_accuracy" not in TASK.measure(kept[1:2], followed[1:2]).values


def test_two_models_are_compared_by_what_documents_are_right_in_both() -> None:
    worse = torch.tensor([[2.0, 1, 0, 0], [2.0, 1, 1, 1], [2.0, 1, 0, 0], [2.0, 1, 0, UNASKED]])
    better = worse.clone()
    better[0] = torch.tensor([1.0, 1, 1, 1])
    found = paired.further(TASK, better, worse, FOLLOWED)
    assert found["exact_match"].value == pytest.approx(1 / 4) and found["choice_accuracy"].value == pytest.approx(1 / 3)
    same = paired.further(TASK, worse, worse, FOLLOWED)["choice_accuracy"]
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_no_column_of_labels_is_what_states_it() -> None:
    assert settle.fit([], Labels()) == (Generation(), "")
    assert settle.fit([], Labels(task="generation"))[0] == Generation()
    with pytest.raises(DataError, match="--task classification learns labels, and no column of them"):
        settle.fit([], Labels(task="classification"))
    with pytest.raises(DataError, match="these samples have labels, 'stars'"):
        settle.fit([Column("stars", ["1"])], Labels(task="generation"))
    with pytest.raises(JobError, match="smoothing"):
        TASK.criterion(Recipe(smoothing=0.1))


def test_it_is_plain_data_and_knows_its_vocabulary() -> None:
    assert kinds.read(kinds.plain(TASK)) == TASK
    assert Generation().sized((5, 11)) == Generation(11)
    assert TASK.ignorance == math.log(7) and Generation().ignorance == math.inf
    assert fits(TASK, (5, 7)) and not fits(TASK, (5, 8)) and not fits(TASK, (7,))
