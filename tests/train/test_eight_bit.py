"""AdamW in 8 bits: it takes a quarter of the memory, and a run that is resumed ends with the same bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from extras import needs
from torch import nn

from hubft.base.errors import JobError
from hubft.hookspecs import Base, Loaded
from hubft.inputs import Images
from hubft.job import Compute, Recipe
from hubft.machine.runtime import Runtime
from hubft.tasks.classification import Classification
from hubft.train import checkpoint, loop, recipe


def started() -> loop.State:
    """Return the state of a run of three layers, the last smaller than what is kept in 8 bits."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(128, 64), nn.Linear(64, 128), nn.Linear(128, 2))
    stages = {"stem": ("0",), "block": ("1",), "head": ("2",)}
    loaded = Loaded(net, "2", stages, Images((8, 8), 8), Base("toy:small"))
    options = Recipe(optimizer=recipe.EIGHT, lr=1e-2, averaging=0)
    return loop.start(loaded, options, Runtime(Compute(device="cpu")), Classification(("a", "b")))


def train(state: loop.State, steps: range) -> list[torch.Tensor]:
    """Return the weights after some steps, each on a batch of its own."""
    for step in steps:
        batch = torch.randn(16, 128, generator=torch.Generator().manual_seed(step))
        state.model(batch).pow(2).mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.step += 1
    return [parameter.detach().clone() for parameter in state.model.parameters()]


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes, which looks for kernels
def test_its_memory_is_in_8_bits_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    needs("bitsandbytes", "bitsandbytes")
    whole = started()
    first = [parameter.detach().clone() for parameter in whole.model.parameters()]
    wanted = train(whole, range(6))
    assert not any(torch.equal(one, other) for one, other in zip(wanted, first, strict=True))
    large, small = whole.model.get_parameter("0.weight"), whole.model.get_parameter("2.weight")
    assert whole.optimizer.state[large]["state1"].dtype == torch.uint8
    assert whole.optimizer.state[small]["state1"].dtype == torch.float32
    cut = started()
    train(cut, range(3))
    saved = checkpoint.save(tmp_path, cut, {})
    again = started()
    checkpoint.restore(saved, again)
    assert all(map(torch.equal, train(again, range(3, 6)), wanted))


def test_without_its_library_it_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        JobError, match="needs bitsandbytes, which is not installed: pip install 'hubft\\[bitsandbytes\\]'"
    ):
        recipe.check_optimizer(recipe.EIGHT)
