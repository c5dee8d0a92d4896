"""A loss of one's own: what of it is refused before anything is written, and what a package keeps of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pictures
import pytest
from commands import Hubft
from runs import heard, job, killed
from torch import Tensor
from torch.nn import functional

import hubft as api
from hubft import HubftError, engine
from hubft.job import Recipe
from hubft.share import load
from hubft.tasks import ownloss
from hubft.tasks.boxes import Boxes

MINE = """
import torch
from torch import nn
from torch.nn.functional import cross_entropy

class Mine(nn.Module):
    def forward(self, outputs, targets):
        return cross_entropy(outputs, targets)

class Summed(Mine):
    def forward(self, outputs, targets):
        return cross_entropy(outputs, targets, reduction="sum")

class Weighted(Mine):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([1.0, 2.0, 5.0]))
    def forward(self, outputs, targets):
        return cross_entropy(outputs, targets, self.weight)

class Learned(Mine):
    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.ones(1))

class Needs(Mine):
    def __init__(self, gamma):
        super().__init__()

def each(outputs, targets):
    return cross_entropy(outputs, targets, reduction="none")

def number(outputs, targets):
    return 0.5

def constant(outputs, targets):
    return outputs.detach().sum()

def raising(outputs, targets):
    raise ValueError("two\\nlines")

def odd(outputs, targets):
    return outputs.sum() / 0

text = "no callable"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of losses, in which a command is typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_losses.py").write_text(MINE)
    yield tmp_path
    sys.modules.pop("mine_losses", None)


def test_a_loss_of_ones_own_trains_and_is_named_in_the_package(
    hubft: Hubft, mine: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same mean as the task's own gives the same bits, in parts too; and no package needs it."""
    ways = f"toy:small {data} --epochs 1 --batch-size 16 --accumulate 2 --lr 0.02 --device cpu --workers 0".split()
    for name, loss in (("own", "mine_losses:Mine"), ("plain", "cross-entropy")):
        ran = hubft("finetune", *ways, "--loss", loss, "--output", mine / name)
        assert ran.code == 0, ran.err
    stated = json.loads((mine / "own" / "package" / "hubft.json").read_text())
    assert stated["job"]["recipe"]["loss"] == "mine_losses:Mine"
    weights = [(mine / name / "package" / "model.safetensors").read_bytes() for name in ("own", "plain")]
    assert weights[0] == weights[1]
    (mine / "mine_losses.py").unlink()
    del sys.modules["mine_losses"]
    load.load(mine / "own", prove=True)
    assert hubft("evaluate", mine / "own", data).code == 0
    assert engine.compress(str(mine / "own"), str(data), "bf16", mine / "small").metrics


REFUSED = {
    "absent:Mine": "the module 'absent' cannot be imported here, in ",
    "mine_losses:Mind": "mine_losses has no 'Mind'. Did you mean 'Mine'?",
    "mine_losses:Needs": "cannot be made without arguments: TypeError: ",
    "mine_losses:text": "is a str, which cannot be called",
    "mine_losses:Learned": "has parameters, and nothing would train them",
    "mine_losses:Summed": "gives a sum over the samples: divide it by their number",
    "mine_losses:each": "gives shape (8,): it must give a differentiable scalar",
    "mine_losses:number": "gives float: it must give",
    "mine_losses:constant": "gives a tensor without a gradient: it must give",
    "mine_losses:raising": "fails on the first batch, with outputs (8, 3): ValueError: two lines",
    "mine_losses:odd": "on the first batch: it must be finite",
    "python:mine_losses.Mine": "which no file can bring back: pass it again, as in hubft.resume(RUN, loss=...)",
    "mine losses:Mine": "must be the name of a loss, as focal, or MODULE:CLASS of your own",
}


@pytest.mark.parametrize("loss", REFUSED)
def test_what_is_wrong_is_told_before_anything_is_written(loss: str, mine: Path, data: Path) -> None:
    with pytest.raises(HubftError) as told:
        engine.finetune(job(data, mine / "run", recipe={"loss": loss}))
    assert f"loss {loss}" in str(told.value).replace("'", "") and "\n" not in str(told.value)
    assert REFUSED[loss] in str(told.value)
    assert not (mine / "run").exists()


def test_options_of_other_losses_and_detectors_are_refused(mine: Path, data: Path) -> None:
    with pytest.raises(HubftError, match=r"smoothing 0.1: it has no meaning for a loss of one's own"):
        engine.finetune(job(data, mine / "run", recipe={"loss": "mine_losses:Mine", "smoothing": 0.1}))
    with pytest.raises(HubftError, match=r"loss mine_losses:Mine: a detector trains by losses that it brings itself"):
        ownloss.criterion(Boxes(("ant",)), Recipe(loss="mine_losses:Mine"))


def test_a_loss_that_is_no_mean_is_told(mine: Path, data: Path) -> None:
    _, console = heard(job(data, mine / "run", recipe={"loss": "mine_losses:Weighted", "epochs": 1}))
    assert console.about("note: the loss") == [f"note: {ownloss.ONE_WHOLE}"]
    _, console = heard(job(data, mine / "mean", recipe={"loss": "mine_losses:Mine", "epochs": 1, "augment": "strong"}))
    assert not console.about("note: the loss")


class Smooth:
    """Cross entropy of smoothed labels, with an argument of its own."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, label_smoothing=self.share)


def other(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.square().mean()


def test_a_callable_from_python_is_asked_for_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"epochs": 2, "lr": 0.02, "batch_size": 16, "device": "cpu", "workers": 0, "quiet": True}
    whole = api.finetune("toy:small", data, output=tmp_path / "whole", loss=Smooth(0.3), **options)
    plain = api.finetune("toy:small", data, output=tmp_path / "plain", smoothing=0.3, **options)
    assert (whole.package / "model.safetensors").read_bytes() == (plain.package / "model.safetensors").read_bytes()
    named = f"python:{__name__}.Smooth"
    assert json.loads((whole.package / "hubft.json").read_text())["job"]["recipe"]["loss"] == named
    with ownloss.given(Smooth(0.3)):
        run = killed(job(data, tmp_path / "run", recipe={"loss": named}), 3, monkeypatch)
    with pytest.raises(
        HubftError, match=r"Python passed the callable .*Smooth, which no file.*hubft.resume\(RUN, loss="
    ):
        api.resume(run.folder, quiet=True)
    with pytest.raises(HubftError, match=r"pass it again, not .*other, as in"):
        api.resume(run.folder, quiet=True, loss=other)
    again = api.resume(run.folder, quiet=True, loss=Smooth(0.3))
    assert (whole.package / "model.safetensors").read_bytes() == (again.package / "model.safetensors").read_bytes()
