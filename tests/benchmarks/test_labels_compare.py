"""The comparison on tables: what is said is scored in one way, and hubft gets the seconds that each rival took."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABLE = """image,split,number
images/0.png,train,9
images/1.png,test,1
images/2.png,test,3
images/3.png,test,2
"""

# A driver: it notes its command and says the truth, moved by a tenth of its epochs; hubft, which is told none, is
# nearer to it.
DRIVER = """
import json, pathlib, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
epochs, seed, budget = int(words["--epochs"]), int(words["--seed"]), words.get("--budget")
with open("{log}", "a") as log:
    log.write(json.dumps(["{system}", epochs, seed, budget, words.get("--flips")]) + "\\n")
if epochs == 9:
    sys.exit("nine is too many")
said = pathlib.Path(words["--predictions"])
said.parent.mkdir(exist_ok=True)
said.write_text(json.dumps(dict(number=[n + max(0.05, epochs / 10) for n in (1, 3, 2)])))
print(json.dumps(dict(system="{system}", model=words["--model"], data="x", size=int(words["--size"]), seed=seed,
    versions=dict(torch="1"), train_seconds=float(budget.rstrip("s")) - 1 if budget else 10 * epochs)))
"""


@pytest.fixture
def compare(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("labels_compare", BENCHMARKS / "labels_compare.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for system in ("hubft", *module.SHOWN):
        (tmp_path / f"labels_{system}.py").write_text(DRIVER.format(system=system, log=tmp_path / "log"))
    monkeypatch.setattr(module, "DRIVERS", tmp_path)
    monkeypatch.setattr(module, "SETS", {"toy": module.Pictures("regression", ("number",), "both", "R2")})
    for seed in range(2):
        (tmp_path / "data" / f"toy-{seed}").mkdir(parents=True)
        (tmp_path / "data" / f"toy-{seed}" / "table.csv").write_text(TABLE)
    return module


@pytest.fixture
def run(compare, monkeypatch, tmp_path, capsys):
    """`run(*words)` is the command; returns what it printed, and its drivers' runs in order."""

    def run(*words):
        (tmp_path / "log").write_text("")
        given = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out.jsonl"), *words]
        monkeypatch.setattr(sys, "argv", ["labels_compare.py", *given])
        compare.main()
        return capsys.readouterr(), [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    return run


def cells(printed, system):
    (line,) = (line for line in printed.out.splitlines() if f"| {system} |" in line)
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_hubft_runs_after_each_rival_in_its_time_and_a_second_call_runs_nothing(run):
    words = ("--systems", "hand:3", "fastai:1", "--seeds", "2")
    printed, done = run(*words)
    assert done == [
        *(["hand", 3, 0, None, "both"], ["hubft", -1, 0, "30.0s", None]),
        *(["fastai", 1, 0, None, None], ["hubft", -1, 0, "10.0s", None]),
        *(["fastai", 1, 1, None, None], ["hubft", -1, 1, "10.0s", None]),
        *(["hand", 3, 1, None, "both"], ["hubft", -1, 1, "30.0s", None]),
    ]
    # R2 is 1 - 3 * moved² / 2: 0.3 gives 0.865, 0.05 gives 0.99625
    assert cells(printed, "the loop by hand, 3 epochs") == [
        *("toy", "R2", "the loop by hand, 3 epochs", "30", "2", "86.5 ± 0.0"),
        *("29", "99.6 ± 0.0", "+13.1 ± 0.0", "2 of 2"),
    ]
    again, done = run(*words)
    assert done == [] and cells(again, "`fine_tune(1)`") == cells(printed, "`fine_tune(1)`")
    shown, done = run(*words, "--show")
    assert done == [] and shown.out == again.out


def test_one_budget_for_all_is_one_run_of_hubft_a_seed(run):
    printed, done = run("--systems", "hand:3", "fastai:1", "--seeds", "1", "--budget", "8")
    assert [line[:4] for line in done][-1] == ["hubft", -1, 0, "8.0s"] and len(done) == 3
    assert cells(printed, "`fine_tune(1)`")[6:] == ["7", "99.6", "+1.1", "1 of 1"]


def test_a_run_that_fails_is_named_and_leaves_no_line(run, tmp_path):
    printed, done = run("--systems", "hand:9", "--seeds", "1")
    assert len(done) == 1 and "toy, hand:9, seed 0, failed:\nnine is too many" in printed.err
    assert not (tmp_path / "out.jsonl").exists()


def test_what_is_no_contestant_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("--systems", "hand")
    assert "'hand' is not SYSTEM:EPOCHS with one of hand, fastai, autogluon" in capsys.readouterr().err


def test_a_system_does_not_run_where_it_cannot_learn(compare, monkeypatch):
    sets = {kind: compare.Pictures(kind, ("a",), "none", "") for kind in ("regression", "multilabel", "several")}
    monkeypatch.setattr(compare, "SETS", sets)
    able = {system: [name for name in sets if compare.able(f"{system}:1", name)] for system in compare.SHOWN}
    assert able == {"hand": [*sets], "fastai": ["regression", "multilabel"], "autogluon": ["regression"]}


def test_scores_are_those_that_one_counts_by_hand(compare):
    several = compare.Pictures("several", ("face", "size"), "none", "")
    rows = [{"face": "a", "size": "1"}, {"face": "b", "size": "3"}]
    said = {"face": {"b": [0.9, 0.6], "a": [0.1, 0.4]}, "size": [2.0, 2.0]}
    assert compare.scores(several, rows, said) == {"face": 0.5, "size": 0.0}
    # x is in pictures 0 and 2, ranked second and first: 1 each; y in 1 alone, ranked last of three: 1 / 3
    said = {"x": [0.5, 0.1, 0.9], "y": [0.2, 0.1, 0.3]}
    assert compare.score("multilabel", ["x", "y", "x"], said) == pytest.approx((1 + 1 / 3) / 2)
    # a label that nothing is said of is as good as drawn by lot
    assert compare.score("multilabel", ["x", "y;z", "x"], said) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


@pytest.mark.parametrize("said", [[1.0], [1.0, float("nan")], {"a": [1.0, 0.0, 0.0]}])
def test_what_is_not_said_of_each_picture_is_refused(compare, said):
    with pytest.raises(SystemExit, match="not a number said of each of 2 pictures"):
        compare.score("regression", ["1", "2"], said)


def test_hubft_is_read_by_column_for_a_number_labels_and_several_heads(monkeypatch):
    """The driver needs what the peers' environments have; only how it reads answers is of interest here."""
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")
    spec = importlib.util.spec_from_file_location("labels_hubft", BENCHMARKS / "peers" / "labels_hubft.py")
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    shares = {"probabilities": {"x": 0.25, "y": 0.75}}
    assert driver.of({"probability": 0.5}, "probability") == 0.5
    assert driver.of({"labels": ["y"], **shares}, "kinds") == shares["probabilities"]
    several = {"face": {"class": "y", "probability": 0.75, **shares}, "size": {"size": 40.0}}
    assert driver.of(several, "face") == shares["probabilities"] and driver.of(several, "size") == 40.0
    assert driver.column([40.0, 41.0]) == [40.0, 41.0]
    assert driver.column([{"x": 0.25, "y": 0.75}, {"y": 0.5, "x": 0.5}]) == {"x": [0.25, 0.5], "y": [0.75, 0.5]}
