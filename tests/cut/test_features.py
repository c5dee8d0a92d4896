"""The cache of features: the same bits as without it, a key for all they depend on, and nothing that is half there."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_family
from torch import Tensor, nn

from hubft import Base, Loaded, Preprocess
from hubft.cut import cut, features
from hubft.cut.features import Cache, Features
from hubft.cut.feed import Cut
from hubft.cut.provenance import Source, prefix
from hubft.families import stages
from hubft.train.loader import Batches

N, SHAPE = 11, (4, 3, 3)
SOURCE = Source(
    prefix="p",
    samples=tuple(map(str, range(N))),
    inputs=Preprocess(size=(16, 16), resize=20),
    shape=SHAPE,
    batch_size=4,
    device=torch.device("cpu"),
)
TARGETS = torch.arange(N) % 3
DATA = torch.randn(4, N, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(features, "available_memory", lambda: 10**9)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(1.0, tmp_path / "features")


class Compute:
    """Gives the rows of `DATA`, and counts how often each view is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, source: Source) -> Iterator[Tensor]:
        self.asked.append(source.view)
        yield from DATA[source.view, : len(source.samples)].split(source.batch_size)


def got(cache: Cache, sources: Iterable[Source] = (SOURCE,), compute: Any = None) -> Features:
    found = cache.get(list(sources), TARGETS, compute or Compute())
    assert isinstance(found, Features), found
    return found


def all_rows(found: Features, view: int = 0) -> Tensor:
    return found.views[view].take(torch.arange(N))


def views(count: int, **changes: Any) -> list[Source]:
    return [dataclasses.replace(SOURCE, view=view, augment="light", **changes) for view in range(count)]


def folders(cache: Cache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()} if cache.folder.exists() else set()


