"""Norm statistics, measured again: as torch does it where all norms are live, and not at all where they are frozen."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from hubft import Base, Loaded, Preprocess
from hubft.train import norms


def net() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=0.01), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(6, 4, 3)
    )
    model.append(nn.BatchNorm2d(4))
    return model.append(nn.Flatten())


def loaded(model: nn.Module) -> Loaded:
    return Loaded(model, "", {}, Preprocess((9, 9), 9), Base("toy:net"))


def batches() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [3 + 2 * torch.randn(8, 3, 9, 9, generator=random) for _ in range(4)]


def test_live_norms_get_the_statistics_that_torch_gives_them() -> None:
    model = net()
    model[3].p = 0.0  # theirs leaves dropout on, ours does not
    twin = copy.deepcopy(model)
    norms.estimate(loaded(model), norms.live(model), batches())
    update_bn(batches(), twin)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer)
    assert [m.momentum for m in model if isinstance(m, nn.BatchNorm2d)] == [0.01, 0.1]
    assert not model.training


def test_norms_that_never_saw_a_batch_are_told_from_those_that_did() -> None:
    model = net()
    assert norms.unmeasured(model) and not norms.unmeasured(nn.Sequential(nn.Conv2d(3, 6, 3)))
    model[1].train()
    model[1](torch.randn(4, 6, 5, 5))
    assert not norms.unmeasured(model), "one that did is enough"


def test_frozen_norms_and_dropout_stand_still() -> None:
    model = net()
    for parameter in model[1].parameters():
        parameter.requires_grad_(False)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    live = norms.live(model)
    assert set(live) == {"5"}
    norms.estimate(loaded(model), live, batches())
    first = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert all(torch.equal(first[name], before[name]) for name in before if name.startswith("1."))
    assert not torch.equal(first["5.running_mean"], before["5.running_mean"])
    norms.estimate(loaded(model), live, batches())
    assert all(torch.equal(b, first[name]) for name, b in model.named_buffers())  # dropout would differ


def test_what_was_measured_can_be_taken_back() -> None:
    model = net()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    norms.restore(model, norms.estimate(loaded(model), norms.live(model), batches()))
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
