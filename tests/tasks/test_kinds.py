"""The kinds of tasks, from a target to what is said: units, thresholds, heads, words, cells, pictures."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hubft.base.errors import PackageError
from hubft.job import Labels
from hubft.tasks import kinds, metrics, settle
from hubft.tasks.classification import Classification
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.regression import Regression
from hubft.tasks.several import Several
from hubft.tasks.task import Column

NAN = float("nan")
TAGS = Multilabel(("ant", "bee", "cat"), counts=(5, 2, 9), thresholds=(0.5, 0.9, 0.2))
PRICE = Regression(("price",), (1234.5,), (250.0,), edges=(1000.0, 1500.0))
COLOUR = Classification(("red", "blue"), counts=(3, 1))
HEADS = Several.of({"colour": COLOUR, "tags": TAGS, "price": PRICE})
JOINT = torch.tensor([[2.0, 0, 3, 2, -3, 0.5], [0, 1, -1, -9, -2, -1], [0, 3, -9, -9, 9, 0], [4, 0, 9, 9, -9, 2]])
ROWS = [(0, (1.0, 0.0, NAN), (1300.0,)), (None, (0.0, 0.0, 0.0), (NAN,)), (1, None, (1234.5,)), (0, None, None)]


def targets() -> Any:
    return HEADS.collate(ROWS)


# --- the user's unit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (6, 1, 1)])
def test_a_plain_model_gives_the_users_unit_and_goes_back(shape: tuple[int, ...]) -> None:
    made = Regression(("a", "b", "c"), (1e6, -3.0, 0.0), (2e3, 1e-4, 50.0))
    torch.manual_seed(0)
    weight, bias, inputs = nn.Parameter(torch.randn(3, *shape)), nn.Parameter(torch.randn(3)), torch.randn(20, 6)
    kept = weight.detach().clone(), bias.detach().clone()

    def outputs() -> Tensor:
        return (inputs @ weight.detach().view(3, 6).T + bias.detach()).float()

    inside = outputs()
    plain = made.folded(weight, bias)
    assert not plain.standardised and made.standardised
    wanted = inside.double() * torch.tensor(made.scale).double() + torch.tensor(made.mean).double()
    assert torch.allclose(outputs().double(), wanted, rtol=1e-5, atol=0)
    truth = wanted.float() * 1.01
    for one, other in ((made.errors(inside, truth), plain.errors(outputs(), truth)),
                       (made.criterion()(inside, truth), plain.criterion()(outputs(), truth))):  # fmt: skip
        assert torch.allclose(one, other, rtol=1e-3)
    for name, one in made.measure(inside, truth).values.items():
        assert plain.measure(outputs(), truth).values[name].value == pytest.approx(one.value, rel=1e-3)
    assert plain.decode(outputs())[0]["a"] == pytest.approx(made.decode(inside)[0]["a"], rel=1e-6)
    folded = weight.detach().clone()
    assert plain.folded(weight, bias) == plain and torch.equal(weight.detach(), folded), "once is enough"
    assert plain.unfolded(weight, bias) == made
    assert torch.allclose(weight.detach(), kept[0], rtol=1e-6) and torch.allclose(bias.detach(), kept[1], rtol=1e-3)
    assert made.unfolded(weight, bias) == made


def test_only_the_rows_of_numbers_are_folded_among_several_heads() -> None:
    weight, bias = torch.ones(6, 2), torch.ones(6)
    plain = HEADS.folded(weight, bias)
    assert weight[:, 0].tolist() == [1, 1, 1, 1, 1, 250] and bias.tolist() == [1, 1, 1, 1, 1, 250 + 1234.5]
    price = plain.tasks["price"]
    assert isinstance(price, Regression) and not price.standardised
    assert plain.unfolded(weight, bias) == HEADS and bias.tolist() == [1] * 6


def test_numbers_are_standardised_by_the_training_rows_that_have_them() -> None:
    made, _ = settle.fit([Column("a", [1.0, 2.5, 100.0]), Column("b", ["0.5", "", "2.5"])], Labels())
    assert isinstance(made, Regression)
    made = made.settled([(1.0, 0.5), (3.0, NAN), (NAN, 2.5)])
    assert made.mean == (2.0, 1.5) and made.scale == (1.0, 1.0)
    assert made.constant() == 1.0 and made.ignorance == 1.0
    mean = torch.zeros(3, 2)
    truth = made.collate([(1.0, 0.5), (3.0, NAN), (NAN, 2.5)])
    assert made.errors(mean, truth).tolist() == [1, 1, 1] and float(made.criterion()(mean, truth)) == 1


def test_an_error_is_that_of_a_share_of_the_deviation_and_one_at_most() -> None:
    truth = torch.tensor([[1234.5], [1359.5], [9999.0], [NAN]])
    assert PRICE.errors(torch.zeros(4, 1), truth).tolist() == [0, 0.25, 1, 0]
    assert PRICE.errors(torch.full((4, 1), NAN), truth).tolist() == [1, 1, 1, 0]


# --- what a split keeps even ----------------------------------------------------------------------------------


def test_strata_are_labels_the_rarest_first_bins_of_numbers_and_those_of_all_heads() -> None:
    assert list(TAGS.strata((1.0, 1.0, 1.0))) == [1, 0, 2] and list(TAGS.strata((0.0, NAN, 0.0))) == [-1]
    assert [list(PRICE.strata((one,))) for one in (1.0, 1000.0, 1400.0, 9e9, NAN)] == [[0], [1], [1], [2], [-1]]
    assert list(HEADS.strata((0, (1.0, 1.0, 0.0), (2000.0,)))) == [(1, 1), (0, 0), (1, 0), (2, 2)]
    assert list(HEADS.strata((None, None, (2000.0,)))) == [(2, 2)]


def test_bins_of_numbers_hold_equally_many() -> None:
    values = [float(one) ** 3 + 0.5 for one in range(100)]
    made, _ = settle.fit([Column("x", values)], Labels())
    bins = [next(iter(made.strata((one,)))) for one in values]
    assert [bins.count(place) for place in range(10)] == [10] * 10


# --- what is said ---------------------------------------------------------------------------------------------


def test_labels_are_said_over_their_thresholds_the_likeliest_first() -> None:
    first, second, *_ = TAGS.decode(torch.tensor([[1.0, 2.0, -1.0], [-1.0, -1.0, -3.0]]))
    assert first["labels"] == ["ant", "cat"] and list(first["probabilities"]) == ["bee", "ant", "cat"]
    assert TAGS.words(first, 5) == "ant 0.73, cat 0.27" and TAGS.words(first, 1) == "ant 0.73"
    assert second["labels"] == [] and TAGS.words(second, 5) == "none (ant 0.27)"
    cells = TAGS.cells(first, 2)
    assert list(cells) == ["labels", "label", "probability", "label_2", "probability_2"]
    assert cells["labels"] == "ant;cat" and cells["label"] == "bee"
    assert Multilabel(("a;b", "c")).cells({"labels": ["a;b", "c"], "probabilities": {}}, 1) == {"labels": "a;b|c"}
    assert TAGS.state((1.0, 0.0, NAN)) == {"labels": ["ant"], "unknown": ["cat"]}
    assert TAGS.state(None) == {"labels": None} and json.dumps(first)


def test_numbers_are_said_in_the_users_unit() -> None:
    (said,) = PRICE.decode(torch.tensor([[0.5]]))
    assert said == {"price": 1359.5} and PRICE.words(said, 5) == "price 1359.5" and PRICE.cells(said, 5) == said
    assert PRICE.state((NAN,)) == {"price": None} == PRICE.state(None)
    large = Regression(("a",), (0.0,), (1e7,)).decode(torch.tensor([[0.12345678]]))[0]
    assert large == {"a": 1234568.0} and Regression(("a",)).words(large, 1) == "a 1234600"


def test_heads_say_what_their_tasks_say() -> None:
    assert HEADS.names == ("colour: red", "colour: blue", "tags: ant", "tags: bee", "tags: cat", "price")
    first = HEADS.decode(JOINT)[0]
    assert set(first) == {"colour", "tags", "price"} and first["price"] == {"price": 1359.5}
    assert HEADS.words(first, 1) == "colour red 0.881; tags ant 0.95; price 1359.5"
    assert set(HEADS.cells(first, 1)) == {
        "colour_class", "colour_probability", "tags_labels", "tags_label", "tags_probability", "price",
    }  # fmt: skip
    assert HEADS.state(ROWS[2]) == {"colour": {"class": "blue"}, "tags": {"labels": None}, "price": {"price": 1234.5}}
    assert HEADS.state(None)["colour"] == {"class": None}


def test_targets_of_heads_are_encoded_each_and_none_is_missing_only_if_all_are() -> None:
    made, _ = settle.fit(
        [Column("colour", ["red", "blue", None]), Column("size", [1.5, None, 2.5])], Labels()
    )  # fmt: skip
    assert made.encode(("blue", None)) == (0, None) and made.encode((None, "2.25")) == (None, (2.25,))
    assert made.encode((None, "")) is None
    for values, line in (
        (("rot", 1.0), "column 'colour': unknown class 'rot'"),
        (("red", "x"), "column 'size' has 'x'"),
    ):
        with pytest.raises(task_error(), match=line) as caught:
            made.encode(values)
        assert str(caught.value).count("column") == 1


def task_error() -> type[Exception]:
    from hubft.base.errors import DataError

    return DataError


# --- several heads are measured -------------------------------------------------------------------------------


def test_heads_are_measured_each_on_its_own_rows() -> None:
    found, truth = HEADS.measure(JOINT, targets()), targets()
    alone = {
        "colour": COLOUR.measure(JOINT[[0, 2, 3], :2], truth["colour"][[0, 2, 3]]),
        "tags": TAGS.measure(JOINT[:2, 2:5], truth["tags"][:2]),
        "price": PRICE.measure(JOINT[[0, 2], 5:], truth["price"][[0, 2]]),
    }
    mean = sum(one.head.value for one in alone.values()) / 3
    assert found.headline == "mean_of_heads" and found.head.value == pytest.approx(mean)
    assert metrics.title(found.headline) == "mean of the heads' headlines"
    for name, one in alone.items():
        for metric, measured in one.values.items():
            assert found.values[f"{name}: {metric}"] == measured
    assert found.loss == pytest.approx(sum(one.loss for one in alone.values()))
    assert found.head.low is None or found.head.low <= mean
    again = metrics.read(json.loads(json.dumps(found.plain(), allow_nan=False)))
    assert again == found
    quick = HEADS.score(JOINT, targets())
    assert quick.head.value == pytest.approx(mean) and quick.loss == pytest.approx(found.loss)
    assert len(list(HEADS.tables(again))) == 2 and not any(
        "of 'tags'" in one for one in HEADS.diagnosis(again, targets())
    )
    figures = HEADS.figures(again)
    assert list(figures) == ["1-colour-confusion.png", "2-tags-labels.png", "3-price-prediction.png"]


def test_errors_of_heads_are_means_over_those_that_are_known() -> None:
    truth = targets()
    each = torch.stack(
        [COLOUR.errors(JOINT[:, :2], truth["colour"]), TAGS.errors(JOINT[:, 2:5], truth["tags"]),
         PRICE.errors(JOINT[:, 5:], truth["price"])], 1
    )  # fmt: skip
    known = torch.tensor([[1, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0]])
    assert torch.allclose(HEADS.errors(JOINT, truth), (each * known).sum(1) / known.sum(1))
    assert HEADS.ignorance == pytest.approx(COLOUR.ignorance + TAGS.ignorance + 1)


def test_a_head_without_labels_here_is_left_out_of_the_mean() -> None:
    truth = HEADS.collate([(0, None, None), (1, None, None)])
    found = HEADS.measure(JOINT[:2], truth)
    assert found.head.value == found.values["colour: accuracy"].value == 1
    assert not any(name.startswith(("tags", "price")) for name in found.values)


def test_heads_named_as_keys_of_the_metrics_come_back() -> None:
    made = Several.of({"value": COLOUR, "loss": Classification(("a", "b")), "headline": COLOUR})
    truth = made.collate([(0, 1, 0), (1, 0, 1)])
    found = made.measure(torch.randn(2, 6), truth)
    assert metrics.read(json.loads(json.dumps(found.plain()))) == found


def test_only_heads_that_tune_are_tuned() -> None:
    random = torch.Generator().manual_seed(0)
    true = (torch.rand(100, 3, generator=random) < 0.3).float()
    outputs = torch.cat([torch.zeros(100, 2), torch.randn(100, 3, generator=random) + true, torch.zeros(100, 1)], 1)
    rows = [(0, tuple(row), (1000.0,)) for row in true.tolist()]
    tuned = HEADS.tuned(outputs, HEADS.collate(rows))
    tags = tuned.tasks["tags"]
    assert isinstance(tags, Multilabel) and tags == TAGS.tuned(outputs[:, 2:5], true) != TAGS
    assert tuned.tasks["colour"] == COLOUR and HEADS.tunes
    assert not Several.of({"a": COLOUR, "b": PRICE}).tunes


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "multilabel", "classes": ["a", "b"], "thresholds": [0.5]},
        {"kind": "regression", "columns": ["a"], "mean": [0.0, 1.0], "scale": [1.0]},
        {"kind": "regression", "columns": ["a"], "mean": [0.0], "scale": [0.0]},
        {"kind": "several", "columns": ["a"], "heads": [kinds.plain(COLOUR)]},
        {"kind": "several", "columns": ["a", "a"], "heads": [kinds.plain(COLOUR)] * 2},
        {"kind": "several", "columns": ["a", "b"], "heads": [kinds.plain(HEADS), kinds.plain(COLOUR)]},
        {"kind": "several", "columns": ["a", "b"], "heads": [{"kind": "sevral"}, kinds.plain(COLOUR)]},
        {"kind": "several", "columns": ["a", "b"], "heads": ["red", kinds.plain(COLOUR)]},
    ],
)
def test_tasks_that_cannot_be_are_refused(data: Any) -> None:
    with pytest.raises(PackageError):
        kinds.read(data)


# --- no better than one answer --------------------------------------------------------------------------------


def test_a_model_that_is_no_better_than_one_answer_is_told() -> None:
    truth = torch.tensor([[1000.0], [1500.0], [2000.0]])
    at_mean = PRICE.measure(torch.zeros(3, 1), truth)
    assert list(PRICE.diagnosis(at_mean, truth)) == ["it is no better than always saying the mean, 1234.5"]
    assert not PRICE.diagnosis(PRICE.measure((truth - 1234.5) / 250, truth), truth)
    two = Regression(("a", "b"), (1.0, 2.0), (1.0, 1.0))
    pairs = torch.tensor([[0.0, 5.0], [2.0, 6.0]])
    assert two.diagnosis(two.measure(torch.zeros(2, 2), pairs), pairs)[0].endswith("the means, a 1, b 2")
    tags, labels = Multilabel(("a", "b")), torch.tensor([[1.0, 0], [0, 1], [0, 1], [NAN, NAN]])
    same = tags.measure(torch.zeros(4, 2), labels)
    (chance,) = tags.diagnosis(same, labels)
    assert chance == "its mean average precision is not above that of labels given by chance, 0.500"
    assert not tags.diagnosis(tags.measure(labels.nan_to_num(0.0), labels), labels)


# --- pictures -------------------------------------------------------------------------------------------------


def test_pictures_are_drawn_of_foreign_names_and_of_few_points() -> None:
    names = tuple(f"$x_{place}\x07" for place in range(50))
    tags, truth = Multilabel(names), (torch.arange(20)[:, None] % 7 == torch.arange(50)[None] % 9).float()
    numbers = Regression(("$a_", "b"), (0.0, 0.0), (1.0, 1.0))
    gaps = torch.full((20, 2), NAN)
    gaps[:, 0] = torch.arange(20.0)
    for made, outputs, what in ((tags, torch.randn(20, 50), truth), (numbers, torch.randn(20, 2), gaps)):
        for name, figure in made.figures(made.measure(outputs, what)).items():
            figure.draw_without_rendering()
            assert name in ("labels.png", "prediction.png")


def test_tables_show_labels_with_their_support_and_threshold() -> None:
    (table,) = TAGS.tables(TAGS.measure(JOINT[:, 2:5], torch.eye(4)[:, :3]))
    assert table.columns == ("label", "average_precision", "f1", "precision", "recall", "positives", "threshold")
    assert [(row[0], row[-2], row[-1]) for row in table.rows] == [
        ("ant", 1, "0.500"), ("bee", 1, "0.900"), ("cat", 1, "0.200"),
    ]  # fmt: skip


def test_measuring_many_samples_takes_seconds() -> None:
    import time

    made = Multilabel(tuple(f"l{place}" for place in range(20)))
    true = (torch.rand(5000, 20) < 0.1).float()
    start = time.perf_counter()
    made.measure(torch.randn(5000, 20) + true, true)
    assert time.perf_counter() - start < 5


def test_two_models_agree_where_they_say_the_same_of_a_sample() -> None:
    first = torch.tensor([[3.0, 1.0, -1.0], [0.0, 2.0, 1.0]])
    second = torch.tensor([[9.0, 8.0, -2.0], [0.0, 1.0, 2.0]])
    assert Classification(("a", "b", "c")).agreement(first, second).tolist() == [1.0, 0.0]
    labels = Multilabel(("a", "b", "c"), thresholds=(0.5, 0.9, 0.1))
    assert labels.agreement(first, second).tolist() == pytest.approx([2 / 3, 1.0])
    numbers = Regression(("x",), mean=(0.0,), scale=(12.0,), standardised=False)
    assert numbers.agreement(first[:, :1], second[:, :1]).tolist() == pytest.approx([0.5, 1.0])
    both = Several.of({"first": Classification(("a", "b")), "other": Classification(("c", "d"))})
    wide = torch.tensor([[1.0, 0.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    assert both.agreement(*wide).tolist() == [0.5]
