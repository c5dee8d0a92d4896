"""Runs of several processes: the same samples, the same model, one that writes, one that says what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pictures
import pytest
from commands import Hubft
from forked import Python
from runs import job

from hubft import engine
from hubft.base.errors import JobError
from hubft.machine.ranks import Ranks
from hubft.run.folder import Run
from hubft.train.loader import Batches

STILL = "head,last:1@0.3,all@0.6,-norms"
EPOCHS, STEPS = 3, 15  # 36 images in batches of at most 8
LAST = f"checkpoints/step-{STEPS:08}/state.safetensors"
HUNG = 30  # seconds after which a process whose run failed counts as hung


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


def words(data: Path, output: Path, *more: str, drawing: str = "--dropout 0.2", train: str = STILL) -> list[str]:
    """A run with all that draws or remembers: views, dropout, averaging, momentum, stages that thaw."""
    said = f"toy:small {data} --epochs {EPOCHS} --batch-size 8 --checkpoint-every 1 --workers 0 --lr 0.01"
    said += f" --train {train} --augment standard --hidden 8 --averaging 0.9 {drawing}"
    return ["finetune", *said.split(), *more, "--output", str(output)]


@pytest.fixture(scope="module")
def one(data: Path, tmp_path_factory: pytest.TempPathFactory, python: Python) -> Run:
    """The run of one process whose gradients are summed in parts."""
    folder = tmp_path_factory.mktemp("one") / "run"
    done = python("-m", "hubft", *words(data, folder, "--exact"))
    assert done.returncode == 0, done.stderr
    return Run(folder)


def assert_same_bits(run: Run, other: Run) -> None:
    for file in ("package/model.safetensors", LAST):
        assert (run.folder / file).read_bytes() == (other.folder / file).read_bytes(), file
    first, second = ([{**line, "images_per_second": 0, "seconds": {}} for line in r.history()] for r in (run, other))
    assert first == second and len(first) == EPOCHS


def test_exact_bits_do_not_depend_on_the_number_of_processes(
    data: Path, one: Run, tmp_path: Path, python: Python
) -> None:
    done = python("-m", "hubft", *words(data, tmp_path / "two", "--exact", "--devices", "2"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/") == 1, "one process speaks"
    assert "devices  2 processes, each with its share of every batch; the same bits for any number" in done.stdout
    assert_same_bits(Run(tmp_path / "two"), one)


def test_torchrun_starts_three_and_a_run_goes_on_with_another_number(
    data: Path, one: Run, tmp_path: Path, python: Python
) -> None:
    """Stopped by SIGTERM to one of the three, resumed by two: the bits of one that was never stopped."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "3", "-m", "hubft"]
    command = [sys.executable, "-m", *torchrun, *words(data, tmp_path / "run", "--exact")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        next(line for line in process.stdout if line.startswith("epoch 1"))
        process.terminate()
        _, stderr = process.communicate(timeout=2 * HUNG)
    assert process.returncode != 0
    assert stderr.count("hubft: stopped by signal 15; go on with: hubft finetune --resume") == 1, stderr
    done = python("-m", "hubft", "finetune", "--resume", str(tmp_path / "run"), "--devices", "2")
    assert done.returncode == 0, done.stderr
    assert "going on from step-" in done.stdout and "may differ" not in done.stdout
    assert_same_bits(Run(tmp_path / "run"), one)


def test_two_processes_add_what_thaws_and_agree_with_one(data: Path, tmp_path: Path, python: Python) -> None:
    runs = [Run(tmp_path / "alone"), Run(tmp_path / "two")]
    for run, more in zip(runs, ((), ("--devices", "2")), strict=True):
        done = python("-m", "hubft", *words(data, run.folder, *more, drawing="--surgery dropout=0"))
        assert done.returncode == 0, done.stderr
    assert "the last bits differ" in done.stdout
    results = [json.loads((run.report / "results.json").read_text()) for run in runs]
    counted = [result["metrics"]["confusion"] for result in results]
    assert counted[0] == counted[1]
    for lines in zip(*(run.history() for run in runs), strict=True):
        assert lines[0]["loss"] == pytest.approx(lines[1]["loss"], rel=1e-4)
        assert lines[0]["gradient_norm"] == pytest.approx(lines[1]["gradient_norm"], rel=1e-3)
        assert lines[0]["gradient_norm"].keys() == lines[1]["gradient_norm"].keys(), "each stage is there when it thaws"


def test_norms_that_move_have_the_mean_of_all_processes(
    data: Path, tmp_path: Path, python: Python, executable: str
) -> None:
    """So that a run that is stopped within an epoch goes on with them, to the same bits."""
    done = python("-m", "hubft", *words(data, tmp_path / "whole", "--devices", "2", train="all"))
    assert done.returncode == 0, done.stderr
    assert "note: the statistics of 2 norms are means over those of each process's share of a batch" in done.stdout
    command = [executable, "-m", "hubft", *words(data, tmp_path / "run", "--devices", "2", train="all")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while len(list((tmp_path / "run" / "checkpoints").glob("step-0*"))) < 2:
            time.sleep(0.01)
        process.terminate()
        _, stderr = process.communicate(timeout=2 * HUNG)
    assert process.returncode == 143
    assert stderr == f"hubft: stopped by signal 15; go on with: hubft finetune --resume {tmp_path / 'run'}\n"
    done = python("-m", "hubft", "finetune", "--resume", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert_same_bits(Run(tmp_path / "run"), Run(tmp_path / "whole"))


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_ends_all_and_the_run_goes_on(
    data: Path, tmp_path: Path, victim: int, one: Run, python: Python
) -> None:
    command = [sys.executable, "-m", "hubft", *words(data, tmp_path / "run", "--exact", "--devices", "2")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        next(line for line in process.stdout if line.startswith("epoch 1"))
        children = sorted(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))
        os.kill(children[victim], signal.SIGKILL)
        began = time.monotonic()
        _, stderr = process.communicate(timeout=2 * HUNG)
    assert time.monotonic() - began < HUNG
    assert process.returncode in (1, 2, 128 + signal.SIGKILL)
    assert "Traceback" not in stderr and stderr.count("hubft: ") <= 1, stderr
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    done = python("-m", "hubft", "finetune", "--resume", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert_same_bits(Run(tmp_path / "run"), one)


def test_features_that_two_compute_are_those_of_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Python
) -> None:
    found = []
    for number in ("1", "2"):
        cache = tmp_path / f"cache-{number}"
        monkeypatch.setenv("HUBFT_CACHE", str(cache))
        told = ["--train", "head", "--epochs", "3", "--batch-size", "8", "--workers", "0", "--devices", number]
        done = python("-m", "hubft", "finetune", "toy:small", str(data), *told, "--output", str(tmp_path / number))
        assert done.returncode == 0, done.stderr
        found.append({file.parent.name: file.read_bytes() for file in cache.rglob("features") if file.is_file()})
    assert found[0] == found[1] and len(found[0]) >= 2, "of training and of held-out images"


def test_two_processes_ask_a_teacher_once(data: Path, one: Run, tmp_path: Path, python: Python) -> None:
    """Each has its share of what the teacher says; the model without it is trained by the first process alone."""
    runs = []
    for number in ("1", "2"):
        words = ["--epochs", "2", "--batch-size", "8", "--workers", "0", "--augment", "none", "--train", "head"]
        output = str(tmp_path / number)
        command = ["distill", str(one.folder), "toy:small", str(data), *words, "--exact", "--no-baseline"]
        done = python("-m", "hubft", *command, "--devices", number, "--output", output)
        assert done.returncode == 0, done.stderr
        runs.append((Path(output) / "package" / "model.safetensors").read_bytes())
    assert runs[0] == runs[1]


def test_one_batch_is_of_one_process(data: Path, hubft: Hubft) -> None:
    ran = hubft("finetune", "toy:small", data, "--overfit-one-batch", "--devices", "2")
    assert ran.code == 2 and "--devices 2: here is one process alone" in ran.err
    learned = hubft("finetune", "toy:small", data, "--overfit-one-batch", "--exact", "--workers", "0")
    assert "Traceback" not in learned.err and "batch    " in learned.out


def test_what_is_wrong_is_told_once(data: Path, tmp_path: Path, hubft: Hubft, python: Python) -> None:
    for more, said in (
        (("--batch-size", "1"), "hubft: --batch-size 1 of 36 samples: 2 processes need one each in every batch\n"),
        (("--target", "price"), "hubft: "),
    ):
        asked = ["finetune", "toy:small", str(data), *more, "--devices", "2", "--output", str(tmp_path / "run")]
        done = python("-m", "hubft", *asked)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith(said)
        assert not (tmp_path / "run").exists() or not (tmp_path / "run" / "package").exists()


def test_exact_refuses_norms_that_move_and_python_one_process_for_two(data: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="exact: the statistics of 2 norms are of a part of a batch"):
        engine.finetune(job(data, tmp_path / "run", recipe={"train": "all"}, compute={"exact": True}))
    with pytest.raises(JobError, match="devices 2: here is one process alone"):
        engine.finetune(job(data, tmp_path / "run", compute={"devices": 2}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", ["2", "3"])
def test_evaluation_counts_every_sample_once(number: str, python: Python) -> None:
    """Of any number of samples: batches that are not full, and processes that have none."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", number]
    done = python("-m", *torchrun, str(Path(__file__).parents[1] / "evaluates.py"))
    assert done.returncode == 0, done.stderr
    assert f"equal on {number}" in done.stdout


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_no_sample_is_left_out_and_none_comes_twice(world: int) -> None:
    for samples in range(world, 24):
        whole = list(Batches(samples, 7, 2, seed=0)) if samples else []
        if samples // -(-samples // 7) < world:
            continue
        shares = [list(_of(samples, rank, world)) for rank in range(world)]
        assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == whole
        things = list(range(samples))
        own = [Ranks(rank, world).own(things) for rank in range(world)]
        assert sorted(chain(*own)) == things


def _of(samples: int, rank: int, world: int) -> Batches:
    class Its:
        ranks, exact = Ranks(rank, world), False

    return Batches(samples, 7, 2, seed=0, runtime=Its())  # type: ignore[arg-type]
