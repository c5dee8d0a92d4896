"""Batches: a pure function of the seed and the step, whatever the number of workers."""

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from hubft import Preprocess
from hubft.train import loader, transforms
from hubft.train.data import Images, Sample
from hubft.train.loader import Batches, Views

PREPROCESS = Preprocess(size=(16, 16), resize=20)
SHAPES = [(1, 1), (1, 8), (7, 3), (8, 4), (9, 4), (10, 64), (65, 32)]  # (samples, batch size)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Eleven images of noise with the labels 0, 1, 2, 0, ..."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(11):
        pixels = numpy.random.default_rng(i).integers(0, 255, (24, 30, 3), dtype=numpy.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    made = tuple(Sample(f"{i}.png", i % 3, str(i)) for i in range(11))
    return Images(folder, ("a", "b", "c"), made, made, {})


@pytest.mark.parametrize(("samples", "batch_size"), SHAPES)
def test_an_epoch_has_every_sample_once_in_even_batches(samples: int, batch_size: int) -> None:
    batches = list(Batches(samples, batch_size, 3, seed=0))
    per_epoch = Batches(samples, batch_size, 3, 0).per_epoch
    assert len(batches) == len(Batches(samples, batch_size, 3, 0)) == 3 * per_epoch
    for epoch in range(3):
        own = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(index for batch in own for index in batch) == [(epoch, i) for i in range(samples)]
        sizes = {len(batch) for batch in own}
        assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
        assert len(own) == -(-samples // batch_size), "as few batches as the size allows"


@pytest.mark.parametrize(("samples", "batch_size"), SHAPES)
def test_entered_at_any_step_the_rest_is_the_same(samples: int, batch_size: int) -> None:
    whole = list(Batches(samples, batch_size, 3, seed=5))
    for start in range(len(whole) + 1):
        rest = Batches(samples, batch_size, 3, seed=5, start=start)
        assert list(rest) == whole[start:] and len(rest) == len(whole) - start


def test_order_differs_by_epoch_and_by_seed_and_by_nothing_else() -> None:
    first, second = ([i for _, i in batch] for batch in Batches(50, 50, 2, seed=0))
    torch.manual_seed(123)
    again, _ = ([i for _, i in batch] for batch in Batches(50, 50, 2, seed=0))
    other, _ = ([i for _, i in batch] for batch in Batches(50, 50, 2, seed=1))
    assert first == again and first != second and first != other


def draw(_: Image.Image) -> tuple[float, float, float]:
    """A transform that draws from every generator that there is."""
    return random.random(), float(numpy.random.rand()), float(torch.rand(()))


def test_draws_of_a_sample_depend_on_seed_epoch_and_index_alone(samples: Images) -> None:
    def views(seed: int) -> Views:
        return Views(samples.folder, samples.train, draw, seed)

    first = {index: views(0)[index][0] for index in ((0, 3), (0, 4), (1, 3), (1, 4))}
    again = {index: views(0)[index][0] for index in ((1, 4), (0, 4), (0, 3), (1, 3))}
    assert first == again
    numbers = Counter(float(number) for triple in (*first.values(), views(1)[0, 3][0]) for number in triple)
    assert max(numbers.values()) == 1, "all differ"


def test_a_view_is_the_picture_and_its_label(samples: Images) -> None:
    image, label = Views(samples.folder, samples.train, numpy.asarray, 0)[7, 5]
    assert label == 2 and numpy.array_equal(image, numpy.asarray(Image.open(samples.folder / "5.png")))


@pytest.mark.parametrize("start", [0, 4])
def test_the_number_of_workers_does_not_matter(samples: Images, start: int) -> None:
    def run(workers: int) -> list[Any]:
        sampler = Batches(11, 4, 2, seed=3, start=start)
        transform = transforms.training(PREPROCESS, "standard")
        return list(loader.batches(samples, transform, sampler, workers, torch.device("cpu")))

    alone, shared = run(0), run(2)
    assert len(alone) == len(shared) == 6 - start
    for (inputs, targets), (others, labels) in zip(alone, shared, strict=True):
        assert inputs.dtype == torch.float32 and inputs.shape[1:] == (3, 16, 16) and targets.dtype == torch.int64
        assert torch.equal(inputs, others) and torch.equal(targets, labels)


def test_augmented_epochs_differ(samples: Images) -> None:
    transform = transforms.training(PREPROCESS, "light")
    views = Views(samples.folder, samples.train, transform, 0)
    assert not torch.equal(views[0, 1][0], views[1, 1][0])


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 3]), (11, [11]), (100, [11]), (1, [1] * 11)])
@pytest.mark.parametrize("workers", [0, 2])
def test_in_order_gives_every_sample_once_in_order(
    samples: Images, batch_size: int, sizes: list[int], workers: int
) -> None:
    transform = transforms.evaluation(PREPROCESS)
    found = list(loader.in_order(samples.folder, samples.val, transform, batch_size, workers))
    assert [len(targets) for _, targets in found] == sizes
    assert torch.cat([targets for _, targets in found]).tolist() == [i % 3 for i in range(11)]
    wanted = torch.stack([transform(Image.open(samples.folder / f"{i}.png")) for i in range(11)])
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), wanted)


def test_a_broken_image_ends_the_epoch_and_is_not_replaced(samples: Images, tmp_path: Path) -> None:
    gone = [Sample("gone.png", 0, "")]
    with pytest.raises(Exception, match="not a regular file"):
        list(loader.in_order(tmp_path, gone, transforms.evaluation(PREPROCESS), 4, 0))


@pytest.mark.parametrize(("cores", "chosen"), [(1, 1), (2, 1), (4, 3), (64, 8)])
def test_workers_are_chosen_by_the_machine(monkeypatch: pytest.MonkeyPatch, cores: int, chosen: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert [loader.processes(asked) for asked in (-1, 0, 5)] == [chosen, 0, 5]
