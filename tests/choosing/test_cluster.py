"""`hubft sweep --on ray`: the trials of a sweep in processes of a real Ray, to what they come to without it."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pictures
import pytest
from commands import Hubft
from extras import needs
from sweeps import HERE, OVER, points, table

import hubft as api
from hubft import Job, engine
from hubft.base.console import Console
from hubft.base.errors import JobError
from hubft.choosing import space, trial
from hubft.run.folder import StopRequest
from hubft.tasks.metrics import Measured

study = needs("hubft.choosing.study", "sweep")
ray = needs("ray", "ray")

pytestmark = pytest.mark.filterwarnings(  # Ray leaves its files and processes to the collector
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

WORDS = (*OVER, *HERE[:-1], "3", "--trials", "3")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=12, val=4)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray that this process has joined already."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # a busy machine would put its processes behind all others
    try:
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    except Exception as error:  # Ray raises that itself
        pytest.skip(f"Ray gives itself 30 seconds to start, which were not enough: {error}")
    yield
    ray.shutdown()


@pytest.mark.timeout(900)
def test_a_sweep_on_ray_that_was_stopped_comes_to_what_one_without_it_does(
    hubft: Hubft, images: Path, tmp_path: Path, joined: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("sweep", "toy:small", str(images), *WORDS, "--output")
    command = [sys.executable, "-m", "hubft", *words, "there", "--on", "ray"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as one:
        while not list((tmp_path / "there").glob("trials/*/metrics.jsonl")):
            if one.poll() is not None:
                _, said = one.communicate()
                if "there is no Ray cluster that can be started here" in said:
                    pytest.skip(f"Ray gives itself 30 seconds to start, which were not enough: {said}")
                pytest.fail(said)
            time.sleep(0.005)
        one.send_signal(signal.SIGTERM)
        _, said = one.communicate(timeout=120)
    assert one.returncode == 128 + signal.SIGTERM, said
    assert said.startswith("hubft: stopped by signal 15; type the same line again") and said.count("\n") == 1, said
    assert not (tmp_path / "there" / "sweep.json").read_text().count("validation"), "it was stopped before its end"
    here = hubft(*words, "here")
    assert here.code == 0, here.err
    monkeypatch.setattr(engine, "ready", lambda *_: pytest.fail("a model is trained here"))
    there = hubft(*words, "there", "--on", "ray")
    assert (there.code, there.err) == (0, "") and "goes on: a process left it" in there.out
    assert ray.is_initialized(), "it was there before"
    assert points(tmp_path / "here") == points(tmp_path / "there") and len(points(tmp_path / "there")) == 3
    ours, theirs = (table(tmp_path / name) for name in ("here", "there"))
    for name in ("asked", "facts", "best", "luck", "next", "importance", "validation"):
        assert ours[name] == theirs[name], name
    models = [(Path(its["package"]) / "model.safetensors").read_bytes() for its in (ours, theirs)]
    assert models[0] == models[1]
    left = [{path.name for path in (tmp_path / name).iterdir()} for name in ("here", "there")]
    assert left[0] == left[1], "nothing of Ray's own"


def test_what_ray_tune_asks_and_is_told_is_the_studys(tmp_path: Path) -> None:
    from hubft.choosing.sweep import Sweep
    from hubft.choosing.tuned import Judge, Points

    job = Job("toy:small", "insects")
    sweep: Any = Sweep.__new__(Sweep)
    sweep.space, sweep.budget = space.parse(["lr=1e-5..1e-1"], job), SimpleNamespace(spent=False)
    sweep.console, sweep.data = Console(quiet=True), SimpleNamespace(task=SimpleNamespace(headline="accuracy"))
    counted: list[int] = []
    with study.joined(tmp_path, sweep.space, 0, "higher") as its, StopRequest() as request:
        asked = Points(sweep, its, job, 8, lambda: counted.append(1), request)
        judge = Judge(asked)
        for number in range(study.STARTUP):
            given = asked.suggest(str(number))
            assert given["number"] == number and Path(given["folder"]) == its.place(number)
            for epoch in (1, 2, 3):
                assert not judge(str(number), {"epoch": epoch, "headline": {"value": 0.9}})
            trial.end(its.place(number), trial.Done(Measured(0.9), 3))
            asked.on_trial_complete(str(number), {})
        bad, dead = asked.suggest("bad"), asked.suggest("dead")
        assert bad["point"] != dead["point"]
        assert not judge("bad", {"epoch": 1, "headline": {"value": 0.1}})
        assert judge("bad", {"epoch": 2, "headline": {"value": 0.1}}), "it is behind the median"
        asked.on_trial_complete("bad", {"epoch": 2, "time_total_s": 3.0})
        done = trial.known(its.place(5))
        assert (
            done and (done.epochs, done.seconds, done.score) == (2, 3.0, None) and "given up after epoch 2" in done.why
        )
        asked.on_trial_complete("dead", None, error=True)
        assert "the process of trial 6 died 3 times" in str(asked.broken) and asked.suggest("next") == "FINISHED"
        assert [one.state for one in its.seen()] == ["complete"] * 5 + ["given up", "running"] and len(counted) == 6
        again = its.take(8)
        assert again and again.resumed and again.number == 6, "the next call goes on with it"
        again.lock.release()
        request.signal = signal.SIGINT
        assert judge.stop_all() and asked.suggest("next") == "FINISHED"


def test_where_no_trials_can_run_is_told_and_nothing_is_written(
    hubft: Hubft, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("sweep", "toy:small", images, *OVER)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    for more, said in (
        (("--on", "slurm"), "--on 'slurm': must be ray, or left out"),
        (("--on", "ray"), "RAY_ADDRESS=ray://head:10001: type the line on a node of the cluster"),
    ):
        ran = hubft(*words, *more)
        assert (ran.code, ran.err.count("\n")) == (2, 1) and said in ran.err, ran.err
    monkeypatch.delenv("RAY_ADDRESS")
    ran = hubft(*words, "--on", "ray", "--device", "cuda:1")
    assert ran.code == 2 and "--device cuda:1" in ran.err
    with pytest.raises(JobError, match="loss is a function of this process"):
        api.sweep("toy:small", images, over="lr=1e-4..1e-2", on="ray", loss=lambda outputs, targets: outputs.sum())
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = hubft(*words, "--on", "ray")
    assert (ran.code, ran.err.count("\n")) == (2, 1) and "pip install 'hubft[ray]'" in ran.err
    assert not list(tmp_path.iterdir())
