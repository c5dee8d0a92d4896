"""A model that takes its inputs by keyword and gives a dict: called in one way, from rehearsal to prediction."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from environments import installed
from runs import Heard, job
from torch import nn

from hubft import engine, hookimpl
from hubft.families import plugins
from hubft.families.build import build, compressed
from hubft.hookspecs import Batch, Forward
from hubft.share import inference, load
from hubft.testing import check_family


@pytest.fixture(autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", str(here), prepend=os.pathsep)
    with installed(tmp_path_factory.mktemp("keyed"), "keyed", here / "keyed_family.py"):
        yield


@pytest.mark.parametrize("recipe", [{"train": "head", "views": 2, "epochs": 3}, {"train": "all", "accumulate": 2}])
def test_a_run_of_it_ends_as_that_of_the_plain_model(tmp_path: Path, recipe: dict[str, Any]) -> None:
    """Probe, cut and cached features, steps in parts, norms, compression, self-test, package: the same bits."""
    data = pictures.folder(tmp_path / "data", train=12, val=6)
    told = Heard()
    states = []
    for family in ("toy", "keyed"):
        asked = job(data, tmp_path / family, recipe=recipe, compress="bf16")
        result = engine.finetune(replace(asked, reference=f"{family}:small"), told)
        states.append((load.load(result.run.package, prove=True).state_dict(), result.metrics))
    (plain, metrics), (keyed, same) = states
    assert metrics == same and plain.keys() == keyed.keys()
    assert all(torch.equal(plain[name], keyed[name]) for name in plain)
    if recipe["train"] == "head":
        assert len([line for line in told.about("cache") if "computed once" in line]) == 2, told.lines
    keyed_package = load.opened(load.package(tmp_path / "keyed"))
    assert inference.evaluate(keyed_package, data).metrics.values["accuracy"] == metrics.values["accuracy"]
    images = sorted((data / "val").glob("*/*"))
    answers = [list(inference.predict(load.opened(load.package(tmp_path / name)), images)) for name in ("toy", "keyed")]
    assert answers[0] == answers[1] and not any(answer.error for answer in answers[1])


def test_it_keeps_the_contract() -> None:
    outcomes = check_family("keyed")
    assert {outcome.check: outcome.reason for outcome in outcomes if outcome.status == "failed"} == {}
    assert sum(outcome.status == "passed" for outcome in outcomes) > 30


def test_the_hooks_are_given_how_the_model_is_called() -> None:
    pm = plugins.manager("keyed")
    loaded = build(pm, job(Path("d"), Path("o")).with_outputs(3), pretrained=True)
    given: list[Forward] = []

    class Listening:
        @hookimpl
        def train_step(self, model: nn.Module, batch: Batch, criterion: nn.Module, forward: Forward) -> None:
            given.append(forward)

        @hookimpl
        def compress(self, model: nn.Module, forward: Forward) -> None:
            given.append(forward)

    pm.register(Listening())
    batch = (torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))
    step = pm.hook.train_step(model=loaded.model, batch=batch, criterion=nn.CrossEntropyLoss(), forward=loaded.forward)
    compressed(pm, loaded, "none", ())
    assert given == [loaded.forward] * 2 and loaded.forward.__name__ == "by_keyword" and step["outputs"].shape == (2, 3)
