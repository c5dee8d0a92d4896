"""`hubft sweep`: points tried once each, on training samples held out; the best alone meets the validation part."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from commands import Hubft
from extras import needs
from sweeps import HERE, OVER, points, table

from hubft import Job, engine
from hubft.base.errors import JobError
from hubft.choosing import luck, space, trial
from hubft.choosing.rows import Outcome
from hubft.choosing.trial import Done
from hubft.run import probing
from hubft.tasks.classification import Classification
from hubft.tasks.metrics import Measured

study = needs("hubft.choosing.study", "sweep")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return pictures.folder(tmp_path / "insects", train=12, val=4)


def test_from_the_command_to_the_page_and_again(
    hubft: Hubft, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = engine.ready, []
    monkeypatch.setattr(engine, "ready", lambda job, data, *its: seen.append((job, data)) or real(job, data, *its))
    words = ("sweep", "toy:small", images, *OVER, *HERE)
    ran = hubft(*words, "--trials", 3)
    assert (ran.code, ran.err) == (0, "")
    folder = tmp_path / "runs" / "sweep-insects"
    found = table(folder)
    *trials, (best, whole) = seen
    assert len(trials) == 4 and len(whole.train) == 36 and len(whole.val) == 12
    validation = {sample.sha256 for sample in whole.val}
    for _, data in trials:
        assert (len(data.train), len(data.val), data.test) == (30, 6, ())
        assert {sample.sha256 for sample in (*data.train, *data.val)} == {sample.sha256 for sample in whole.train}
        assert not validation & {sample.sha256 for sample in (*data.train, *data.val)}
    assert (found["facts"]["trained on"], found["facts"]["held out"]) == (30, 6)
    tried = [(job.recipe.lr, job.recipe.augment) for job, _ in trials]
    assert tried[0] == (0.0, "auto") and len(set(tried)) == 4
    assert all(1e-4 <= lr <= 1e-1 and float(f"{lr:.3g}") == lr and augment != "auto" for lr, augment in tried[1:])
    scores = [row["score"]["value"] for row in found["trials"] if row["score"]]
    assert scores == sorted(scores, reverse=True) and found["trials"][0]["trial"] == found["best"]
    assert (best.recipe.lr, best.recipe.augment) in tried and found["next"] in ran.out
    assert found["validation"]["accuracy"]["n"] == 12 and (Path(found["package"]) / "hubft.json").is_file()
    page = (folder / "index.html").read_text()
    assert "parallel coordinates" in page and "trial 2" in page and found["next"] in page and "<script src" not in page
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in ("parallel.png", "importance.png"))
    seen.clear()
    again = hubft(*words, "--trials", 3)
    assert again.code == 0 and not seen and points(folder) == points(folder) and found["next"] in again.out
    more = hubft(*words, "--trials", 4)
    assert more.code == 0 and len(points(folder)) == 4 and sum(len(data.train) == 30 for _, data in seen) == 1
    other = hubft(*words, "--lr", 0.1)
    assert other.code == 2 and "--lr is given, and --over tries others" in other.err
    other = hubft(*words, "--batch-size", 8)
    assert other.code == 2 and "holds a sweep with other options: name another --output" in other.err


def test_a_winning_line_gives_the_run_that_won(hubft: Hubft, images: Path, tmp_path: Path) -> None:
    over = ("--over", "lr=0.5..3", "--over", "augment=none,light", "--over", "train=head;all,-norms")
    ran = hubft("sweep", "toy:small", images, *over, *HERE, "--trials", 2, "--output", "out")
    assert ran.code == 0, ran.err
    found = table(tmp_path / "out")
    [line] = [text.removeprefix("winner   ") for text in ran.out.splitlines() if text.startswith("winner")]
    assert line == found["next"] and "--budget" not in line and "--over" not in line
    again = hubft(*shlex.split(line)[1:], "--output", "again")
    assert again.code == 0, again.err
    theirs, ours = (Path(one) / "model.safetensors" for one in (found["package"], tmp_path / "again" / "package"))
    assert theirs.read_bytes() == ours.read_bytes()


def test_a_head_is_solved_once_for_all_that_have_it(
    hubft: Hubft, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, solved = probing.solved, []
    monkeypatch.setattr(probing, "solved", lambda *its: solved.append(its) or real(*its))
    over = ("--over", "dropout=0,0.3", "--over", "lr=1e-3,1e-2")
    ran = hubft("sweep", "toy:small", images, *over, *HERE, "--trials", 4)
    assert (ran.code, ran.err) == (0, "")
    assert len(solved) == 3, "with and without dropout, and on all training images"


def test_a_process_that_is_killed_leaves_its_trial_to_the_next(hubft: Hubft, images: Path, tmp_path: Path) -> None:
    words = ("sweep", "toy:small", images, *OVER, *HERE[:-1], 6, "--trials", 4)
    words = tuple(map(str, words))
    whole = hubft(*words, "--output", "whole")
    assert whole.code == 0, whole.err
    with subprocess.Popen([sys.executable, "-m", "hubft", *words, "--output", "cut"], stdout=subprocess.DEVNULL) as one:
        while not (tmp_path / "cut" / "trials" / "0002" / "metrics.jsonl").exists():
            assert one.poll() is None
            time.sleep(0.005)
        os.kill(one.pid, signal.SIGKILL)
    assert not (tmp_path / "cut" / "trials" / "0002" / "trial.json").exists(), "it was killed within the trial"
    on = hubft(*words, "--output", "cut")
    assert on.code == 0 and "trial 2  goes on: a process left it" in on.out, on.err
    assert points(tmp_path / "cut") == points(tmp_path / "whole") and len(points(tmp_path / "cut")) == 4
    assert table(tmp_path / "cut")["luck"] == table(tmp_path / "whole")["luck"]


def test_a_budget_begins_no_trial_after_it_and_gives_up_the_one_under_way(
    hubft: Hubft, images: Path, tmp_path: Path
) -> None:
    ran = hubft("sweep", "toy:small", images, *OVER, *HERE, "--budget", "0.01s", "--output", "out")
    assert ran.code == 0, ran.err
    assert [state for _, _, state in points(tmp_path / "out").values()] == ["complete"], "the first comes to its end"
    assert "--budget" not in table(tmp_path / "out")["next"]


def test_trials_that_break_or_are_refused_are_told_and_the_others_go_on(
    hubft: Hubft, images: Path, tmp_path: Path
) -> None:
    over = ("--over", "lr=0.01,1000", "--over", "train=head;all;stage:none", "--clip", 0)
    ran = hubft("sweep", "toy:small", images, *over, *HERE, "--trials", 20, "--output", "out")
    assert ran.code == 0, ran.err
    rows = {(row["options"].get("lr"), row["options"].get("train")): row for row in table(tmp_path / "out")["trials"]}
    assert len(rows) == 7, "each of the six points once, and the recipe"
    assert {rows[lr, "stage:none"]["state"] for lr in ("0.01", "1000")} == {"failed"}
    assert "stage:none" in rows["0.01", "stage:none"]["why"] and "stage:none" in ran.out
    assert rows["0.01", "head"]["state"] == "complete" and rows["0.01", "head"]["score"]
    assert table(tmp_path / "out")["trials"][-1]["score"] is None, "what has no score is last"


def test_what_no_sweep_can_be_made_of_is_told_and_nothing_is_written(
    hubft: Hubft, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    lr = ("--over", "lr=1e-4..1e-2")
    for words, said in (
        ((), "sweep needs REFERENCE and DATA: hubft sweep"),
        (("toy:small", images), "--over says what is tried"),
        (("tomi:small", images, *lr), "unknown family 'tomi'"),
        (("toy:small", tmp_path / "nowhere", *lr), "nowhere' is no folder"),
        (("toy:small", images, *lr, "--trials", 0), "--trials 0: must be in 1..10000"),
        (("toy:small", images, *lr, "--budget", "soon"), "--budget 'soon': must be a time"),
        (("toy:small", images, *lr, "--output", "mine"), "holds something else than a sweep: name another --output"),
        (("toy:remote", images, *lr), "needs a package that is not installed"),
        (("toy:small", images, *lr, "--soup", "a"), "--soup is of no trial"),
    ):
        ran = hubft("sweep", *words)
        assert (ran.code, ran.err.count("\n")) == (2, 1) and said in ran.err, ran.err
    monkeypatch.setitem(sys.modules, "optuna", None)
    ran = hubft("sweep", "toy:small", images, *lr)
    assert ran.code == 2 and "pip install 'hubft[sweep]'" in ran.err
    assert not list(tmp_path.glob("runs/*")) and len(list((tmp_path / "mine").iterdir())) == 1


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["lrr=1..2"], "there is no option 'lrr'. Did you mean 'lr'?"),
        (["lr"], "over lr: must be NAME=LOW..HIGH or NAME=A,B"),
        (["lr=0.1..0.01"], "an empty range"),
        (["lr=low..high"], "'low' must be a number"),
        (["lr=-1..1"], "lr -1.0: must be in [0, 1000]"),
        (["epochs=1.5..3"], "'1.5' must be a whole number"),
        (["epochs=2..9", "epochs=1,2"], "names 'epochs' twice"),
        (["batch-size=2,4", "batch_size=1..2"], "names 'batch-size' twice"),
        (["augment=light,heavy"], "'heavy': must be one of auto, none, light"),
        (["augment=light,light"], "names a value twice"),
        (["augment=light"], "one value is no choice: give all trials augment light"),
        (["augment=1..2"], "no range of numbers"),
        (["probe=yes,maybe"], "'maybe' must be yes or no"),
        (["power=0.5..2"], "must be left out: it is of schedule polynomial"),
        (["seed=1,2"], "does not go through seed"),
        (["holdout=0.1..0.3"], "does not go through holdout"),
        (["budget=1m,2m"], "does not go through budget"),
    ],
)
def test_what_cannot_be_gone_through_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(JobError) as refused:
        space.parse(texts, Job("toy:small", "insects"))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_ranges_and_choices_mean_what_they_say() -> None:
    job = Job("toy:small", "insects")
    texts = ["lr=1e-5..1e-3", "dropout=0.1..0.5", "epochs=2..9", "train=head;all,-norms", "hidden=;64;64,32"]
    lr, dropout, epochs, train, hidden = found = space.parse([*texts, "probe=yes,no"], job)[:5]
    assert lr.by_tenfold and not dropout.by_tenfold and lr.value(0.000123456) == 0.000123
    assert epochs.points == range(2, 10) and epochs.whole and lr.points is None
    assert train.values == ("head", "all,-norms") and hidden.values == ((), (64,), (64, 32))
    made = space.put(found, job, {"lr": 1e-3, "dropout": 0.25, "epochs": 3, "train": "all,-norms", "hidden": "64,32"})
    assert made.recipe.lr == 1e-3 and made.head.dropout == 0.25 and made.recipe.epochs == 3
    assert made.head.hidden == (64, 32) and made.recipe.train == "all,-norms"
    narrow = space.parse(["clip=0.99996..0.99998"], job)[0]
    assert narrow.low <= narrow.value(0.99997) <= narrow.high, "three digits, and within the range"


def gone_through(folder: Path, texts: list[str], trials: int, stop: int = -1) -> list[Any]:
    """Return the points of a study whose scores are made up; at the trial `stop` its process dies."""
    axes, tried = space.parse(texts, Job("toy:small", "insects")), []
    with study.joined(folder, axes, 0, "higher") as its:
        while taken := its.take(trials):
            tried.append((taken.number, {axis.name: axis.value(taken.point[axis.name]) for axis in axes}))
            if taken.number != stop:
                its.tell(taken, Done(Measured(-abs(float(taken.point.get("lr", 0)) - 0.01))))
            taken.lock.release()
            if taken.number == stop:
                break
    return tried


def test_a_study_that_goes_on_is_the_one_that_never_stopped(tmp_path: Path) -> None:
    texts = ["lr=1e-5..1e-1", "augment=light,standard"]
    whole = gone_through(tmp_path / "whole", texts, 16)
    cut = [*gone_through(tmp_path / "cut", texts, 16, stop=12), *gone_through(tmp_path / "cut", texts, 16)]
    assert cut[:13] == whole[:13] and cut[13:] == whole[12:], "the trial of the one that died is taken up"
    assert len({tuple(point.values()) for _, point in whole}) == 16
    late = [abs(point["lr"] - 0.01) for _, point in whole[10:]]
    early = [abs(point["lr"] - 0.01) for _, point in whole[:10]]
    assert sum(late) / len(late) < sum(early) / len(early), "it learns where it is good"


def test_a_space_with_an_end_is_gone_through_once(tmp_path: Path) -> None:
    tried = gone_through(tmp_path, ["epochs=1..3", "augment=light,standard,none"], 50)
    assert len(tried) == 9 and set(Counter(tuple(point.values()) for _, point in tried).values()) == {1}


def test_processes_share_a_study(tmp_path: Path) -> None:
    axes = space.parse(["lr=1e-5..1e-1"], Job("toy:small", "insects"))
    with study.joined(tmp_path, axes, 0, "higher") as one, study.joined(tmp_path, axes, 0, "higher") as other:
        mine, theirs = one.take(3), other.take(3)
        assert mine and theirs and (mine.number, theirs.number) == (0, 1) and mine.point != theirs.point
        assert one.elsewhere() == 2 and [row.state for row in other.seen()] == ["running"] * 2
        theirs.lock.release()  # it died
        taken = one.take(3)
        assert taken and taken.resumed and (taken.number, taken.point) == (1, theirs.point)
        third = other.take(3)
        assert third and third.number == 2 and one.take(3) is None, "there are as many as were asked for"
        for its in (mine, taken, third):
            one.tell(its, Done(Measured(0.5)))
            its.lock.release()
        assert other.elsewhere() == 0 and {row.state for row in other.seen()} == {"complete"}


def test_a_trial_behind_the_median_is_given_up(tmp_path: Path) -> None:
    axes = space.parse(["lr=1e-5..1e-1"], Job("toy:small", "insects"))
    with study.joined(tmp_path, axes, 0, "lower") as its:
        for place in range(study.STARTUP + 1):
            taken = its.take(20)
            assert taken
            told = its.watch(taken, 4)
            for epoch in range(1, 5):
                if place == study.STARTUP and epoch == study.EARLIEST:
                    with pytest.raises(trial.GivenUp, match="given up after epoch 2"):
                        told(epoch, Measured(9.0, better="lower"))
                    break
                told(epoch, Measured(9.0 if place == study.STARTUP else 1.0, better="lower"))
                told(epoch, Measured(7.0, better="lower"))  # an epoch that is done again is told once
            its.tell(taken, Done(Measured(1.0)) if place < study.STARTUP else Done(why="given up"))
        assert [row.state for row in its.seen()][-1] == "given up"


def test_what_the_best_of_many_gains_by_luck_is_taken_off() -> None:
    random, task = torch.Generator().manual_seed(0), Classification(("ants", "bees"))
    targets = torch.randint(2, (400,), generator=random)

    def outcome(right: float) -> Outcome:
        hit = torch.rand(400, generator=random) < right
        return Outcome(torch.nn.functional.one_hot(torch.where(hit, targets, 1 - targets), 2).float(), task)

    alike = luck.judged([outcome(0.7) for _ in range(21)], targets)
    assert alike.gain > 0.02 and abs(alike.corrected.value) < alike.gain / 2 and not alike.tells
    assert alike.luck == pytest.approx(alike.gain - alike.corrected.value)
    assert "the best of 21 gains" in alike.words("accuracy", "images") and "not tell" in alike.words(
        "accuracy", "images"
    )
    better = luck.judged([*(outcome(0.6) for _ in range(20)), outcome(0.9)], targets)
    assert better.tells and better.corrected.value == pytest.approx(0.3, abs=0.07) and better.luck < 0.02
    first = luck.judged([outcome(0.99), *(outcome(0.6) for _ in range(5))], targets)
    assert first.gain == 0 and "none of 5 trials gains anything" in first.words("accuracy", "images")
