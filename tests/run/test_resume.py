"""A run that is killed at any instant and resumed ends with the bits of one that was not."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
from forked import Python
from runs import job, killed

from hubft import Head, HubftError, Job, engine
from hubft.base.console import Console
from hubft.base.serialize import from_dict
from hubft.cli import main
from hubft.run import prepare, training
from hubft.run.folder import Run

EPOCHS, PER_EPOCH = 3, 5  # 36 images in batches of at most 8
FATAL = Path(__file__).parents[1] / "fatal.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


USUAL = "--augment standard --dropout 0.2 --hidden 8 --averaging 0.9 --train head,last:1@0.3,all@0.6"
OTHER = (
    "--augment strong --optimizer lamb --schedule one-cycle --accumulate 3 --smoothing 0.1 --precision fp16 "
    "--layer-decay 0.5 --stage-lr stem=0.001 --train head,block@0.3"
)


def options(data: Path, workers: int, recipe: str = USUAL) -> list[str]:
    """A run with all that draws or remembers: augmentation, dropout, averaging, momentum, thawing, worker processes."""
    return (
        f"toy:small {data} --epochs {EPOCHS} --batch-size 8 --checkpoint-every 2 --workers {workers} --lr 0.01 {recipe}"
    ).split()


@pytest.fixture(scope="module")
def uninterrupted(python: Python, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = python("-m", "hubft", "finetune", *options(data, workers=0), "--output", str(run))
    assert done.returncode == 0, done.stderr
    return Run(run)


def assert_same_bits(run: Run, other: Run) -> None:
    """Packaged weights, last checkpoint (weights, moments, average) and history are equal, bit for bit."""
    for file in ("package/model.safetensors", f"checkpoints/step-{EPOCHS * PER_EPOCH - 1:08}/state.safetensors"):
        assert (run.folder / file).read_bytes() == (other.folder / file).read_bytes(), file
    first, second = ([{**line, "images_per_second": 0, "seconds": {}} for line in r.history()] for r in (run, other))
    assert len(first) == EPOCHS
    assert first == second


@pytest.mark.parametrize("workers", [0, 2])
def test_sigkill_at_many_moments(workers: int, python: Python, data: Path, uninterrupted: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fresh = [*options(data, workers), "--output", str(run)]
    moments = [
        ("step", 1),  # before any checkpoint
        ("step", 3),  # in the first epoch, a step after a checkpoint
        ("save", 4),  # while a checkpoint is written
        ("step", PER_EPOCH),  # at the end of the first epoch
        ("step", PER_EPOCH * 2 + 1),  # the first of the last epoch
        ("step", PER_EPOCH * EPOCHS),  # the last
    ]
    for moment, step in moments:
        rest = ["--resume", str(run)] if run.exists() else fresh
        died = python(str(FATAL), moment, str(step), "finetune", *rest)
        assert died.returncode == -signal.SIGKILL, died.stderr
    assert not Run(run).package.exists()
    done = python("-m", "hubft", "finetune", "--resume", str(run))
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stdout  # the same versions, and nothing else to tell
    assert_same_bits(Run(run), uninterrupted)
    assert not list(run.rglob(".writing-*"))


def test_scaler_schedule_parts_and_mixing_are_resumed_too(python: Python, data: Path, tmp_path: Path) -> None:
    """With an optimizer that counts by group, and momentum that goes in a cycle."""
    runs = [Run(tmp_path / name) for name in ("whole", "killed")]
    for run, command, code in zip(
        runs, (["-m", "hubft"], [str(FATAL), "step", "9"]), (0, -signal.SIGKILL), strict=True
    ):
        done = python(*command, "finetune", *options(data, 0, OTHER), "--output", str(run.folder))
        assert done.returncode == code, done.stderr
    done = python("-m", "hubft", "finetune", "--resume", str(runs[1].folder))
    assert done.returncode == 0, done.stderr
    assert_same_bits(*runs)
    last = f"step-{EPOCHS * PER_EPOCH - 1:08}"
    scalers = [json.loads((run.checkpoints / last / "state.json").read_text())["scaler"] for run in runs]
    assert scalers[0] == scalers[1] and scalers[0]["_growth_tracker"] > 0


def test_sigterm_saves_and_exits_143(data: Path, uninterrupted: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    command = [sys.executable, "-m", "hubft", "finetune", *options(data, 0), "--output", str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        next(line for line in process.stdout if line.startswith("epoch 1"))
        process.terminate()
        _, stderr = process.communicate()
    assert process.returncode == 143
    assert stderr == f"hubft: stopped by signal 15; go on with: hubft finetune --resume {run.folder}\n"
    engine.resume(run.folder)
    assert_same_bits(run, uninterrupted)


@pytest.mark.parametrize(("apart", "steps"), [(0.0, [10, 15]), (1000.0, [15])])
def test_checkpoints_after_epochs_are_seconds_apart_but_for_the_last(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: float, steps: list[int]
) -> None:
    monkeypatch.setattr(training, "APART", apart)
    run = engine.finetune(job(data, tmp_path / "run", recipe={"epochs": EPOCHS, "batch_size": 8})).run
    assert sorted(run.checkpoints.iterdir()) == [run.checkpoints / f"step-{step:08}" for step in steps]


@pytest.fixture
def half_done(python: Python, data: Path, tmp_path: Path) -> Run:
    """A run that died after step 11 of 15, with checkpoints of steps 8 and 10."""
    run = tmp_path / "run"
    died = python(str(FATAL), "step", "11", "finetune", *options(data, 0), "--output", str(run))
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert [path.name for path in sorted(Run(run).checkpoints.iterdir())] == ["step-00000008", "step-00000010"]
    return Run(run)


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
def test_the_newest_intact_checkpoint_is_taken(python: Python, half_done: Run, uninterrupted: Run, file: str) -> None:
    newest = half_done.checkpoints / "step-00000010" / file
    altered = bytearray(newest.read_bytes())
    altered[len(altered) // 2] ^= 1
    newest.write_bytes(altered)
    done = python("-m", "hubft", "finetune", "--resume", str(half_done.folder))
    assert done.returncode == 0, done.stderr
    assert "skipped checkpoint step-00000010" in done.stdout
    assert "going on from step-00000008" in done.stdout
    assert_same_bits(half_done, uninterrupted)


def test_without_any_checkpoint_the_run_starts_anew(half_done: Run, uninterrupted: Run) -> None:
    shutil.rmtree(half_done.checkpoints)
    engine.resume(half_done.folder)
    assert_same_bits(half_done, uninterrupted)


def test_other_versions_are_told(
    half_done: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = prepare.version
    monkeypatch.setattr(prepare, "version", lambda name: "9.9" if name == "torch" else real(name))
    engine.resume(half_done.folder, Console())
    assert "note: it was written with" in capsys.readouterr().out


def test_changed_data_is_refused(half_done: Run, data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    (copy / "train" / "bees" / "0.png").unlink()
    stored = json.loads(half_done.job_file.read_text())
    half_done.job_file.write_text(json.dumps(stored | {"data": str(copy)}))
    with pytest.raises(HubftError, match="is not the data of the run"):
        engine.resume(half_done.folder)


def small(data: Path, output: Path) -> Job:
    """Return the job of a run of 15 steps, with a checkpoint every four."""
    recipe = {"epochs": EPOCHS, "batch_size": 8, "augment": "standard"}
    return job(data, output, recipe=recipe, compute={"checkpoint_every": 4})


@pytest.fixture(params=[1, 9], ids=["before its first checkpoint", "after two"])
def died(request: pytest.FixtureRequest, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that died."""
    run = killed(small(data, tmp_path / "run"), request.param, monkeypatch)
    assert run.checkpoints.exists() == (request.param > 1)
    return run


