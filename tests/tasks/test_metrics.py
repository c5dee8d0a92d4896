"""Metrics, against published and hand-worked values, scikit-learn and scipy."""

import json
import math
from dataclasses import asdict

import numpy
import pytest
import torch
from scipy.stats import spearmanr
from sklearn import metrics as peers

from hubft.tasks import metrics
from hubft.tasks.classification import Classification
from hubft.tasks.classified import auroc
from hubft.tasks.metrics import Measured, affordable, bootstrap, proportion
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.multilabelled import Ranking
from hubft.tasks.regression import Regression

CLASSES = Classification(("ant", "bee", "cat"))
NAN = float("nan")


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
    assert (round(found.low or 0.0, 4), round(found.high or 0.0, 4)) == (low, high)
    assert (found.value, found.n) == (hits / n, n)


@pytest.mark.parametrize(("hits", "n"), [(7, 7), (0, 1), (3, 10), (145, 153)])
def test_intervals_follow_wilsons_formula(hits: int, n: int) -> None:
    z, p = 1.959963984540054, hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = proportion(hits, n)
    wanted = ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
    assert (found.low, found.high) == pytest.approx(wanted, abs=1e-12)


def test_a_bootstraps_interval_covers_the_mean_as_often_as_it_says() -> None:
    random, hits = numpy.random.default_rng(1), 0
    for _ in range(200):
        sample = random.normal(size=60)
        found = bootstrap(lambda counts, sample=sample: float((counts * sample).sum() / counts.sum()), 60)  # type: ignore[misc]
        hits += (found.low or 0.0) <= 0 <= (found.high or 0.0)
    assert 0.88 <= hits / 200 <= 0.99


def test_an_interval_needs_resamples_in_which_the_number_is_defined() -> None:
    found = bootstrap(lambda counts: 1.0 if (counts == 1).all() else NAN, 20)
    assert found == Measured(1.0, None, None, 20)


def test_large_data_gets_fewer_resamples() -> None:
    assert [affordable(cells) for cells in (0, 100_000, 2_000_000, 4_000_000, 10**9)] == [200, 200, 100, 50, 50]


def test_titles_are_those_that_people_know_and_keep_the_head_as_it_is() -> None:
    assert metrics.title("r2") == "R2" and metrics.title("balanced_accuracy") == "balanced accuracy"
    assert metrics.title("hair_colour: f1_macro") == "hair_colour: macro F1"


# --- one class ------------------------------------------------------------------------------------------------


