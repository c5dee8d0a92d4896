"""`hubft lr-find`: a range test by the run's own loop, beside what the recipe chooses for the same run."""

import json
from pathlib import Path

import pictures
import pytest
import texts
import torch
from commands import Hubft
from runs import job

from hubft import Job, engine
from hubft.choosing import curve as curves
from hubft.choosing import rates
from hubft.choosing.rates import Curve
from hubft.job import Recipe
from hubft.train import schedule


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return pictures.folder(tmp_path / "insects", train=16, val=4)


def test_from_the_command_to_the_curve(hubft: Hubft, images: Path, tmp_path: Path) -> None:
    words = (images, "--epochs", 2, "--batch-size", 16, "--device", "cpu", "--workers", 0)
    ran = hubft("lr-find", "toy:small", *words, "--output", "found")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads((tmp_path / "found" / "lr-find.json").read_text())
    assert (tmp_path / "found" / "lr-find.png").read_bytes().startswith(b"\x89PNG")
    result = engine.finetune(job(images, tmp_path / "run", recipe={"lr": 0.0}))
    settled = json.loads(result.run.plan_file.read_text())["job"]["recipe"]["lr"]
    assert found["default"] == pytest.approx(settled), "what a run of the same options chooses"
    assert found["rates"][0] == pytest.approx(rates.LEAST) and found["rates"] == sorted(found["rates"])
    assert found["ran_away"] and len(found["losses"]) < 100 and found["rates"][-1] > 10 * found["suggestion"]
    [line] = [text for text in ran.out.splitlines() if text.startswith("next")]
    assert line.split()[1:5] == ["hubft", "finetune", "toy:small", str(images)]
    assert f"--lr {found['suggestion']:g}" in line and "--epochs 2" in line and "--output" not in line
    assert sum("│" in text for text in ran.out.splitlines()) == curves.HEIGHT
    assert {path.name for path in tmp_path.iterdir()} == {"insects", "found", "run"}
    refused = hubft("lr-find", "toy:small", *words, "--lr", 0.1)
    assert refused.code == 2 and "--lr 0.1: must be left out" in refused.err
    refused = hubft("lr-find", "toy:small", *words, "--output", "found")
    assert refused.code == 2 and "exists: give another --output" in refused.err


def test_it_trains_what_the_run_trains_at_its_start(images: Path, tmp_path: Path) -> None:
    asked = job(images, tmp_path / "run", recipe={"train": "head, block@0.5", "schedule": "one-cycle", "lr": 0.0})
    found = rates.find(asked, steps=30)
    whole = rates.find(job(images, tmp_path / "run", recipe={"train": "all", "lr": 0.0}), steps=30)
    head = rates.find(job(images, tmp_path / "run", recipe={"train": "head", "lr": 0.0}), steps=30)
    assert found.losses == head.losses != whole.losses and not (tmp_path / "run").exists()


def test_texts(tmp_path: Path) -> None:
    reference = f"transformers:{texts.model(tmp_path / 'bert')}"
    asked = Job(reference, texts.table(tmp_path / "reviews.csv"), recipe=Recipe(epochs=2, batch_size=16))
    found = rates.find(asked, steps=40)
    assert 0 < found.suggestion < found.edge <= found.rates[-1] and found.default > 0


def test_the_suggestion_is_a_tenth_of_the_last_rate_that_does_no_harm() -> None:
    grown = tuple(10 ** (-7 + place / 10) for place in range(60))
    losses = [0.5 + 0.01 * (-1) ** place for place in range(60)]
    losses[50:] = [3.0, 5.0, 9.0, 20.0, 40.0, 80.0, 99.0, 99.0, 99.0, 99.0]
    found = Curve(grown, tuple(losses), 1e-3, True)
    assert found.edge == pytest.approx(grown[49]) and found.suggestion == pytest.approx(0.1 * grown[49], rel=0.05)
    assert len(curves.drawn(found)) == curves.HEIGHT + 2
    assert {"d", "s", "e"} <= set(curves.drawn(found)[-2])


def test_rates_rise_by_equal_factors_in_every_group() -> None:
    groups = [{"params": [torch.zeros(1)], "peak_lr": peak} for peak in (10.0, 2.0)]
    optimizer, rising = torch.optim.SGD(groups, lr=1.0), schedule.rising(1e-6, 4)
    found = [rising(optimizer, Recipe(), step, 99) for step in range(4)]
    assert found == pytest.approx([1e-5, 1e-3, 1e-1, 10.0])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([10.0, 2.0])