def test_data_that_was_moved_is_named_once(
    died: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    died.write_job(replace(died.job(), data=str(tmp_path / "gone")))
    with pytest.raises(HubftError, match=rf"is not there now; say where it is: .* --resume {died.folder} --data DATA$"):
        engine.resume(died.folder)
    monkeypatch.setattr(engine, "_run", lambda *_: None)
    engine.resume(died.folder, moved_to=moved)
    assert died.job().data == str(moved)
    monkeypatch.undo()
    monkeypatch.setattr("sys.argv", ["hubft", "finetune", f"--resume={died.folder}"])
    with pytest.raises(SystemExit, match="0"):
        main.main()
    whole = engine.finetune(small(data, tmp_path / "whole")).run
    assert (died.package / "model.safetensors").read_bytes() == (whole.package / "model.safetensors").read_bytes()


CHANGES = {
    "added": "the class 'moths' is new; it had 36 training samples, and there are 37;",
    "gone": "the class 'wasps' is not there; it had 36 training samples, and there are 24; it had 12 validation ",
    "fewer": "it had 36 training samples, and there are 35;",
    "other": "other samples or labels;",
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_is_refused_in_words_about_images(died: Run, change: str, data: Path, tmp_path: Path) -> None:
    other, before = Path(shutil.copytree(data, tmp_path / "other")), died.job_file.read_bytes()
    if change == "added":
        (other / "train" / "moths").mkdir()
        shutil.copyfile(other / "train" / "bees" / "0.png", other / "train" / "moths" / "0.png")
    elif change == "gone":
        for part in ("train", "val"):
            shutil.rmtree(other / part / "wasps")
    else:
        (other / "train" / "bees" / "0.png").unlink()
        if change == "other":
            shutil.copyfile(other / "train" / "ants" / "0.png", other / "train" / "bees" / "0.png")
    with pytest.raises(HubftError, match=f"is not the data of the run: {CHANGES[change]}.* --data DATA$"):
        engine.resume(died.folder, moved_to=other)
    assert died.job_file.read_bytes() == before


def test_a_run_of_an_older_hubft_has_its_classes_counted(died: Run, data: Path, tmp_path: Path) -> None:
    died.data_file.unlink()
    other = Path(shutil.copytree(data, tmp_path / "other"))
    for part in ("train", "val"):
        shutil.rmtree(other / part / "wasps")
    with pytest.raises(HubftError, match="not the data of the run: it had 3 classes, and there are 2;"):
        engine.resume(died.folder, moved_to=other)


def test_a_run_of_a_hubft_that_called_the_head_task_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(small(data, tmp_path / "run"), head=Head(hidden=(8,), dropout=0.25))
    run = killed(asked, 9, monkeypatch)
    stored = json.loads(run.job_file.read_text())
    head = stored.pop("head")
    old = {key: stored.pop(key) for key in ("reference", "data")} | {"task": head} | stored
    for key in ("l1", "loss", "class_weights", "head_weights", "sampler", "patience", "keep"):
        del old["recipe"][key]
    del old["labels"]
    run.job_file.write_text(json.dumps(old))
    assert run.job().head == Head(hidden=(8,), dropout=0.25, outputs=3)
    engine.resume(run.folder)
    whole = engine.finetune(replace(asked, output=str(tmp_path / "whole"))).run
    assert (run.package / "model.safetensors").read_bytes() == (whole.package / "model.safetensors").read_bytes()


class Died(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("moment", range(8))
def test_killed_at_birth_the_same_command_or_resume_works(
    moment: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its calls that change something on the disk, before it and after it."""
    asked = job(data, tmp_path / "run", recipe={"epochs": 0})
    left = moment

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *its: Any, **named: Any) -> Any:
            nonlocal left
            if not (path.is_relative_to(asked.output) and ("r" not in its)):
                return real(path, *its, **named)
            if left == 0:
                raise Died
            left -= 1
            return real(path, *its, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("mkdir", "open", "replace"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        patch.setattr(engine, "_run", lambda *_: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            engine.finetune(asked)
    run = Run(tmp_path / "run")
    if run.job_file.exists():
        with pytest.raises(HubftError, match="or go on with: hubft finetune --resume"):
            engine.finetune(asked)
        engine.resume(run.folder)
    else:
        with pytest.raises(HubftError, match=f"is no run: .*begin it: .* --output {run.folder}"):
            engine.resume(run.folder)
        engine.finetune(asked)
    assert run.package.exists() and not list(run.folder.rglob(".writing-*"))


def test_a_finished_run_and_a_folder_that_is_none_are_refused(uninterrupted: Run, tmp_path: Path) -> None:
    with pytest.raises(HubftError, match="is finished"):
        engine.resume(uninterrupted.folder)
    with pytest.raises(HubftError, match="is no run"):
        engine.resume(tmp_path)


def test_another_seed_gives_other_bits(data: Path, uninterrupted: Run, tmp_path: Path) -> None:
    """The comparison can fail: what is compared does depend on the draws."""
    stored = json.loads(uninterrupted.job_file.read_text())
    stored["recipe"]["seed"], stored["output"] = 1, str(tmp_path / "run")
    other = engine.finetune(from_dict(Job, stored)).run
    assert (other.package / "model.safetensors").read_bytes() != (
        uninterrupted.package / "model.safetensors"
    ).read_bytes()
