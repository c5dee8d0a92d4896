"""Pixels: the same bits whether kept or decoded anew, scaled in the decoder, normalised as torchvision does."""

import gc
import os
import random
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pytest
import reading
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, get_worker_info

from hubft import Preprocess
from hubft.base import store
from hubft.base.store import Scratch, Store
from hubft.images import decode, pixels, transforms
from hubft.images.pixels import Normalise, Views
from hubft.job import Compute, Recipe
from hubft.machine.runtime import Runtime
from hubft.run.data import Data
from hubft.train import loader
from hubft.train.loader import Batches

PREPROCESS = Preprocess(size=(16, 16), resize=20)
KINDS = {"jpg": ("JPEG", {"quality": 90}), "png": ("PNG", {})}
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores


def photograph(width: int, height: int) -> Image.Image:
    """A smooth picture with a colour of its own for each corner."""
    corners = numpy.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], numpy.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str, turned: int = 1) -> BytesIO:
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = turned
    format_, options = KINDS[kind]
    picture.save(file, format_, exif=exif, **options)
    return file


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Twelve JPEG and PNG in two classes, of ragged sizes, some turned, some smaller than the working size."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(12):
        kind = "jpg" if i % 2 else "png"
        path = folder / "ab"[i // 6] / f"{i}.{kind}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(photograph(18 + 23 * i, 150 - 11 * i), kind, turned=1 + i % 8).getvalue())
    return reading.read(folder, 0.2, 0)


# --- decoding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "side"), [((403, 301), 50), ((64, 800), 24), ((800, 64), 63), ((97, 97), 48)])
def test_a_scaled_picture_looks_as_the_whole_one(kind: str, turned: int, size: tuple[int, int], side: int) -> None:
    file = encoded(photograph(*size), kind, turned)
    whole, scaled = decode.decode(file), decode.decode(file, side)
    assert scaled.size == decode.scaled_size(whole.size, side) and min(scaled.size) == side
    wanted = numpy.asarray(whole.resize(scaled.size, Image.Resampling.BILINEAR), numpy.float32)
    assert numpy.abs(numpy.asarray(scaled) - wanted).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_picture_is_not_enlarged(kind: str) -> None:
    file = encoded(photograph(40, 30), kind, turned=6)
    assert decode.decode(file, 30).tobytes() == decode.decode(file, 500).tobytes() == decode.decode(file).tobytes()


def test_a_jpeg_is_scaled_in_its_decoder_to_no_less_than_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    turn = ImageOps.exif_transpose
    monkeypatch.setattr(ImageOps, "exif_transpose", lambda image: (seen.append(image.size), turn(image))[1])
    for side in (100, 101, 201, 50, 10):
        decode.decode(encoded(photograph(600, 400), "jpg"), side)
    assert seen == [(150, 100), (300, 200), (600, 400), (75, 50), (75, 50)]


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (7, 10_000), (333, 334)])
@pytest.mark.parametrize("side", [1, 24, 336])
def test_the_scaled_size_has_that_side_and_is_the_same_for_a_turned_picture(size: tuple[int, int], side: int) -> None:
    width, height = decode.scaled_size(size, side)
    assert min(width, height) == min(side, *size) and decode.scaled_size(size[::-1], side) == (height, width)


def test_the_proof_of_a_file_tells_its_upright_size(images: Data) -> None:
    for sample in (*images.train, *images.val):
        assert sample.size == decode.decode(images.source.open(sample.place)).size


# --- views ------------------------------------------------------------------------------------------------------


def test_the_evaluation_s_view_is_the_evaluation_s_transform_bit_for_bit(images: Data) -> None:
    transform = transforms.evaluation(PREPROCESS)
    wanted = torch.stack([transform(decode.decode(images.source.open(s.place))) for s in images.train])
    for augment in ("none", "light"):
        views = Views(images.source, images.task, images.train, PREPROCESS, Recipe(augment=augment), Scratch())
        batches = loader.in_order(views, 4, Runtime(Compute(device="cpu", workers=0)))
        assert torch.equal(torch.cat([inputs for inputs, _ in batches]), wanted)


class Draws:
    """A transform that draws from every generator that there is."""

    def __call__(self, _: Image.Image) -> numpy.ndarray:
        return numpy.array([random.random(), numpy.random.rand(), float(torch.rand(()))])


def test_draws_of_a_sample_depend_on_seed_view_and_index_alone(images: Data) -> None:
    def views(seed: int) -> Views:
        made = Views(images.source, images.task, images.train, PREPROCESS, Recipe(augment="light", seed=seed))
        made.augment = Draws()  # type: ignore[assignment]
        return made

    order = [(1, 3), (1, 4), (2, 3), (2, 4)]
    first = {index: views(0)[index][0].tolist() for index in order}
    assert first == {index: views(0)[index][0].tolist() for index in reversed(order)}
    numbers = Counter(number for triple in (*first.values(), views(1)[1, 3][0].tolist()) for number in triple)
    assert max(numbers.values()) == 1, "all differ"


def test_augmented_views_differ_and_nothing_to_augment_is_the_evaluation_s(images: Data) -> None:
    wide = Views(images.source, images.task, images.train, PREPROCESS, Recipe(augment="standard"))
    none = Views(images.source, images.task, images.train, PREPROCESS, Recipe(augment="none"))
    assert len({wide[view, 1][0].numpy().tobytes() for view in range(4)}) == 4
    assert torch.equal(none[3, 1][0], wide[0, 1][0])


