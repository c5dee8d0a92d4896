"""Trackers that are down, slow, missing or wrongly named: the run goes on, and no key is told."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
import typing
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pictures
import pytest
from commands import Hubft, hubft
from extras import needs
from runs import heard, job, killed

import hubft as api
from hubft import engine
from hubft.base.errors import JobError
from hubft.families.plugins import ROOT
from hubft.job import Tracker
from hubft.run import journal
from hubft.run.folder import Run
from hubft.tracking import delivery, feed, redaction, table, tensorboard, worker
from hubft.tracking.delivery import Delivery, Tracked
from hubft.tracking.feed import Feed
from hubft.tracking.tracker import Begin

__all__ = ["hubft"]
KEY = "0123456789abcdef0123456789abcdef01234567"
PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# --- what is told before a run --------------------------------------------------------------------------------------


def test_an_unknown_tracker_is_refused_with_the_nearest(hubft: Hubft) -> None:
    ran = hubft("finetune", "toy:small", "nowhere", "--track", "tensorbord")
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "--track" in ran.err and '"tensorboard", "wandb", "mlflow", "trackio"' in ran.err
    assert "Did you mean" in ran.err


def test_a_missing_library_is_told_before_data_is_read(hubft: Hubft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "LIBRARIES", ("tensorboard_of_nobody",))
    ran = hubft("finetune", "toy:small", "nowhere", "--track", "tensorboard")
    assert ran.code == 2
    assert ran.err == (
        "hubft: --track tensorboard needs tensorboard_of_nobody, which is not installed: "
        "pip install 'hubft[tensorboard]'\n"
    )
    with pytest.raises(JobError, match="track tensorboard needs tensorboard_of_nobody"):
        api.finetune("toy:small", "nowhere", track="tensorboard")


def test_a_folder_that_a_tracker_left_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tracks_of_nobody").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tensorboard, "LIBRARIES", ("tracks_of_nobody",))
    with pytest.raises(JobError, match="needs tracks_of_nobody"):
        table.require(("tensorboard",))


def test_what_a_job_names_there_is() -> None:
    assert set(table.TRACKERS) == set(typing.get_args(Tracker)), "and an extra of each name"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(table.TRACKERS) <= set(extras) and all(name in "".join(extras["all"]) for name in table.TRACKERS)


def test_a_tracker_is_named_once(hubft: Hubft) -> None:
    ran = hubft("finetune", "toy:small", "nowhere", "--track", "wandb", "--track", "wandb")
    assert ran.code == 2 and "must be each tool once" in ran.err


# --- what is told after a run ----------------------------------------------------------------------------------------


def test_a_run_that_was_not_tracked_is_told_later(images: Path, hubft: Hubft, tmp_path: Path) -> None:
    needs("tensorboard", "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    engine.finetune(job(images, tmp_path / "run"))
    ran = hubft("track", tmp_path / "run")
    assert ran.code == 2 and f"hubft track {tmp_path / 'run'} --to tensorboard" in ran.err
    assert "had no trackers" in ran.err and not (tmp_path / "run" / "tensorboard").exists()
    ran = hubft("track", tmp_path / "run", "--to", "tensorboard")
    assert (ran.code, ran.out) == (0, f"tracked  tensorboard: tensorboard --logdir {tmp_path / 'run'}\n"), ran.err
    found = api.track(tmp_path / "run", to="tensorboard", quiet=True)
    assert found["tensorboard"].complete
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    lines = Run(tmp_path / "run").history()
    assert [one.step for one in events.Scalars("val_loss")] == [line["step"] for line in lines], (
        "twice told, once there"
    )


def test_only_a_run_that_trained_is_told(images: Path, hubft: Hubft, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'nowhere' is no run" in hubft("track", "nowhere", "--to", "tensorboard").err
    Run.create(job(images, Path("begun")))
    ran = hubft("track", "begun", "--to", "tensorboard")
    assert ran.code == 2 and "'begun' has not begun to train; go on with: hubft finetune --resume begun" in ran.err


# --- a tracker that is down ----------------------------------------------------------------------------------------


@contextmanager
def mlflow_server(port: int, folder: Path) -> Iterator[None]:
    """Run MLflow's own server on the loopback."""
    where = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "kept"),
    ]
    log = folder / "server.log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where, "--port", str(port), "--workers", "1"],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=told,
            stderr=told,
            start_new_session=True,
            cwd=folder,
        )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert process.poll() is None, log.read_text()[-2000:]
                time.sleep(0.2)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.wait(30)


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_down_gets_all_when_it_is_up(
    images: Path, hubft: Hubft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("sqlalchemy", "mlflow")
    needs("mlflow", "mlflow")
    pytest.importorskip("flask", reason="the server of MLflow is not installed: .ci/run says how")
    pytest.importorskip("aiohttp", reason="the server of MLflow is not installed: .ci/run says how")
    from mlflow.tracking import MlflowClient

    port, run = free_port(), tmp_path / "run"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{PASSWORD}@127.0.0.1:{port}")
    result, console = heard(job(images, run, track=("mlflow",)))
    [line] = [line for line in console.lines if "mlflow" in line]
    assert line.startswith("note: mlflow has not all of the run: ") and "Connection" in line
    assert line.endswith(f"again: hubft track {run} --to mlflow")
    assert result.metrics.headline == "accuracy" and (run / "package" / "hubft.json").is_file()
    assert len(Run(run).history()) == 2
    with mlflow_server(port, tmp_path):
        ran = hubft("track", run)
        assert ran.code == 0 and f"tracked  mlflow: http://***@127.0.0.1:{port}/#/experiments/" in ran.out, ran
        client = MlflowClient(f"http://127.0.0.1:{port}")
        its = client.get_run(Tracked.read(run / "mlflow").known)
        values = [one.value for one in client.get_metric_history(its.info.run_id, "val_loss")]
        assert values == pytest.approx([line["val_loss"] for line in Run(run).history()])
        kept = {
            one.path
            for folder in ("package", "report", "pictures")
            for one in client.list_artifacts(its.info.run_id, folder)
        }
        assert {"package/hubft.json", "report/index.html", "pictures/curves.png"} <= kept
    assert PASSWORD.encode() not in everything(run) and PASSWORD not in "".join(console.lines) + ran.out + ran.err


@pytest.mark.parametrize("name", ["mlflow", "wandb", "trackio"])
def test_a_server_that_never_answers_keeps_no_run(
    name: Any, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(name, name)
    monkeypatch.setattr(journal, "PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", f"//me:{PASSWORD}@"))
        monkeypatch.setenv("TRACKIO_SERVER_URL", f"{address}/?write_token={KEY}")
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        ended: list[float] = []
        real = Feed.wait

        def timed(self: Feed, deadline: float) -> Tracked:
            began = time.monotonic()
            found = real(self, deadline)
            ended.append(time.monotonic() - began)
            assert self.process.poll() is not None, "no process is left"
            return found

        monkeypatch.setattr(Feed, "wait", timed)
        _, console = heard(job(images, tmp_path / "run", track=(name,)))
    [line] = [line for line in console.lines if name in line]
    assert line.startswith(f"note: {name} has not all of the run: ") and f"--to {name}" in line
    assert ended[0] < 5.0 and (tmp_path / "run" / "package" / "hubft.json").is_file()
    for secret in (KEY, PASSWORD):
        assert secret.encode() not in everything(tmp_path / "run") and secret not in "".join(console.lines)


def test_without_a_server_wandb_goes_offline(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("wandb", "wandb")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    _, console = heard(job(images, tmp_path / "run", track=("wandb",)))
    [line] = console.about("tracked")
    assert line.startswith("tracked  wandb: wandb sync ") and "(offline: " in line and KEY not in line
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1
    assert KEY.encode() not in everything(tmp_path / "run")


def test_a_run_that_ends_in_an_error_ends_its_trackers(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("tensorboard", "tensorboard")
    run = killed(job(images, tmp_path / "run", track=("tensorboard",)), 5, monkeypatch)
    assert Tracked.read(run.folder / "tensorboard").sent == {"step": 4, "epoch": 3}
    monkeypatch.setattr(journal.Journal, "_hand_over", lambda self: 1 / 0)
    console = heard(job(images, tmp_path / "other", track=("tensorboard",)))[1]
    assert [line for line in console.lines if "not all of the run was told to its trackers: ZeroDivision" in line]


def test_a_process_that_cannot_be_started_stops_no_run(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("tensorboard", "tensorboard")

    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", no_room)
    _, console = heard(job(images, tmp_path / "run", track=("tensorboard",)))
    [line] = [line for line in console.lines if line.startswith("note: tensorboard")]
    assert "has nothing of the run: BlockingIOError" in line and line.endswith("--to tensorboard")
    assert (tmp_path / "run" / "package" / "hubft.json").is_file()


def test_names_are_such_as_every_tracker_takes() -> None:
    measured = {"value": 0.5, "low": 0.25, "high": None, "n": 8, "better": "higher"}
    line = {"step": 3, "colour: accuracy": measured, "norm": {"n": 1.0, "a/b": 2}, "lost": float("nan"), "läuft@": 1}
    assert journal._numbers(line) == {
        "step": 3.0,
        "colour/accuracy": 0.5,
        "colour/accuracy/low": 0.25,
        "norm/n": 1.0,
        "norm/a/b": 2.0,
        "läuft_": 1.0,
    }


# --- on the way to a tracker ----------------------------------------------------------------------------------------


class Shaky:
    """A tracker that fails when it is told to, and notes what it gets."""

    known, where, note, at_once = "one", "there", "", True

    def __init__(self, fails: set[str]) -> None:
        self.fails, self.got = fails, []  # type: ignore[var-annotated]

    def _do(self, what: str, its: Any) -> None:
        if what in self.fails:
            raise ConnectionError(f"{what} of https://me:{PASSWORD}@host")
        self.got.append(its)

    def values(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        self._do("values", [step for step, _ in rows])

    def picture(self, name: str, path: Path, step: int) -> None:
        self._do("picture", name)

    def report(self, path: Path) -> None:
        self._do("report", path)

    def package(self, manifest: Path, sha256: str) -> None:
        self._do("package", sha256)

    def end(self, state: str) -> None:
        self._do("end", state)


def delivering(tmp_path: Path, tracker: Shaky) -> Delivery:
    kind: Any = SimpleNamespace(LIBRARIES=(), opened=lambda begin: tracker)
    return Delivery(kind, Begin(tmp_path, "run", {}))


def value(step: int) -> dict[str, Any]:
    return {"series": "epoch", "step": step, "values": {"loss": 1.0 / step}}


def test_what_fails_is_sent_when_the_tracker_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSE", 0.0)
    tracker = Shaky({"values"})
    its = delivering(tmp_path, tracker)
    for step in (1, 2):
        its.take([value(step)])
    assert tracker.got == []
    tracker.fails.clear()
    its.take([value(3)])
    assert tracker.got == [[1, 2, 3]], "in their order"
    its.take([value(3)])
    its.end("finished")
    assert tracker.got[1:] == ["finished"] and Tracked.read(tmp_path).complete and its.tracked.sent == {"epoch": 3}


def test_a_tracker_that_fails_is_left_alone_for_a_while(tmp_path: Path) -> None:
    tracker = Shaky({"values"})
    its = delivering(tmp_path, tracker)
    its.take([value(1)])
    tracker.fails.clear()
    its.take([value(2)])
    assert not tracker.got, "it is not asked again at once"
    its.end("finished")
    assert tracker.got == [[1, 2], "finished"]


def test_what_never_arrives_is_counted_and_a_file_keeps_no_other(tmp_path: Path) -> None:
    its = delivering(tmp_path / "a", tracker := Shaky({"picture"}))
    (tmp_path / "a").mkdir()
    its.take([{"file": "picture", "name": "curves", "path": "curves.png"}])
    its.take([{"file": "package", "path": "hubft.json", "sha256": "ab"}])
    its.end("finished")
    assert tracker.got == ["ab", "finished"] and (its.tracked.lost, its.tracked.complete) == (1, False)
    its = delivering(tmp_path / "b", tracker := Shaky({"values", "end"}))
    (tmp_path / "b").mkdir()
    its.take([value(1)])
    its.take([value(2)])
    its.end("failed")
    found = Tracked.read(tmp_path / "b")
    assert found.lost == 3 and found.sent == {} and "end of https://***@host" in found.trouble


def test_a_process_whose_run_was_killed_closes_what_it_has(tmp_path: Path) -> None:
    needs("tensorboard", "tensorboard")
    begin = json.dumps({"folder": str(tmp_path), "name": "run", "config": {}})
    worker.serve("tensorboard", io.StringIO(f"{begin}\n{json.dumps([value(1)])}\n" + '[{"series": "ep'))
    assert Tracked.read(tmp_path).complete and Tracked.read(tmp_path).sent == {"epoch": 1}
    timers = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
    assert all(one.finished.is_set() for one in timers), "what would end a process that hangs was called off"


def test_a_list_that_is_full_leaves_steps_out_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("tensorboard", "tensorboard")
    monkeypatch.setattr(feed, "LIMIT", 3)
    monkeypatch.setattr(feed, "EVERY", 60.0)
    its = Feed("tensorboard", Begin(tmp_path / "tensorboard", "run", {}))
    time.sleep(0.2)
    for step in range(1, 8):
        its.put({"series": "step", "step": step, "values": {"step/loss": 1.0}})
    its.put(value(7))
    its.close("finished")
    found = its.wait(time.monotonic() + 60)
    assert its.left_out >= 4 and found.sent["epoch"] == 7 and found.sent["step"] <= 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"401 for {KEY}", "401 for ***"),
        (f"http://me:{PASSWORD}@host/x", "http://***@host/x"),
        ("http://host/?write_token=abc&x=1", "http://host/?write_token=***&x=1"),
        ("http://host:80/x: refused", "http://host:80/x: refused"),
    ],
)
def test_keys_are_hidden(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    assert redaction.redacted(text) == shown
