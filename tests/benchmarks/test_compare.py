"""The comparison of the benchmarks: each contestant once a seed, in turn, measured beside hubft."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# A driver: it notes its command, and its accuracy and seconds grow with the epochs; hubft's second is half as long.
DRIVER = """
import json, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
system, epochs, seed = "{system}", int(words["--epochs"]), int(words["--seed"])
with open("{log}", "a") as log:
    log.write(json.dumps([system, epochs, seed, words.get("--budget"), words.get("--train")]) + "\\n")
if epochs == 9:
    sys.exit("nine is too many")
seconds = float(words["--budget"].rstrip("s")) if "--budget" in words else epochs * (1 if system == "hubft" else 2)
print(json.dumps(dict(system=system, model=words["--model"], data="flowers", size=int(words["--size"]), frozen=False,
    seed=seed, versions=dict(torch="1"), accuracy=min(1, 0.5 + max(0, epochs) / 10 + seed / 100), train_seconds=seconds,
    images_per_second=100 / seconds, per_epoch=[])))
"""


@pytest.fixture
def compare(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("benchmark_compare", BENCHMARKS / "compare.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for system, file in module.SYSTEMS.items():
        (tmp_path / file).write_text(DRIVER.format(system=system, log=tmp_path / "log"))
    monkeypatch.setattr(module, "DRIVERS", tmp_path)
    return module


@pytest.fixture
def run(compare, monkeypatch, tmp_path, capsys):
    """`run(*words)` is the command; returns what it printed, and its drivers' runs in order."""

    def run(*words):
        (tmp_path / "log").write_text("")
        out = tmp_path / "out.jsonl"
        monkeypatch.setattr(sys, "argv", ["compare.py", "--data", "flowers", "--out", str(out), *words])
        compare.main()
        return capsys.readouterr(), [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    return run


def cells(printed, contestant):
    (line,) = (line for line in printed.out.splitlines() if line.startswith(f"│ {contestant} "))
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_each_runs_once_a_seed_another_first_each_time_and_a_second_call_runs_nothing(run):
    words = ("--systems", "hubft:1", "fastai:2", "--seeds", "2", "--hubft", "--train all")
    printed, done = run(*words)
    ours, theirs = ["hubft", 1, 0, None, "all"], ["fastai", 2, 0, None, None]
    assert done == [ours, theirs, ["fastai", 2, 1, None, None], ["hubft", 1, 1, None, "all"]]
    # accuracies 0.7 and 0.71: mean 0.705, half of the interval t(0.975, 1) * 0.00707 / sqrt(2) = 12.706 * 0.005
    assert cells(printed, "fastai:2")[1:7] == ["2", "4.0", "4.00", "25.0", "0.25", "0.7050 [0.6415, 0.7685]"]
    assert cells(printed, "fastai:2")[7] == "+0.1000 [+0.1000, +0.1000]"
    again, done = run(*words)
    assert done == [] and cells(again, "fastai:2") == cells(printed, "fastai:2")


def test_in_equal_time_hubft_gets_the_seconds_of_each_other_and_chooses_its_epochs(run):
    printed, done = run("--systems", "fastai:3", "trainer:2", "--seeds", "1", "--equal-time")
    assert [line[:4] for line in done] == [
        ["fastai", 3, 0, None],
        ["hubft", -1, 0, "6.0s"],
        ["trainer", 2, 0, None],
        ["hubft", -1, 0, "4.0s"],
    ]
    assert cells(printed, "fastai:3")[7] == "+0.3000" and cells(printed, "trainer:2")[7] == "+0.2000"
    assert cells(printed, "hubft in the time of trainer:2")[2] == "4.0"


def test_the_time_to_a_target_is_that_of_the_first_number_of_epochs_whose_median_is_there(run):
    printed, done = run("--systems", "hubft", "handloop", "--seeds", "3", "--target", "0.615")
    assert max(epochs for _, epochs, *_ in done) == 2  # the best of one epoch has 0.62, their median 0.61
    assert cells(printed, "handloop") == ["handloop", "3", "2", "4.0", "2.00", "0.7100"]


def test_a_run_that_fails_is_named_and_leaves_no_line(run):
    printed, done = run("--systems", "hubft:1", "fastai:9", "--seeds", "1")
    assert len(done) == 2 and "fastai:9, seed 0, failed:\nnine is too many" in printed.err
    assert cells(printed, "fastai:9")[1:] == ["0", "-", "-", "-", "-", "-", "-"]


def test_what_is_no_contestant_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("--systems", "keras:3")
    assert "'keras:3' is not SYSTEM or SYSTEM:EPOCHS with one of hubft, handloop" in capsys.readouterr().err
