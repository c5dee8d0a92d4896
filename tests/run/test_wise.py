"""The line from the probe to what was trained, a body that is held near its base, and how far each stage moved."""

import json
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from commands import exit_code
from runs import heard, job, killed
from safetensors.torch import load_file

from hubft import engine
from hubft.deploy.export.opening import opened
from hubft.engine import Result
from hubft.run import data, wise
from hubft.share import inference


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=60, val=12)


def results(result: Result) -> Any:
    return json.loads((result.run.report / "results.json").read_text(encoding="utf-8"))


def weights(result: Result) -> dict[str, torch.Tensor]:
    return load_file(result.run.package / "model.safetensors")


def test_the_package_is_at_the_best_point_of_the_line(insects: Path, tmp_path: Path) -> None:
    asked = job(insects, tmp_path / "run", recipe={"wise": True, "train": "all"})
    result, said = heard(asked)
    found = results(result)["wise"]
    assert [one["point"] for one in found["tried"]] == pytest.approx([place / 10 for place in range(11)])
    its = {one["point"]: (one["head"]["value"], -one["loss"]) for one in found["tried"]}
    assert its[found["point"]] == max(its.values())
    held = data.read(asked).tune
    assert len(held) == found["tried"][0]["head"]["n"] == 18
    answers = inference.predict(opened(str(result.run.package)), [insects / one.place for one in held])
    right = [answer.said["class"] == Path(one.place).parent.name for answer, one in zip(answers, held, strict=True)]
    assert sum(right) / len(right) == pytest.approx(its[found["point"]][0])
    (line,) = said.about("wise")
    assert f"{found['point']:.0%} of the way" in line and "on 18 training images held out" in line


@pytest.mark.parametrize("point", [0.0, 0.5, 1.0])
def test_a_point_is_that_share_of_the_way(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: float
) -> None:
    ends: list[dict[str, torch.Tensor]] = []
    real = wise.between

    def noted(start: Any, end: Any, at: float) -> Any:
        ends[:] = [start, end]
        return real(start, end, at)

    monkeypatch.setattr(wise, "between", noted)
    monkeypatch.setattr(wise, "POINTS", (point,))
    result = engine.finetune(job(insects, tmp_path / "run", recipe={"wise": True, "train": "all,-norms,-stem"}))
    start, end = ends
    moved = 0
    for name, tensor in weights(result).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, start[name] + point * (end[name] - start[name]))
        moved += not torch.equal(start[name], end[name])
        if point in (0.0, 1.0) or name.startswith("stem"):
            assert torch.equal(tensor, (start, end)[int(point)][name])
    assert moved


def test_a_run_that_was_killed_ends_at_the_same_point(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"wise": True, "anchor": 0.5, "train": "all"}
    whole = engine.finetune(job(insects, tmp_path / "whole", recipe=recipe))
    run = killed(job(insects, tmp_path / "killed", recipe=recipe), 5, monkeypatch)
    again = engine.resume(run.folder)
    assert results(again)["wise"] == results(whole)["wise"]
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_an_anchor_holds_the_body_and_not_the_head(insects: Path, tmp_path: Path) -> None:
    ways = {}
    for strength in (0.0, 5.0, 1e3):
        recipe = {"anchor": strength, "schedule": "constant", "warmup": 0.0, "train": "all", "layer_decay": 1.0}
        recipe |= {"averaging": 0.0, "lr": 0.005}
        ways[strength] = results(engine.finetune(job(insects, tmp_path / f"{strength:g}", recipe=recipe)))["moved"]
    free, held, still = ways.values()
    assert list(free) == ["stem", "block", "head"] and all(share > 0 for share in free.values())
    for stage in ("stem", "block"):
        assert still[stage] == 0 < held[stage] < free[stage]
    assert still["head"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--wise --no-probe", "--wise needs a probe to begin from and epochs: leave it out"),
        ("--wise --epochs 0", "--wise needs a probe to begin from and epochs: leave it out"),
        ("--wise --adapter lora", "--wise: with an adapter the base itself does not move; leave it out"),
        ("--anchor 1 --adapter lora", "--anchor: with an adapter the base itself does not move; leave it out"),
        ("--anchor 1 --train head", "--anchor: nothing before the head trains, so there is nothing to hold"),
        ("--power 2", "--power 2.0: must be left out: it is of --schedule polynomial"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(
    insects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    out = tmp_path / "run"
    assert exit_code("finetune", "toy:small", str(insects), "--output", str(out), *words.split()) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and not out.exists()
