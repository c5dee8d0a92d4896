"""The task `tokens`: a tag for each word, spans of words, and what is kept, measured and said of them."""

import math
import random

import numpy
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from torch.nn import functional

from hubft.base import batches
from hubft.base.errors import DataError, JobError
from hubft.job import Labels
from hubft.recipe import Recipe
from hubft.tasks import kinds, settle, spans, tagged
from hubft.tasks.losses import MISSING
from hubft.tasks.task import Column, fits
from hubft.tasks.tokens import Tokens
from hubft.text.tagged import Frame

TASK = Tokens(("B-LOC", "B-PER", "I-LOC", "I-PER", "O"), (2, 3, 1, 1, 9))
TARGETS = [torch.tensor([MISSING, 1, 3, MISSING, 4, MISSING]), torch.tensor([MISSING, 0, MISSING])]


def logits() -> torch.Tensor:
    return torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))


def kept(outputs: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = batches.stacked(TASK.kept(outputs, TARGETS))
    return found


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("O I-PER I-PER", [("PER", 1, 3)]),
        ("B-PER I-LOC I-LOC O", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("S-PER B-PER E-PER I-PER", [("PER", 0, 1), ("PER", 1, 3), ("PER", 3, 4)]),
        ("U-A-B L-A-B", [("A-B", 0, 1), ("A-B", 1, 2)]),
        ("O O", []),
    ],
)
def test_spans_are_those_of_conlleval(tags: str, found: list[spans.Span]) -> None:
    assert spans.of(tags.split()) == found


def test_tags_that_state_spans_are_told_from_others() -> None:
    assert spans.are(TASK.tags) and spans.are(("S-A", "O")) and spans.are(("B-A",))
    for others in (("NOUN", "VERB", "O"), ("B-A", "NOUN"), ("I-A", "O"), ("O",), ("B-", "O")):
        assert not spans.are(others), others


def numbers(tags: str) -> list[int]:
    return [TASK.tags.index(tag) for tag in tags.split()]


def test_a_span_is_right_by_its_label_and_both_its_ends() -> None:
    """Cases whose numbers are counted by hand."""
    true = [numbers("B-PER I-PER O B-LOC"), numbers("O B-LOC I-LOC"), numbers("O")]
    said = [numbers("B-PER I-PER O B-PER"), numbers("O B-LOC O"), numbers("O")]
    found = tagged.measure(tagged.Counted(true, said, TASK.tags), 0.5)  # of 3 said and 3 there, one is right
    assert [found.values[name].value for name in ("f1", "precision", "recall")] == pytest.approx([1 / 3] * 3)
    assert found.values["token_accuracy"].value == 6 / 8 and found.head.n == 3 and found.loss == 0.5
    assert found.details["labels"] == ["LOC", "PER"] and found.details["found"] == [2, 1]
    assert [one["value"] for one in found.details["f1_of_labels"]] == pytest.approx([0, 2 / 3])
    assert [one["value"] for one in found.details["precision_of_labels"]] == pytest.approx([0, 1 / 2])
    assert [one["value"] for one in found.details["recall_of_labels"]] == pytest.approx([0, 1])
    for one in found.values.values():
        assert one.low is not None and one.high is not None and one.low <= one.value <= one.high
    none = tagged.measure(tagged.Counted([numbers("O")] * 2, [numbers("O")] * 2, TASK.tags), 0.0)
    assert none.head.value == 0 and none.details["f1_of_labels"] == [None, None]


def test_of_plain_tags_it_is_what_scikit_learn_says() -> None:
    draw, names = random.Random(0), ("NOUN", "O", "VERB", "X")
    true = [[draw.randrange(3) for _ in range(draw.randint(1, 9))] for _ in range(20)]
    said = [[tag if draw.random() < 0.6 else draw.randrange(3) for tag in tags] for tags in true]
    found = tagged.measure(tagged.Counted(true, said, names), 0.0)
    flat = [[tag for tags in side for tag in tags] for side in (true, said)]
    for name, theirs in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert found.values[name].value == pytest.approx(theirs(*flat, average="macro")), name
        each = theirs(*flat, average=None)
        assert [one["value"] for one in found.details[f"{name}_of_labels"][:3]] == pytest.approx(each.tolist())
    assert found.values["token_accuracy"].value == pytest.approx(accuracy_score(*flat))
    assert found.details["f1_of_labels"][3] is None, "a tag that is nowhere"


def test_intervals_are_over_sentences() -> None:
    true = [numbers("B-PER O"), numbers("B-LOC O"), numbers("B-PER I-PER")]
    said = [numbers("B-PER O"), numbers("O O"), numbers("B-PER I-PER")]
    one = tagged.Counted(true, said, TASK.tags)
    many = tagged.Counted([its * 50 for its in true], [its * 50 for its in said], TASK.tags)
    first, second = (tagged.measure(its, 0.0).values["token_accuracy"] for its in (one, many))
    assert (first.low, first.high, first.n) == (second.low, second.high, 3)
    assert one.headline()(numpy.array([1.0, 0.0, 1.0])) == 1 > one.headline()(numpy.ones(3)) > 0


