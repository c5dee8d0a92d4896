"""Runs side by side: the paired difference to the first, on the samples that both were measured on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import reported
from commands import Hubft

from hubft import Job, engine
from hubft.report import outcomes
from hubft.report.outcomes import Outcomes
from hubft.tasks.paired import difference


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on one table by two seeds, so that they share a part of what they were measured on, and one without
    epochs on the same part as the first."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        job = replace(reported.KINDS["several"](root, patch), compute=reported.SMALL)
    made = []
    for name, recipe in (("a", {"epochs": 2}), ("b", {"epochs": 0}), ("c", {"epochs": 0, "seed": 1})):
        engine.finetune(replace(job, recipe=replace(job.recipe, **recipe), output=root / name))
        made.append(root / name)
    return made


def test_the_difference_is_paired(runs: list[Path], hubft: Hubft, tmp_path: Path) -> None:
    ran = hubft("compare", *runs, "--json", "--output", tmp_path / "page.html")
    assert ran.code == 0 and f"page     {tmp_path / 'page.html'}" in ran.err
    first, second, third = json.loads(ran.out)["runs"]
    kept = [outcomes.read(folder / "report") for folder in runs]
    assert kept[0] and kept[1] and kept[0].sha256 == kept[1].sha256
    by_hand = difference(kept[1].task, kept[1].outputs, kept[0].outputs, kept[0].targets, kept[0].task)
    assert first["difference"] is None
    assert (second["difference"]["value"], second["difference"]["low"]) == (by_hand.value, by_hand.low)
    assert "samples of" in third["note"] and third["difference"]["n"] < len(kept[0].sha256)
    assert "epochs" in (tmp_path / "page.html").read_text(encoding="utf-8")
    shown = hubft("compare", *runs)
    assert ["epochs", "2", "0", "0"] in shown.cells() and f"note: {runs[2]}" in shown.out


def test_runs_of_other_tasks_are_refused_in_a_line(runs: list[Path], hubft: Hubft, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        other = reported.run("regression", tmp_path, patch)
    for given in ([runs[0]], [runs[0], other.run.folder], [runs[0], tmp_path]):
        ran = hubft("compare", *given)
        assert ran.code == 2 and len(ran.err.splitlines()) == 1, ran
    ran = hubft("compare", *runs, "--output", tmp_path / "page.txt")
    assert ran.code == 2 and "ends in .html" in ran.err


@pytest.mark.parametrize("kind", ["tokens", "boxes", "multilabel"])
def test_outcomes_are_read_as_they_were_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = reported.run(kind, tmp_path, monkeypatch)
    kept = outcomes.read(result.run.report)
    assert isinstance(kept, Outcomes)
    assert kept.task.measure(kept.outputs, kept.targets).plain() == result.metrics.plain()


def test_outcomes_that_are_too_large_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "MOST", 50)
    job: Job = reported.KINDS["regression"](tmp_path, monkeypatch)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        engine.finetune(replace(job, recipe=replace(job.recipe, epochs=0), compute=reported.SMALL, output=folder))
    assert outcomes.read(folders[0] / "report") is None
