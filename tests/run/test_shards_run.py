"""A run on shards is the run on the same pictures in folders, bit for bit, killed or not; and the commands around it."""

import hashlib
import os
from pathlib import Path

import pictures
import pytest
import shards
from commands import Hubft
from runs import job, killed

from hubft import engine, modality
from hubft.base.errors import DataError
from hubft.inputs import Preprocess
from hubft.job import Compute
from hubft.machine.runtime import Runtime
from hubft.run import data as run_data
from hubft.run.folder import Run
from hubft.train import loader

RECIPE = {"epochs": 2, "batch_size": 8, "augment": "standard"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """The same pictures in class folders and in shards."""
    folder = pictures.folder(tmp_path / "folder")
    return folder, shards.of_folder(folder, tmp_path / "shards", 10)


def bits(run: Run) -> list[str]:
    """Return what is equal for equal runs: weights, the last checkpoint, what its data is known by."""
    last = max(run.checkpoints.iterdir())
    files = (run.package / "model.safetensors", last / "state.safetensors", run.folder / "data.json")
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning", "ignore:This DataLoader will create")
def test_the_bits_are_those_of_folders_and_of_a_run_that_was_not_killed(
    both: tuple[Path, Path], workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        job(data, tmp_path / f"of-{data.name}", recipe=RECIPE, compute={"workers": workers, "checkpoint_every": 2})
        for data in both
    ]
    folder = engine.finetune(asked[0]).run
    died = killed(asked[1], 7, monkeypatch)
    assert not died.package.exists()
    assert bits(engine.resume(died.folder).run) == bits(folder)


def test_a_run_whose_shards_changed_is_not_gone_on_with(
    both: tuple[Path, Path], hubft: Hubft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = killed(job(both[1], tmp_path / "run", recipe=RECIPE, compute={"checkpoint_every": 2}), 7, monkeypatch)
    shard = both[1] / "val-000001.tar"
    shard.unlink()
    ran = hubft("finetune", "--resume", died.folder)
    assert ran.code == 2 and "is not the data of the run: it had 12 validation samples, and there are 10" in ran.err


def test_workers_tell_a_shard_that_changed_in_a_line(both: tuple[Path, Path], tmp_path: Path) -> None:
    asked = job(both[1], tmp_path / "run")
    found = run_data.read(asked)
    for shard in both[1].iterdir():
        os.utime(shard, ns=(1, 1))
    views = modality.named(found.kind).views(
        found.source, found.task, found.train, Preprocess(size=(16, 16), resize=20)
    )
    for workers in (0, 1):
        with pytest.raises(DataError) as caught:
            list(loader.in_order(views, 4, Runtime(Compute(device="cpu", workers=workers))))
        assert str(caught.value).startswith("'train-000000.tar' is not the file any more"), str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_commands_take_shards(both: tuple[Path, Path], hubft: Hubft, tmp_path: Path) -> None:
    more = {"bad.png": b"no picture", "bad.cls": b"ants", "bare.png": shards.png(99)}
    shards.write(both[1] / "train-000009.tar", more)
    looked = hubft("data", both[1], "--output", "looked")
    assert looked.code == 0, looked.err
    assert "train-000009.tar#bad" in (tmp_path / "looked/data.json").read_text()
    pattern = "shards/{train,val}-{000000..000001}.tar"
    trained = hubft(
        "finetune", "toy:small", pattern, "--epochs", "1", "--device", "cpu", "--workers", "0", "--output", "run"
    )
    assert trained.code == 0, trained.err
    measured = hubft("evaluate", "run", both[1])
    assert measured.code == 0 and "12" in measured.out, measured.err
    asked = hubft("predict", "run", "shards/val-000000.tar")
    assert asked.code == 0 and "val-000000.tar#000009" in asked.out, asked.err
    gone = hubft("evaluate", "run", "shards/test-{0..1}.tar")
    assert gone.code == 2 and "does not exist" in gone.err