# --- what comes out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [0, 10**9])
def test_features_come_back_with_their_bits_also_from_a_later_run(cache: Cache, memory: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(features, "available_memory", lambda: memory)
    compute = Compute()
    assert torch.equal(all_rows(got(cache, compute=compute)), DATA[0])
    again = got(Cache(1.0, cache.folder), compute=compute)
    assert torch.equal(all_rows(again), DATA[0]) and again.computed == 0
    assert compute.asked == [0]
    shutil.rmtree(cache.folder)
    if memory:
        assert torch.equal(all_rows(again), DATA[0])
    assert torch.equal(all_rows(got(cache, compute=compute)), DATA[0]) and compute.asked == [0, 0]


def test_batches_are_those_of_the_sampler_and_each_epoch_reads_its_view(cache: Cache) -> None:
    found = got(cache, views(3))
    sampler = Batches(N, 4, 5, seed=7, start=4)
    batches = found.batches(sampler)
    assert batches.batch_sampler is sampler
    seen = list(zip(batches, sampler, strict=True))
    assert len(seen) == len(sampler) > 0
    for (rows, targets), indices in seen:
        epochs, order = {epoch for epoch, _ in indices}, [i for _, i in indices]
        assert len(epochs) == 1
        assert torch.equal(rows, DATA[epochs.pop() % 3, order])
        assert targets.dtype == torch.int64 and targets.tolist() == TARGETS[order].tolist()


def test_in_order_every_sample_comes_once(cache: Cache) -> None:
    rows, targets = zip(*got(cache).in_order(4), strict=True)
    assert [len(part) for part in rows] == [4, 4, 3]
    assert torch.equal(torch.cat(rows), DATA[0]) and torch.equal(torch.cat(targets), TARGETS)


@pytest.mark.parametrize("memory", [0, 10**9])
def test_what_a_model_writes_into_a_batch_does_not_reach_the_cache(cache: Cache, memory: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(features, "available_memory", lambda: memory)
    found = got(cache)
    for rows, targets in (*found.in_order(N), *found.batches(Batches(N, N, 1, 0))):
        rows.zero_()
        targets.zero_()
    assert torch.equal(all_rows(found), DATA[0]) and torch.equal(found.targets, TARGETS)
    assert torch.equal(all_rows(got(cache)), DATA[0])


def test_they_are_rounded_once_to_the_type_they_are_stored_in(cache: Cache) -> None:
    rows = all_rows(got(cache, [dataclasses.replace(SOURCE, dtype=torch.bfloat16)]))
    assert rows.dtype == torch.bfloat16 and torch.equal(rows, DATA[0].bfloat16())


def test_channels_last_stays_channels_last(cache: Cache) -> None:
    last = DATA[0].to(memory_format=torch.channels_last)
    rows = all_rows(got(cache, compute=lambda source: last.split(4)))
    assert torch.equal(rows, DATA[0]) and rows.is_contiguous(memory_format=torch.channels_last)
    assert all_rows(got(Cache(1.0, cache.folder / "other"))).is_contiguous()


# --- the key ----------------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "prefix": "q",
    "samples": (*SOURCE.samples[:-1], "other"),
    "inputs": Preprocess(size=(16, 16), resize=21),
    "shape": (4, 9),
    "batch_size": 5,
    "dtype": torch.bfloat16,
    "precision": "bf16",
    "memory_format": "channels_last",
    "pixels": "draft",
    "device": torch.device("meta"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_anything_is_another_key(name: str) -> None:
    assert dataclasses.replace(SOURCE, **{name: CHANGES[name]}).key() != SOURCE.key()


def test_every_field_of_a_source_is_tested() -> None:
    assert {f.name for f in dataclasses.fields(Source)} == {*CHANGES, "view", "seed", "augment"}


def test_the_order_of_the_samples_counts() -> None:
    assert dataclasses.replace(SOURCE, samples=SOURCE.samples[::-1]).key() != SOURCE.key()


def test_the_evaluation_s_view_is_shared_and_the_others_depend_on_seed_and_augmentation() -> None:
    def keys(view: int) -> list[str]:
        made = [(0, "light"), (1, "light"), (0, "standard")]
        return [dataclasses.replace(SOURCE, view=view, seed=seed, augment=augment).key() for seed, augment in made]

    assert len(set(keys(0))) == 1
    assert len({*keys(0), *keys(1), *keys(2)}) == 7


def test_the_number_of_threads_and_the_version_of_torch_count(monkeypatch: pytest.MonkeyPatch) -> None:
    key = SOURCE.key()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    threads = SOURCE.key()
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert len({key, threads, SOURCE.key()}) == 3
    monkeypatch.undo()
    assert SOURCE.key() == key


def cut_toy(change: Callable[[Any], object] | None = None, outputs: int = 3) -> tuple[Loaded, Cut]:
    model = toy_family.Small()
    toy_family.fill(model)
    model.head = nn.Linear(32, outputs)
    if change:
        change(model)
    given = Loaded(model, "head", toy_family.STAGES, Preprocess(size=(16, 16), resize=16), Base("toy:small"))
    names = frozenset({"head.weight", "head.bias"})
    stages.set_trainable(model, names)
    stages.train_mode(model)
    found = cut.find(given, names, torch.randn(2, 3, 16, 16))
    assert isinstance(found, Cut)
    return given, found


def flip(tensor: Tensor) -> None:
    """Change one bit of a tensor."""
    tensor.data.view(-1).view(torch.uint8)[0] ^= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda model: flip(model.stem[0].weight),
        lambda model: flip(model.block[1].running_mean),
        lambda model: flip(model.taper),
        lambda model: setattr(model.stem[0], "stride", (1, 1)),
        lambda model: setattr(model.stem[1], "eps", 1e-3),
        lambda model: model.stem.__setitem__(2, nn.ReLU6()),
    ],
)
def test_one_bit_or_setting_of_the_prefix_is_another_prefix(change: Callable[[Any], object]) -> None:
    assert prefix(cut_toy(change)[1]) != prefix(cut_toy()[1])


def test_the_head_and_the_number_of_classes_are_not_in_the_prefix() -> None:
    assert prefix(cut_toy(outputs=5)[1]) == prefix(cut_toy(lambda model: flip(model.head.weight))[1])


def test_another_source_of_a_class_is_another_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = cut_toy()
    before = prefix(found)
    edited = tmp_path / "toy.py"
    edited.write_text("# edited\n")
    monkeypatch.setattr(toy_family, "__file__", str(edited))
    assert prefix(found) != before


# --- through a model --------------------------------------------------------------------------------------------


def test_training_the_head_on_the_cache_moves_it_as_training_the_whole_does(cache: Cache) -> None:
    def train(cached: bool) -> Tensor:
        given, found = cut_toy(lambda model: toy_family.fill(model.head))
        images = torch.randn(N, 3, 16, 16, generator=torch.Generator().manual_seed(5))
        given.model.get_submodule("drop").eval()
        optimizer = torch.optim.SGD(given.model.head.parameters(), lr=0.1)
        source = dataclasses.replace(SOURCE, prefix=prefix(found), shape=found.shape)

        @torch.no_grad()
        def compute(source: Source) -> Iterator[Tensor]:
            for batch in images.split(source.batch_size):
                yield found.features(batch)

        sampler = Batches(N, 4, 3, seed=0)
        if cached:
            for rows, targets in got(cache, [source], compute).batches(sampler):
                with found.feed(rows) as blank:
                    nn.functional.cross_entropy(given.model(blank), targets).backward()
                    optimizer.step()
                    optimizer.zero_grad()
        else:
            for indices in sampler:
                order = [i for _, i in indices]
                outputs = given.model(images[order])
                nn.functional.cross_entropy(outputs, TARGETS[order]).backward()
                optimizer.step()
                optimizer.zero_grad()
        assert given.model.head.weight.abs().sum() > 0
        return given.model.head.weight.detach().clone()

    first, whole = train(True), train(False)
    torch.testing.assert_close(first, whole, rtol=1e-5, atol=1e-6)
    shutil.rmtree(cache.folder)
    assert torch.equal(train(True), first), "the same bits after the cache was deleted"


# --- what is not whole ------------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    data = bytearray((path / "features").read_bytes())
    if how == "byte":
        data[-1] ^= 1
    if how == "cut":
        del data[-4:]
    if how == "long":
        data += b"\0\0\0\0"
    (path / "features").write_bytes(data)
    seal = path / "seal.json"
    if how == "gone":
        (path / "features").unlink()
    if how == "unsealed":
        seal.unlink()
    if how in ("[]", "{}", "{"):
        seal.write_text(how)


@pytest.mark.parametrize("how", ["byte", "cut", "long", "gone", "unsealed", "[]", "{}", "{"])
@pytest.mark.parametrize("memory", [0, 10**9])
def test_what_is_damaged_is_computed_again(cache: Cache, how: str, memory: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(features, "available_memory", lambda: memory)
    got(cache)
    damage(cache.folder / SOURCE.key(), how)
    compute = Compute()
    found = got(cache, compute=compute)
    assert compute.asked == [0] and found.computed == 1 and torch.equal(all_rows(found), DATA[0])
    assert torch.equal(all_rows(got(cache, compute=compute)), DATA[0]) and compute.asked == [0]


def test_the_seal_is_the_sha256_of_the_file(cache: Cache) -> None:
    got(cache)
    folder = cache.folder / SOURCE.key()
    data = (folder / "features").read_bytes()
    assert data == DATA[0].numpy().tobytes()
    assert json.loads((folder / "seal.json").read_text())["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_pass_that_stops_half_way_leaves_nothing(cache: Cache, error: type[BaseException]) -> None:
    def stops(source: Source) -> Iterator[Tensor]:
        yield DATA[0, :4]
        raise error

    with pytest.raises(error):
        cache.get([SOURCE], TARGETS, stops)
    assert folders(cache) == set()
    assert torch.equal(all_rows(got(cache)), DATA[0])


@pytest.mark.parametrize("rows", [DATA[0, :8], torch.cat([DATA[0], DATA[0, :1]]), DATA[0].flatten(1)])
def test_features_of_other_samples_or_another_shape_are_refused(cache: Cache, rows: Tensor) -> None:
    with pytest.raises(RuntimeError, match="were announced"):
        cache.get([SOURCE], TARGETS, lambda source: [rows])
    assert folders(cache) == set()


def test_of_two_runs_that_fill_at_once_both_get_features_and_one_folder_stays(cache: Cache) -> None:
    def slow(source: Source) -> Iterator[Tensor]:
        got(Cache(1.0, cache.folder))  # another run comes in between
        yield from DATA[0].split(4)

    assert torch.equal(all_rows(got(cache, compute=slow)), DATA[0])
    assert folders(cache) == {SOURCE.key()}


# --- the budget -------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold nothing in memory."""
    monkeypatch.setattr(features, "available_memory", lambda: 0)


def test_a_budget_of_nothing_caches_nothing(tmp_path: Path) -> None:
    off = Cache(0.0, tmp_path / "features")
    assert off.get([SOURCE], TARGETS, Compute()) == "--cache is 0" and not off.folder.exists()


@pytest.mark.usefixtures("mapped")
def test_more_than_the_budget_is_refused_before_anything_is_computed(cache: Cache) -> None:
    cache.budget = int(2.5 * SOURCE.bytes)
    compute = Compute()
    reason = cache.get(views(3), TARGETS, compute)
    assert isinstance(reason, str) and "GB of features are more than --cache" in reason
    assert compute.asked == [] and folders(cache) == set()


def test_what_fits_into_memory_is_held_there_where_the_disk_has_no_room(cache: Cache) -> None:
    cache.budget = 1
    found = got(cache, views(2))
    assert torch.equal(all_rows(found, 1), DATA[1]) and folders(cache) == set()
    last = DATA[0].to(memory_format=torch.channels_last)
    rows = all_rows(got(cache, compute=lambda source: last.split(4)))
    assert torch.equal(rows, DATA[0]) and rows.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("mapped")
def test_a_full_disk_and_a_folder_that_cannot_be_written_are_reasons(cache: Cache, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(cache.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    assert "the disk has 1e-07 GB free" in str(cache.get([SOURCE], TARGETS, Compute()))
    monkeypatch.undo()
    monkeypatch.setattr(features, "available_memory", lambda: 0)
    cache.folder.rmdir()
    cache.folder.write_text("a file")
    assert "cannot be written" in str(cache.get([SOURCE], TARGETS, Compute()))


@pytest.mark.usefixtures("mapped")
def test_what_was_used_longest_ago_makes_room_and_who_has_it_mapped_reads_on(cache: Cache) -> None:
    first, second, third = (dataclasses.replace(SOURCE, prefix=name) for name in "abc")
    held = got(cache, [first])
    got(cache, [second])
    for age, source in enumerate((first, second)):
        os.utime(cache.folder / source.key(), (1e9 + age, 1e9 + age))
        for file in (cache.folder / source.key()).iterdir():
            os.utime(file, (1e9 - 5, 1e9 - 5))
    cache.budget = 2 * SOURCE.bytes
    got(cache, [third])
    assert folders(cache) == {second.key(), third.key()}
    assert torch.equal(all_rows(held), DATA[0])


@pytest.mark.usefixtures("mapped")
def test_reading_marks_as_used(cache: Cache) -> None:
    first, second, third = (dataclasses.replace(SOURCE, prefix=name) for name in "abc")
    got(cache, [first])
    got(cache, [second])
    for path in cache.folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    got(cache, [first])
    cache.budget = 2 * SOURCE.bytes
    got(cache, [third])
    assert folders(cache) == {first.key(), third.key()}


@pytest.mark.usefixtures("mapped")
def test_the_views_of_a_run_do_not_push_each_other_out(cache: Cache) -> None:
    cache.budget = 3 * SOURCE.bytes
    assert len(got(cache, views(3)).views) == 3 and len(folders(cache)) == 3


@pytest.mark.usefixtures("mapped")
def test_what_others_are_filling_is_counted_and_left_alone(cache: Cache) -> None:
    (cache.folder / ".other-x" / "new").mkdir(parents=True)
    (cache.folder / ".other-x" / "new" / "features").write_bytes(bytes(SOURCE.bytes))
    cache.budget = SOURCE.bytes
    assert "leave no room" in str(cache.get([SOURCE], TARGETS, Compute()))
    cache.budget = 2 * SOURCE.bytes
    assert len(got(cache).views) == 1 and ".other-x" in folders(cache)


@pytest.mark.usefixtures("mapped")
def test_what_a_killed_run_left_is_removed_a_day_later_and_not_before(cache: Cache) -> None:
    for name in ("old", "new"):
        (cache.folder / f".{name}-x" / "new").mkdir(parents=True)
        (cache.folder / f".{name}-x" / "new" / "features").write_bytes(b"half")
    for path in (cache.folder / ".old-x", *(cache.folder / ".old-x").rglob("*")):
        os.utime(path, (1e9, 1e9))
    got(cache)
    assert folders(cache) == {".new-x", SOURCE.key()}


def test_the_folder_is_the_user_s_or_the_variable_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path))
    assert Cache(1.0).folder == tmp_path / "features"
    monkeypatch.delenv("HUBFT_CACHE")
    assert Cache(1.0).folder == Path.home() / ".cache" / "hubft" / "features"


def test_available_memory_is_some_and_not_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < features.available_memory() < total
