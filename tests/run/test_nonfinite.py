"""A run whose loss is no number any more says where that began: the step, the module, the samples, what to try."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
import toy_family
from commands import exit_code
from runs import job, listening
from torch import Tensor, nn

from hubft import Loaded, engine
from hubft.base.errors import NotFinite
from hubft.run.folder import Run


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=16, val=8)


class Breaks(nn.Module):
    """Gives what it gets until it was called so often in training; from then on what it makes of it."""

    def __init__(self, calls: int, made: Any) -> None:
        super().__init__()
        self.calls, self.made = calls, made
        self.register_buffer("called", torch.zeros((), dtype=torch.int64))

    def forward(self, given: Tensor) -> Tensor:
        if not self.training or not given.requires_grad:
            return given
        self.called += 1
        return self.made(given) if self.called >= self.calls else given


def breaking(monkeypatch: pytest.MonkeyPatch, calls: int, made: Any, **hooks: Any) -> None:
    def load(name: str, pretrained: bool) -> Loaded:
        loaded = toy_family.build("toy", name, pretrained, toy_family.Small)
        loaded.model.block.append(Breaks(calls, made))
        return loaded

    listening(monkeypatch, load=load, **hooks)


RECIPE = {"train": "all", "epochs": 4, "averaging": 0.0, "probe": False, "lr": 0.001}
PER_EPOCH = 3  # batches of 16 of 3 x 16 images


@pytest.mark.parametrize("step", [1, 2, 8])
def test_the_step_the_module_and_the_samples_are_named(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    breaking(monkeypatch, step, lambda given: given / 0)
    with pytest.raises(NotFinite) as caught:
        engine.finetune(job(insects, tmp_path / "run", recipe=RECIPE))
    told = str(caught.value)
    assert told.startswith(
        f"the loss of step {step} is nan: the first output that is not finite is that of block.3 (Breaks);"
    )
    file = tmp_path / "run" / "nonfinite.json"
    assert f" and 13 more, listed in {file}; try a lower lr than 0.001" in told
    found = json.loads(file.read_text())
    assert found["step"] == step and math.isnan(float(found["loss"])) and len(set(found["samples"])) == 16
    assert all((insects / one).exists() for one in found["samples"])
    assert re.search(r"its images: (\S+), ", told)[1] == found["samples"][0]  # type: ignore[index]


def test_of_a_batch_in_parts_all_samples_are_named(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch, 8 + 3, lambda given: given / 0)  # in the second step, of eight parts each
    exact = {"recipe": RECIPE | {"train": "all,-norms"}, "compute": {"exact": True}}
    with pytest.raises(NotFinite, match="the loss of step 2 is nan"):
        engine.finetune(job(insects, tmp_path / "run", **exact))
    found = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert found["step"] == 2 and len(set(found["samples"])) == 16


def test_the_samples_are_those_that_the_model_was_given(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, Tensor]:
        outputs = model(batch[0])
        if model.training:
            seen.append(batch[1])
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs}

    breaking(monkeypatch, 5, lambda given: given * float("inf"), train_step=train_step)
    with pytest.raises(NotFinite):
        engine.finetune(job(insects, tmp_path / "run", recipe=RECIPE))
    samples = json.loads((tmp_path / "run" / "nonfinite.json").read_text())["samples"]
    classes = sorted({Path(one).parent.name for one in samples})
    assert [classes.index(Path(one).parent.name) for one in samples] == seen[-1].tolist()


def test_a_gradient_that_is_not_finite_is_told_from_an_output(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch, 4, lambda given: given + (given - given.detach()).abs().sqrt())  # 0, with a slope of infinity
    with pytest.raises(
        NotFinite, match=r"all modules give finite numbers, and the gradient of (block|stem), .*not finite"
    ):
        engine.finetune(job(insects, tmp_path / "run", recipe=RECIPE))
    assert json.loads((tmp_path / "run" / "nonfinite.json").read_text())["step"] == 4


def test_the_command_says_it_in_one_line_and_nothing_is_packaged(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    breaking(monkeypatch, 8, lambda given: given / 0)
    words = ["--train", "all", "--epochs", "4", "--batch-size", "16", "--no-probe", "--lr", "0.001", "--device", "cpu"]
    out = tmp_path / "run"
    assert exit_code("finetune", "toy:small", str(insects), "--output", str(out), "--workers", "0", *words) == 2
    told = capsys.readouterr().err
    assert told.startswith("hubft: the loss of step 8 is nan: ") and "try a lower --lr than 0.001" in told
    assert told.count("\n") == 1 and not Run(out).package.exists()


def test_the_gradient_of_each_stage_that_trains_is_in_the_history(insects: Path, tmp_path: Path) -> None:
    result = engine.finetune(job(insects, tmp_path / "run", recipe={"train": "head,block@0.5", "epochs": 2}))
    first, second = (line["gradient_norm"] for line in result.run.history())
    assert list(first) == ["head"] and set(second) == {"block", "head"}
    assert all(norm > 0 for norm in (*first.values(), *second.values()))
