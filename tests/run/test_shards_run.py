"""A run on shards is that on the same pictures in folders, bit for bit, killed or not; and the commands around it."""

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "folder")


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on class folders."""
    output = tmp_path_factory.mktemp("runs") / "of-folders"
    return engine.finetune(job(folder, output, recipe=RECIPE, compute={"checkpoint_every": 2})).run


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    """The same pictures in shards."""
    return shards.of_folder(folder, tmp_path / "shards", 10)


def bits(run: Run) -> list[str]:
    """Return what is equal for equal runs: weights, the last checkpoint, what its data is known by."""
    last = max(run.checkpoints.iterdir())
    files = (run.package / "model.safetensors", last / "state.safetensors", run.folder / "data.json")
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning", "ignore:This DataLoader will create")
def test_the_bits_are_those_of_folders_though_it_was_killed(
    data: Path, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = {"workers": 2, "checkpoint_every": 2}
    died = killed(job(data, tmp_path / "run", recipe=RECIPE, compute=compute), 7, monkeypatch)
    assert not died.package.exists()
    assert bits(engine.resume(died.folder).run) == bits(trained)


def test_a_run_whose_shards_changed_is_not_gone_on_with(
    data: Path, hubft: Hubft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = killed(job(data, tmp_path / "run", recipe=RECIPE, compute={"checkpoint_every": 2}), 7, monkeypatch)
    shard = data / "val-000001.tar"
    shard.unlink()
    ran = hubft("finetune", "--resume", died.folder)
    assert ran.code == 2 and "is not the data of the run: it had 12 validation samples, and there are 10" in ran.err


def test_workers_tell_a_shard_that_changed_in_a_line(data: Path, tmp_path: Path) -> None:
    asked = job(data, tmp_path / "run")
    found = run_data.read(asked)
    for shard in data.iterdir():
        os.utime(shard, ns=(1, 1))
    small = Preprocess(size=(16, 16), resize=20)
    views = modality.named(found.kind).views(found.source, found.task, found.train, small)
    for workers in (0, 1):
        with pytest.raises(DataError) as caught:
            list(loader.in_order(views, 4, Runtime(Compute(device="cpu", workers=workers))))
        assert str(caught.value).startswith("'train-000000.tar' is not the file any more"), str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_commands_take_shards(data: Path, trained: Run, hubft: Hubft, tmp_path: Path) -> None:
    more = {"bad.png": b"no picture", "bad.cls": b"ants", "bare.png": shards.png(99)}
    shards.write(data / "train-000009.tar", more)
    looked = hubft("data", data, "--reference", "toy:small", "--output", "looked")
    assert looked.code == 0, looked.err
    findings = (tmp_path / "looked/findings.csv").read_text().replace('"', "")
    assert "row 1: train-000009.tar#bad,,quarantined,not an image" in findings
    measured = hubft("evaluate", trained.folder, data)
    assert measured.code == 0 and "12 images" in measured.out, (measured.out, measured.err)
    asked = hubft("predict", trained.folder, "shards/{train,val}-000000.tar")
    assert asked.code == 0 and "val-000000.tar#000009" in asked.out, asked.err
    gone = hubft("evaluate", trained.folder, "shards/test-{0..1}.tar")
    assert gone.code == 2 and "does not exist" in gone.err