def test_rows_of_the_confusion_are_the_true_classes() -> None:
    targets = torch.tensor([0, 0, 0, 0, 1])
    predicted = torch.tensor([0, 1, 2, 0, 1])
    outputs = torch.nn.functional.one_hot(predicted, 3).float() * 2
    found = CLASSES.measure(outputs, targets)
    assert found.details["confusion"] == [[2, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert found.head == proportion(3, 5) and found.headline == "accuracy"
    assert found.details["recall"] == [asdict(proportion(2, 4)), asdict(proportion(1, 1)), None]
    right, wrong = math.log(1 + 2 * math.exp(-2)), math.log(1 + 2 * math.exp(-2)) + 2
    assert found.loss == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-6)
    assert metrics.read(json.loads(json.dumps(found.plain(), allow_nan=False))) == found


def test_one_class_seen_and_predicted_alone_is_measured() -> None:
    found = Classification(("a", "b")).measure(torch.tensor([[0.0, 1.0]] * 4), torch.ones(4, dtype=torch.int64))
    assert found.details["confusion"] == [[0, 0], [0, 4]]
    assert found.details["recall"] == [None, asdict(proportion(4, 4))]


def test_the_area_under_the_curve_is_that_of_scikit_learn_and_leaves_gaps_out() -> None:
    random = numpy.random.default_rng(0)
    scores, true = random.normal(size=(80, 2)).round(1), (random.random((80, 2)) < 0.4).astype(float)
    whole = auroc(true, scores)
    assert whole.value == pytest.approx(peers.roc_auc_score(true, scores))
    gaps = true.copy()
    gaps[::3, 1] = NAN
    known = ~numpy.isnan(gaps[:, 1])
    each = peers.roc_auc_score(true[:, 0], scores[:, 0]), peers.roc_auc_score(true[known, 1], scores[known, 1])
    found = auroc(gaps, scores)
    assert found.value == pytest.approx(sum(each) / 2)
    assert (found.high or 0) - (found.low or 0) > (whole.high or 0) - (whole.low or 0), "less is known"


def test_the_interval_of_an_area_with_gaps_is_that_of_the_known_samples() -> None:
    random = numpy.random.default_rng(2)
    true, scores = (random.random((60, 1)) < 0.5).astype(float), random.normal(size=(60, 1))
    padded = numpy.concatenate([true, numpy.full((60, 1), NAN)]), numpy.concatenate([scores, scores])
    alone, among = auroc(true, scores), auroc(*padded)
    assert (among.value, among.low, among.high) == pytest.approx((alone.value, alone.low, alone.high))


# --- several labels -------------------------------------------------------------------------------------------


def labels(n: int = 300, width: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    true = (torch.rand(n, width, generator=random) < 0.3).float()
    return ((torch.randn(n, width, generator=random) + true) * 4).round() / 4, true  # rounded: some are equal


def test_average_precision_is_that_of_scikit_learn_with_ties_weights_and_gaps() -> None:
    outputs, true = labels()
    true[::5, 0] = NAN
    counts = numpy.random.default_rng(0).integers(0, 4, len(true)).astype(float)
    found = Ranking(true.numpy(), outputs.numpy()).average_precision(counts)
    for place in range(4):
        known = ~true[:, place].isnan()
        wanted = peers.average_precision_score(true[known, place], outputs[known, place], sample_weight=counts[known])
        assert found[place] == pytest.approx(wanted)


def test_several_labels_are_measured_as_scikit_learn_does() -> None:
    outputs, true = labels()
    task = Multilabel(("a", "b", "c", "d"), thresholds=(0.5, 0.6, 0.4, 0.5))
    found = task.measure(outputs, true)
    said = outputs.sigmoid() > torch.tensor(task.thresholds)
    values = {name: one.value for name, one in found.values.items()}
    assert values == pytest.approx(
        {
            "mean_average_precision": peers.average_precision_score(true, outputs, average="macro"),
            "f1_macro": peers.f1_score(true, said, average="macro"),
            "f1_micro": peers.f1_score(true, said, average="micro"),
            "f1_samples": peers.f1_score(true, said, average="samples", zero_division=1),
            "auroc": peers.roc_auc_score(true, outputs),
        }
    )
    for name, one in found.values.items():
        assert one.low is not None and one.high is not None and one.low < one.value < one.high, name
    details, (precision, recall, f1, support) = found.details, peers.precision_recall_fscore_support(true, said)
    for name, wanted in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert [one["value"] for one in details[name]] == pytest.approx(wanted)
    assert details["positives"] == support.tolist() and details["known"] == [300] * 4
    assert found.loss == pytest.approx(float(torch.nn.functional.binary_cross_entropy_with_logits(outputs, true)))
    assert metrics.read(json.loads(json.dumps(found.plain(), allow_nan=False))) == found
    assert task.score(outputs, true).head.value == pytest.approx(found.head.value)


def test_a_gap_is_in_no_metric_of_several_labels() -> None:
    outputs, true = labels()
    task, padded = Multilabel(("a", "b", "c", "d")), torch.cat([outputs, outputs])
    alone, among = task.measure(outputs, true), task.measure(padded, torch.cat([true, torch.full_like(true, NAN)]))
    assert among.loss == pytest.approx(alone.loss)
    assert {n: m.value for n, m in among.values.items()} == pytest.approx({n: m.value for n, m in alone.values.items()})
    assert among.details["known"] == alone.details["known"]


def test_f1_of_samples_counts_one_that_has_no_label_and_gets_none_as_right() -> None:
    true = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0], [NAN, 1, 0]])
    outputs = torch.tensor([[1.0, 1, -1], [-1, -1, -1], [1, -1, -1], [1, 1, -1]])
    task = Multilabel(("a", "b", "c"))
    wanted = [2 / 3, 1, 0, 1]  # by hand; what is said of the gap does not count
    assert task.measure(outputs, true).values["f1_samples"].value == pytest.approx(sum(wanted) / 4)
    assert task.errors(outputs, true).tolist() == pytest.approx([1 - one for one in wanted])
    assert task.errors(outputs * NAN, true).tolist() == [1.0] * 4


def test_labels_that_cannot_be_measured_are_none_and_everything_is_still_json() -> None:
    true = torch.tensor([[0.0, 1, NAN], [0, 1, NAN], [0, 1, NAN]])
    found = Multilabel(("a", "b", "c")).measure(torch.full((3, 3), -1.0), true)
    assert found.head == Measured(0.0, n=3)
    assert found.details["average_precision"] == [None] * 3 and "auroc" not in found.values
    assert found.details["f1"][0] is None and found.details["f1"][1]["value"] == 0
    assert found.details["precision"] == [None] * 3
    json.dumps(found.plain(), allow_nan=False)
    wild = Multilabel(("a", "b")).measure(torch.full((4, 2), NAN), torch.eye(2).repeat(2, 1))
    assert wild.head.value == pytest.approx(0.5), "no better than chance"


def test_a_threshold_has_the_best_f1_of_the_samples_it_was_chosen_on() -> None:
    outputs, true = labels(200, 3)
    true[:, 2] = (torch.arange(200) < 4).float()
    true[::7, 0] = NAN
    task = Multilabel(("a", "b", "c")).tuned(outputs, true)
    assert task.thresholds[2] == 0.5, "four positives tell nothing"
    shares = outputs.sigmoid()
    for place in (0, 1):
        known = ~true[:, place].isnan()
        y, share = true[known, place], shares[known, place]
        reached = peers.f1_score(y.numpy(), (share > task.thresholds[place]).numpy())
        assert reached == pytest.approx(
            max(peers.f1_score(y.numpy(), (share > cut).numpy()) for cut in [0.0, *share.tolist()])
        )
        assert task.thresholds[place] not in share.tolist(), "half-way between two"


