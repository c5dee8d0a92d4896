"""Batches: a pure function of the seed and the step, whatever the number of workers."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from hubft import Preprocess
from hubft.data.source import Folder
from hubft.images import transforms
from hubft.images.pixels import Views
from hubft.images.samples import Sample
from hubft.job import Compute, Recipe
from hubft.machine.runtime import Runtime
from hubft.run import phases
from hubft.run.data import Data
from hubft.tasks.classification import Classification
from hubft.train import loader
from hubft.train.loader import Batches

PREPROCESS = Preprocess(size=(16, 16), resize=20)
SHAPES = [(1, 1), (1, 8), (7, 3), (8, 4), (9, 4), (10, 64), (65, 32)]  # (samples, batch size)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores


def on_cpu(workers: int = 0) -> Runtime:
    return Runtime(Compute(device="cpu", workers=workers))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Eleven images of noise with the labels 0, 1, 2, 0, ..."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(11):
        pixels = numpy.random.default_rng(i).integers(0, 255, (24, 30, 3), dtype=numpy.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    made = tuple(Sample(f"{i}.png", i % 3, str(i)) for i in range(11))
    return Data(Folder(folder), Classification(("a", "b", "c")), made, made, {})


@pytest.mark.parametrize(("samples", "batch_size"), SHAPES)
def test_an_epoch_has_every_sample_once_in_even_batches(samples: int, batch_size: int) -> None:
    batches = list(Batches(samples, batch_size, 3, seed=0))
    per_epoch = Batches(samples, batch_size, 3, 0).per_epoch
    assert len(batches) == len(Batches(samples, batch_size, 3, 0)) == 3 * per_epoch
    for epoch in range(3):
        own = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(i for batch in own for _, i in batch) == list(range(samples))
        sizes = {len(batch) for batch in own}
        assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
        assert len(own) == -(-samples // batch_size), "as few batches as the size allows"


COSTS = [int(cost) for cost in (numpy.random.default_rng(0).pareto(1.5, 2000) * 10 + 3).clip(max=400)]


def test_batches_are_of_like_costs_and_of_the_same_samples() -> None:
    plain, alike = (list(Batches(2000, 16, 2, seed=3, costs=costs)) for costs in (None, COSTS))
    for epoch in (range(125), range(125, 250)):
        seen = [[i for step in epoch for _, i in its[step]] for its in (plain, alike)]
        assert sorted(seen[0]) == sorted(seen[1]) == list(range(2000)), "each sample once"
    assert sorted(map(len, plain)) == sorted(map(len, alike))
    filled = [sum(len(b) * max(COSTS[i] for _, i in b) for b in its) / (2 * sum(COSTS)) for its in (plain, alike)]
    assert filled[0] > 4 and filled[1] < 2, "what is computed, filled up, to what is there"
    means = torch.tensor([sum(COSTS[i] for _, i in batch) / len(batch) for batch in alike])
    order = float(torch.corrcoef(torch.stack([means, torch.arange(250.0)]))[0, 1])
    assert abs(order) < 0.2, "long ones do not come first or last"
    assert {frozenset(batch) for batch in alike[:125]} != {frozenset((1, i) for _, i in b) for b in alike[125:]}


def test_a_part_of_a_run_has_the_batches_of_like_costs_that_the_whole_has() -> None:
    whole = list(Batches(2000, 16, 2, seed=3, costs=COSTS))
    for start, stop in ((0, 7), (60, 130), (125, 250)):
        assert list(Batches(2000, 16, 2, 3, start, stop, costs=COSTS)) == whole[start:stop]
    assert list(Batches(2000, 16, 2, seed=4, costs=COSTS)) != whole


CHANCES = torch.tensor([1 / 900] * 900 + [1 / 90] * 90 + [1 / 10] * 10, dtype=torch.float64)  # of three classes


def drawn(seed: int, start: int = 0) -> list[list[int]]:
    """Return what three epochs of a balanced sampler draw, from a step on."""
    return [[i for _, i in batch] for batch in Batches(1000, 100, 3, seed, start, weights=CHANCES)]


def test_balanced_draws_each_class_equally_often() -> None:
    for epoch in range(3):
        own = [i for batch in drawn(0)[10 * epoch : 10 * epoch + 10] for i in batch]
        counts = [sum(low <= i < high for i in own) for low, high in ((0, 900), (900, 990), (990, 1000))]
        assert sum(counts) == 1000 and all(abs(count - 1000 / 3) < 4 * 15 for count in counts), "four deviations"


def test_balanced_draws_are_a_function_of_seed_and_epoch() -> None:
    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1, start=13) == drawn(1)[13:], "a run that is resumed"
    epochs = [sorted(i for batch in drawn(1)[at : at + 10] for i in batch) for at in (0, 10, 20)]
    assert epochs[0] != epochs[1] != epochs[2]


def test_balancing_gives_each_class_the_same_chance(samples: Data) -> None:
    chances = phases.balancing(SimpleNamespace(data=samples))  # type: ignore[arg-type]
    labels = torch.tensor([sample.target for sample in samples.train])
    assert chances.dtype == torch.float64 and labels.bincount().tolist() == [4, 4, 3]
    assert [chances[labels == label].sum().item() for label in range(3)] == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(("views", "epochs"), [(0, [1, 2, 3, 4, 5]), (1, [0] * 5), (2, [0, 1, 0, 1, 0])])
def test_epochs_have_new_views_or_go_through_fixed_ones(views: int, epochs: list[int]) -> None:
    batches = list(Batches(4, 2, 5, seed=0, views=views))
    assert [{view for view, _ in batch} for batch in batches] == [{view} for view in epochs for _ in range(2)]


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize(("samples", "batch_size"), SHAPES)
def test_any_part_of_a_run_is_that_part_of_the_whole(samples: int, batch_size: int, views: int) -> None:
    whole = list(Batches(samples, batch_size, 3, seed=5, views=views))
    for start in range(len(whole) + 1):
        for stop in (None, *range(start, len(whole) + 1)):
            part = Batches(samples, batch_size, 3, seed=5, start=start, stop=stop, views=views)
            assert list(part) == whole[start:stop] and len(part) == len(whole[start:stop])
            assert part.steps == len(whole), "of the whole run: schedules depend on it"


def test_order_differs_by_epoch_and_by_seed_and_by_nothing_else() -> None:
    first, second = ([i for _, i in batch] for batch in Batches(50, 50, 2, seed=0))
    torch.manual_seed(123)
    again, _ = ([i for _, i in batch] for batch in Batches(50, 50, 2, seed=0))
    fixed, _ = ([i for _, i in batch] for batch in Batches(50, 50, 2, seed=0, views=1))
    other, _ = ([i for _, i in batch] for batch in Batches(50, 50, 2, seed=1))
    assert first == again == fixed and first != second and first != other


@pytest.mark.parametrize("start", [0, 4])
def test_the_number_of_workers_does_not_matter(samples: Data, start: int) -> None:
    def run(workers: int) -> list[Any]:
        sampler = Batches(11, 4, 2, seed=3, start=start)
        views = Views(samples.source, samples.task, samples.train, PREPROCESS, Recipe(augment="standard", seed=3))
        return list(loader.batches(views, sampler, on_cpu(workers)))

    alone, shared = run(0), run(2)
    assert len(alone) == len(shared) == 6 - start
    for (inputs, targets), (others, labels) in zip(alone, shared, strict=True):
        assert inputs.dtype == torch.float32 and inputs.shape[1:] == (3, 16, 16) and targets.dtype == torch.int64
        assert torch.equal(inputs, others) and torch.equal(targets, labels)


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 3]), (11, [11]), (100, [11]), (1, [1] * 11)])
@pytest.mark.parametrize("workers", [0, 2])
def test_in_order_gives_every_sample_once_in_order(
    samples: Data, batch_size: int, sizes: list[int], workers: int
) -> None:
    transform = transforms.evaluation(PREPROCESS)
    found = list(
        loader.in_order(Views(samples.source, samples.task, samples.val, PREPROCESS), batch_size, on_cpu(workers))
    )
    assert [len(targets) for _, targets in found] == sizes
    assert torch.cat([targets for _, targets in found]).tolist() == [i % 3 for i in range(11)]
    wanted = torch.stack([transform(Image.open(samples.source.root / f"{i}.png")) for i in range(11)])
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), wanted)


def test_in_order_gives_the_view_that_is_asked_for(samples: Data) -> None:
    views = Views(samples.source, samples.task, samples.train, PREPROCESS, Recipe(augment="light"))
    plain, first, again = (next(iter(loader.in_order(views, 4, on_cpu(), view)))[0] for view in (0, 1, 1))
    assert torch.equal(first, again) and not torch.equal(plain, first)


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_from_no_generator_of_the_caller(samples: Data, workers: int) -> None:
    before = torch.get_rng_state()
    list(loader.in_order(Views(samples.source, samples.task, samples.val, PREPROCESS), 4, on_cpu(workers)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_broken_image_ends_the_epoch_and_is_not_replaced(tmp_path: Path) -> None:
    views = Views(Folder(tmp_path), Classification(("a", "b")), [Sample("gone.png", 0, "")], PREPROCESS)
    with pytest.raises(Exception, match="no such file"):
        list(loader.in_order(views, 4, on_cpu()))


@pytest.mark.parametrize(("cores", "chosen"), [(1, 1), (2, 1), (4, 3), (64, 8)])
def test_workers_follow_the_cores_where_nothing_was_measured(
    monkeypatch: pytest.MonkeyPatch, cores: int, chosen: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert [on_cpu(asked).workers for asked in (-1, 0, 5)] == [chosen, 0, 5]