def test_crops_are_drawn_from_the_working_picture(images: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = decode.decode
    monkeypatch.setattr(pixels, "decode", lambda *given: (sizes.append(given[1]), real(*given))[1])
    views = Views(images.source, images.task, images.train, PREPROCESS, Recipe(augment="light"))
    _ = views[1, 0], views[0, 0]
    assert sizes == [24, 0], "one and a half times the input; the evaluation decodes all"


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_every_value_is_normalised_to_torchvision_s_bits(channels: str, memory_format: str) -> None:
    preprocess = Preprocess(size=(16, 16), resize=16, channels=channels, mean=(0.48, 0.45, 0.4), std=(0.22, 0.23, 0.3))
    order = [numpy.random.default_rng(i).permutation(numpy.arange(768) % 256) for i in range(4)]
    pictures = numpy.stack(order).astype(numpy.uint8).reshape(4, 16, 16, 3)
    wanted = torch.stack([transforms.evaluation(preprocess)(Image.fromarray(picture)) for picture in pictures])
    runtime = Runtime(Compute(device="cpu", memory_format=memory_format))  # type: ignore[arg-type]
    found = Normalise(preprocess, runtime)(torch.from_numpy(pictures))
    assert torch.equal(found, wanted) and found.dtype == torch.float32
    assert found.is_contiguous(
        memory_format={"contiguous": torch.contiguous_format}.get(memory_format, torch.channels_last)
    )


# --- what is kept -----------------------------------------------------------------------------------------------

ROOMS = {
    "memory": lambda: Scratch(10**7, 0),
    "disk": lambda: Scratch(0, 10**7),
    "some": lambda: Scratch(0, 9000),
    "nothing": lambda: Scratch(0, 0),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("views", [0, 3])
@pytest.mark.parametrize("room", ROOMS)
def test_what_is_kept_changes_no_bit(images: Data, room: str, views: int, workers: int) -> None:
    def run(scratch: Scratch | None) -> list[Any]:
        sampler = Batches(len(images.train), 4, 4, seed=3, views=views)
        seen = Views(images.source, images.task, images.train, PREPROCESS, Recipe(augment="standard", seed=3), scratch)
        return list(loader.batches(seen, sampler, Runtime(Compute(device="cpu", workers=workers))))

    for (inputs, targets), (others, labels) in zip(run(None), run(ROOMS[room]()), strict=True):
        assert torch.equal(inputs, others) and torch.equal(targets, labels)


@pytest.mark.parametrize(("room", "share"), [("memory", 1.0), ("disk", 1.0), ("some", 0.5), ("nothing", 0.0)])
@pytest.mark.parametrize("workers", [0, 2])
def test_each_picture_that_fits_is_decoded_once(
    images: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, room: str, share: float
) -> None:
    """Also when workers come and go: one loader fills, the next finds it."""
    real, log = decode.decode, tmp_path / "log"

    def counted(path: Path, *how: int) -> Image.Image:
        with log.open("a") as file:  # from any process
            file.write(f"{path.name}\n")
        return real(path, *how)

    monkeypatch.setattr(pixels, "decode", counted)
    views = Views(images.source, images.task, images.val + images.train, PREPROCESS, scratch=ROOMS[room]())
    for _ in range(3):
        list(loader.in_order(views, 2, Runtime(Compute(device="cpu", workers=workers))))
    counts = Counter(log.read_text().split())
    kept = sum(count == 1 for count in counts.values()) / len(counts)
    assert len(counts) == 12 and set(counts.values()) <= {1, 3}
    assert kept == share if share in (0.0, 1.0) else 0 < kept < 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_not_forked_share_it_too(method: str) -> None:
    shared = Shared()
    assert [int(value) for value in DataLoader(shared, None, num_workers=1, multiprocessing_context=method)] == [1] * 4
    assert [int(shared[i]) for i in range(4)] == [1] * 4, "made in the worker and found here"


class Shared(Dataset[int]):
    def __init__(self) -> None:
        self.kept = Store([(2, 2, 3)] * 4, marked)
        self.kept.keep(Scratch(10**6, 0))

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> int:
        return int(self.kept[i][0, 0, 0])


def marked(_: int) -> numpy.ndarray:
    return numpy.full((2, 2, 3), 0 if get_worker_info() is None else 1, numpy.uint8)


def test_a_picture_of_another_shape_than_was_said_is_not_kept() -> None:
    made = iter([numpy.ones((3, 2, 3), numpy.uint8), numpy.full((2, 2, 3), 7, numpy.uint8)])
    kept = Store([(2, 2, 3)], lambda _: next(made))
    kept.keep(Scratch(10**6, 0))
    assert [kept[0].shape for _ in range(3)] == [(3, 2, 3), (2, 2, 3), (2, 2, 3)]


def test_a_picture_that_cannot_be_made_is_not_there_the_next_time() -> None:
    kept = Store([(2, 2, 3)], lambda _: 1 // 0)  # type: ignore[arg-type,return-value]
    kept.keep(Scratch(10**6, 0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            _ = kept[0]


def test_what_is_taken_is_no_longer_there_and_nothing_is_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path))
    gc.collect()  # what other tests left open is closed before, not meanwhile
    handles = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    scratch = Scratch(100, 1000)
    taken = [scratch.take(size) for size in (60, 60, 940, 1)]
    assert [space and space.size for space in taken] == [60, 60, 940, 1]
    assert (scratch.memory, scratch.disk) == (39, 0) and scratch.take(50) is None
    assert not any(space is not None and space.bytes.any() for space in taken)
    assert not list(tmp_path.iterdir()), "a file without a name goes with the process"
    del taken
    if handles:
        assert len(os.listdir("/proc/self/fd")) == handles  # noqa: PTH208


def test_a_full_disk_is_found_before_anything_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert Scratch(0, 1000).take(10) is None


def test_a_run_may_fill_a_quarter_of_what_is_available() -> None:
    scratch = Scratch()
    assert 0 < scratch.memory <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 4
    assert scratch.disk > 0