# --- numbers --------------------------------------------------------------------------------------------------


def test_numbers_are_measured_as_scikit_learn_and_scipy_do() -> None:
    random = numpy.random.default_rng(3)
    truth = random.normal(40, 12, 250).round()  # rounded: ranks are shared
    said = truth + random.normal(0, 6, 250)
    task = Regression(("price",), (40.0,), (12.0,))
    outputs, targets = torch.tensor((said - 40) / 12).float()[:, None], torch.tensor(truth).float()[:, None]
    found = task.measure(outputs, targets)
    wanted = {
        "r2": peers.r2_score(truth, said),
        "rmse": peers.root_mean_squared_error(truth, said),
        "mae": peers.mean_absolute_error(truth, said),
        "spearman": spearmanr(truth, said).statistic,
    }
    assert {name: one.value for name, one in found.values.items()} == pytest.approx(wanted, rel=1e-5)
    assert {name: one.better for name, one in found.values.items()} == {
        "r2": "higher", "rmse": "lower", "mae": "lower", "spearman": "higher",
    }  # fmt: skip
    for one in found.values.values():
        assert one.low is not None and one.high is not None and one.low < one.value < one.high
    assert found.loss == pytest.approx(wanted["rmse"] ** 2 / 144, rel=1e-5)
    assert task.score(outputs, targets).head.value == pytest.approx(wanted["r2"], rel=1e-5)
    assert metrics.read(json.loads(json.dumps(found.plain(), allow_nan=False))) == found


def test_a_resample_is_measured_as_the_samples_it_repeats() -> None:
    from hubft.tasks.regressed import of_column

    random = numpy.random.default_rng(5)
    truth, said = random.normal(size=40).round(1), random.normal(size=40).round(1)
    counts = random.integers(0, 3, 40)
    long = numpy.repeat(truth, counts), numpy.repeat(said, counts)
    r2, rmse, mae, spearman = of_column(truth, said, numpy.arange(40))(counts.astype(float))
    assert r2 == pytest.approx(peers.r2_score(*long)) and rmse == pytest.approx(peers.root_mean_squared_error(*long))
    assert mae == pytest.approx(peers.mean_absolute_error(*long))
    assert spearman == pytest.approx(spearmanr(*long).statistic)


def test_several_columns_are_measured_one_by_one_and_gaps_left_out() -> None:
    task = Regression(("a", "b"), (0.0, 0.0), (1.0, 100.0))
    random = torch.Generator().manual_seed(0)
    truth = torch.randn(50, 2, generator=random) * torch.tensor([1.0, 100.0])
    outputs = truth / torch.tensor([1.0, 100.0]) + torch.randn(50, 2, generator=random) * 0.3
    truth[::4, 1] = NAN
    found, known = task.measure(outputs, truth), ~truth[:, 1].isnan()
    each = [
        peers.r2_score(truth[:, 0].numpy(), outputs[:, 0].numpy()),
        peers.r2_score(truth[known, 1].numpy(), outputs[known, 1].numpy() * 100),
    ]
    assert found.head.value == pytest.approx(sum(each) / 2, rel=1e-5)
    assert set(found.values) == {"r2", "spearman"}, "a mean of errors in different units says nothing"
    by_column = found.details["by_column"]
    assert [one["r2"]["value"] for one in by_column] == pytest.approx(each, rel=1e-5)
    assert [one["known"] for one in by_column] == [50, int(known.sum())] == [one["r2"]["n"] for one in by_column]
    (table,) = task.tables(found)
    assert table.columns[0] == "column" and [row[0] for row in table.rows] == ["a", "b"]


def test_r2_of_one_number_alone_is_what_scikit_learn_says() -> None:
    task = Regression(("a",), (0.0,), (1.0,))
    truth = torch.full((5, 1), 3.0)
    assert task.measure(truth, truth).head.value == 1 and task.measure(truth + 1, truth).head.value == 0
    assert "spearman" not in task.measure(truth, truth).values


@pytest.mark.parametrize("wild", [NAN, math.inf])
def test_a_model_that_ran_away_is_measured_without_a_word_and_beats_none(wild: float) -> None:
    truth = torch.tensor([[1.0], [2.0], [4.0]])
    task = Regression(("a",), (2.0,), (1.0,))
    found = task.measure(torch.tensor([[0.0], [wild], [0.0]]), truth)
    assert math.isnan(found.head.value) and set(found.values) == {"r2"} and len(found.details["points"][0]) == 2
    assert not found.head.beats(Measured(-9.0)) and task.diagnosis(found, truth)


def test_the_points_of_a_picture_are_few_and_always_the_same() -> None:
    task = Regression(("a", "b"), (0.0, 0.0), (1.0, 1.0))
    truth = torch.randn(3000, 2)
    truth[0, 0] = NAN
    first, again = task.measure(truth, truth).details["points"], task.measure(truth, truth).details["points"]
    assert first == again and [len(points) for points in first] == [1000, 1000]
    assert all(a == b for points in first for a, b in points)
