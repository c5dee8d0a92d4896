"""A soup of packages: the mean of their weights, or of those that make it no worse, measured and packaged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from commands import exit_code
from runs import heard, job
from safetensors.torch import load_file
from torch import Tensor

import hubft
from hubft import engine
from hubft.engine import Result


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=20, val=12)


@pytest.fixture(scope="module")
def runs(insects: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three runs: two of other seeds, and one that learned each class by the name of the next."""
    root = tmp_path_factory.mktemp("runs")
    wrong = shutil.copytree(insects, root / "wrong")
    for part in ("train", "val"):
        names = ("ants", "bees", "wasps")
        for name in names:
            (wrong / part / name).rename(wrong / part / f"{name}-before")
        for name, other in zip(names, (*names[1:], names[0]), strict=True):
            (wrong / part / f"{name}-before").rename(wrong / part / other)
    for place, (data, seed) in enumerate([(insects, 1), (insects, 2), (wrong, 3)]):
        engine.finetune(job(data, root / str(place), recipe={"seed": seed, "train": "all"}))
    return [str(root / str(place)) for place in range(3)]


def weights(folder: str | Path) -> dict[str, Tensor]:
    return load_file(Path(folder) / "package" / "model.safetensors")


def results(result: Result) -> Any:
    return json.loads((result.run.report / "results.json").read_text(encoding="utf-8"))


def test_a_uniform_soup_is_the_mean_of_all(insects: Path, runs: list[str], tmp_path: Path) -> None:
    result = engine.blend(runs[:2], insects, tmp_path / "soup")
    first, second, soup = (weights(folder) for folder in (*runs[:2], result.run.folder))
    moved = 0
    for name, tensor in soup.items():
        if tensor.is_floating_point() and "running" not in name:  # these are measured anew
            torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)
            moved += not torch.equal(first[name], second[name])
    assert moved
    manifest = json.loads((result.run.package / "hubft.json").read_text())
    assert manifest["settled"]["soup"] == "mean of the weights of 2 of 2 packages"
    assert hubft.evaluate(result.run.folder, insects).metrics.head.value == pytest.approx(result.metrics.head.value)
    assert results(result)["soup"] == {"taken": runs[:2], "members": runs[:2]}


def test_of_equal_packages_it_is_the_package_bit_for_bit(insects: Path, runs: list[str], tmp_path: Path) -> None:
    result = engine.blend([runs[0], runs[0]], insects, tmp_path / "soup")
    first, soup = weights(runs[0]), weights(result.run.folder)
    assert all(torch.equal(tensor, soup[name]) for name, tensor in first.items())


def test_a_greedy_soup_takes_no_package_that_makes_it_worse(
    insects: Path, runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, members = tmp_path / "soup", [runs[2], runs[0]]
    assert exit_code("soup", *members, "--data", str(insects), "--output", str(out), "--greedy") == 0
    said = capsys.readouterr().out
    found = json.loads((out / "report" / "results.json").read_text())
    heads = {name: one["value"] for name, one in found["soup"]["members"].items()}
    assert list(heads) == members and heads[runs[2]] < heads[runs[0]]
    assert found["soup"]["taken"] == [runs[0]], "the best comes first, wherever it was named"
    assert found["metrics"]["accuracy"]["value"] == heads[runs[0]]
    line = next(line for line in said.splitlines() if line.startswith("soup "))
    assert "1 of 2 packages, chosen on the validation part, which flatters it" in line


def test_a_greedy_soup_takes_what_makes_it_no_worse(insects: Path, runs: list[str], tmp_path: Path) -> None:
    result = engine.blend([runs[0], runs[1]], insects, tmp_path / "soup", greedy=True)
    assert result.soup and result.soup.whole
    taken, best = result.soup.taken, max(one.value for one in result.soup.heads.values())
    assert result.metrics.head.value == result.soup.whole.value >= best
    both = engine.blend(runs[:2], insects, tmp_path / "both").metrics.head.value
    assert len(taken) == (2 if both >= best else 1)


def test_a_soup_is_a_job_like_any_other(insects: Path, runs: list[str], tmp_path: Path) -> None:
    """By the option, and resumed: the same package."""
    options: dict[str, Any] = {"epochs": 0, "probe": False, "lr": 0.02, "batch_size": 16, "seed": 1, "train": "all"}
    one = hubft.finetune(f"package:{runs[0]}", insects, soup=runs[1], output=tmp_path / "one", quiet=True, **options)
    two = engine.blend(runs[:2], insects, tmp_path / "two")
    first, second = weights(one.run), weights(two.run.folder)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    job_of = json.loads((one.package / "hubft.json").read_text())["job"]
    assert job_of["soup"] == ["1"], "the path of this machine is not published"


def test_what_makes_no_soup_is_refused_in_one_line(
    insects: Path, runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = pictures.folder(tmp_path / "others", train=12, val=6, classes=("cats", "dogs"))
    stranger = str(tmp_path / "stranger")
    engine.finetune(job(others, Path(stranger)))
    small = str(tmp_path / "small")
    engine.finetune(job(insects, Path(small), size=24))
    out = str(tmp_path / "soup")
    for members, data, said in (
        ([runs[0]], insects, "a soup is made of two packages or more: hubft soup"),
        ([runs[0], str(tmp_path / "none")], insects, "is neither a folder nor a Hub repository"),
        ([runs[0], stranger], insects, "it has other labels than the first"),
        ([runs[0], small], insects, "it takes"),
        ([runs[0], runs[1]], others, "has other labels than package:"),
    ):
        assert exit_code("soup", *members, "--data", str(data), "--output", out) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1 and not Path(out).exists(), told
    assert exit_code("finetune", "toy:small", str(insects), "--soup", runs[0], "--output", out) == 2
    assert "--soup: toy:small is no package" in capsys.readouterr().err


def test_the_headline_of_each_is_measured_for_a_greedy_soup_alone(
    insects: Path, runs: list[str], tmp_path: Path
) -> None:
    asked = job(insects, tmp_path / "soup", recipe={"epochs": 0, "probe": False}, soup=(runs[1],))
    result, said = heard(replace(asked, reference=f"package:{runs[0]}"))
    assert said.about("soup") == ["soup     mean of the weights of 2 packages"]
    assert result.soup and result.soup.heads == {}
