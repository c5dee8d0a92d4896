"""`--compile on`, with the real compiler: the step is compiled, and what comes out is the plain module's."""

import json
from pathlib import Path

import pictures
import pytest
import torch
from torch import nn

from hubft import Job, engine
from hubft.job import Compute, Recipe
from hubft.share import load


@pytest.mark.filterwarnings("ignore")  # the compiler's own, of what this machine lacks
def test_a_compiled_run_ends_as_an_uncompiled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures.folder(tmp_path / "insects", train=8, val=4)
    compiled: list[nn.Module] = []
    real = torch.compile
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, inputs: inputs)  # its draws are the compiler's own
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or real(model))
    states = {}
    for choice in ("on", "off"):
        compute = Compute(device="cpu", precision="fp32", compile=choice, workers=0)  # type: ignore[arg-type]
        recipe = Recipe(epochs=1, batch_size=12, lr=0.01, clip=0, train="all,-block", augment="none")
        run = engine.finetune(
            Job("toy:small", str(folder), recipe=recipe, compute=compute, output=str(tmp_path / choice))
        )
        assert len(compiled) == 1  # one phase of the first run, none of the second
        assert json.loads(run.run.plan_file.read_text())["job"]["compute"]["compile"] == choice
        states[choice] = load.load(str(run.run.package)).state_dict()
    assert type(compiled[0]).__name__ == "Small"
    assert states["on"].keys() == states["off"].keys()
    for name, tensor in states["off"].items():
        torch.testing.assert_close(states["on"][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