def test_the_loss_is_a_mean_over_the_words_of_a_whole_step() -> None:
    outputs = logits().requires_grad_()
    rows = [(0, 1, 1), (0, 2, 3), (0, 4, 4), (1, 1, 0)]
    each = [-functional.log_softmax(outputs[i, t].detach(), 0)[tag] for i, t, tag in rows]
    criterion = TASK.criterion()
    assert float(criterion(outputs.detach(), TARGETS)) == pytest.approx(float(sum(each)) / 4, rel=1e-5)
    criterion(outputs, TARGETS).backward()
    whole, outputs.grad = outputs.grad, None
    for i in range(2):  # parts of three words and of one
        part = batches.rows((outputs, TARGETS), i, i + 1)
        (criterion.part(TARGETS, 1 / 2)(*part) / 2).backward()
    assert whole is not None and torch.allclose(outputs.grad, whole, atol=1e-7)


def test_the_words_are_kept_and_measured() -> None:
    outputs = logits()
    for i, t, tag in ((0, 1, 1), (0, 2, 3), (0, 4, 0), (1, 1, 0)):
        outputs[i, t, tag] = 9.0
    found = kept(outputs)
    assert found.shape == (2, 3, 5) and torch.equal(found[0], outputs[0, [1, 2, 4]])
    assert torch.equal(found[1, 0], outputs[1, 1]) and (found[1, 1:] == batches.EMPTY).all() and found.isfinite().all()
    assert [one["tags"] for one in TASK.decode(found)] == [["B-PER", "I-PER", "B-LOC"], ["B-LOC"]]
    assert TASK.errors(found, TARGETS).tolist() == pytest.approx([1 / 3, 0])
    assert TASK.measure(found, TARGETS).head.value == pytest.approx(0.8)  # of 3 said and 2 there, two are right
    score = TASK.score(found, TARGETS)
    assert score.head.value == pytest.approx(0.8) and score.loss == pytest.approx(
        float(TASK.criterion()(outputs, TARGETS))
    )
    assert TASK.statistic(found, TARGETS)(numpy.ones(2)) == pytest.approx(0.8)
    other = outputs.clone()
    other[0, 1] = torch.tensor([0.0, 0, 0, 0, 9])
    assert TASK.agreement(found, kept(other)).tolist() == pytest.approx([2 / 3, 1])


def test_spans_are_said_with_their_places_in_the_text() -> None:
    frame = Frame(
        ["Anna", "Li", "lives", "in", "Paris"], {0: 1, 1: 2, 3: 5, 4: 6}, [(0, 4), (6, 8), (9, 14), (15, 17), (18, 23)]
    )
    tags = ["O", "B-PER", "I-PER", "O", "O", "O", "B-LOC", "B-LOC"]
    outputs = torch.stack([functional.one_hot(torch.tensor(TASK.tags.index(tag)), 5) * 20.0 for tag in tags])
    of_tokens = TASK.placed(TASK.decode(outputs[None])[0], frame)
    of_words = TASK.placed(TASK.decode(outputs[None, [1, 2, 5, 6]])[0], frame)
    assert of_tokens == of_words
    first, second = of_tokens["spans"]
    assert (first["label"], first["text"], first["start"], first["end"]) == ("PER", "Anna Li", 0, 8)
    assert (second["label"], second["text"], second["start"], second["end"]) == ("LOC", "Paris", 18, 23)
    assert first["score"] == pytest.approx(1, abs=1e-6)
    assert of_tokens["tags"] == ["B-PER", "I-PER", None, "O", "B-LOC"], "a word without a token has no tag"
    assert TASK.words(of_tokens, 3) == "PER 1.00 Anna Li [0:8], LOC 1.00 Paris [18:23]"


def test_it_is_learned_from_lists_of_tags() -> None:
    column = Column("tags", [["O", "B-PER"], ["B-PER"], ["O"]])
    task, _ = settle.fit([column], Labels(task="tokens"))
    assert task == Tokens(("B-PER", "O")) and task.encode((["O", "B-PER"],)) == (1, 0)
    settled = task.settled([(1, 0), (0,), (1,)])
    assert settled == Tokens(("B-PER", "O"), (2, 2)) and settled.constant() == 0.5
    assert task.absent([(1,)]) == ["B-PER"] and kinds.read(kinds.plain(settled)) == settled
    assert task.ignorance == math.log(2) and fits(task, (7, 2)) and not fits(task, (7, 3)) and not fits(task, (2,))
    with pytest.raises(DataError, match="unknown tag 'B-LOC'"):
        task.encode((["B-LOC"],))
    with pytest.raises(DataError, match="has no tag"):
        task.encode(([],))
    with pytest.raises(DataError, match="holds no lists of tags: give a table with columns tokens and tags"):
        settle.fit([Column("label", ["a", "b"])], Labels(task="tokens"))
    with pytest.raises(DataError, match="--task tokens takes one --target"):
        settle.fit([column, column], Labels(task="tokens"))
    with pytest.raises(JobError, match="smoothing"):
        task.criterion(Recipe(smoothing=0.1))
