"""The family `hub`: anyone's models, known by what they show in a forward pass."""

from pathlib import Path

import nets
import pytest
import torch
from nets import on_meta

from hubft import Preprocess
from hubft.families import plugins


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.checkout(tmp_path_factory.mktemp("nets"))


def test_hub_finds_head_and_stages_by_a_forward_pass(checkout: Path) -> None:
    pm = plugins.manager("hub")
    for loaded in (
        on_meta(pm, f"{checkout}:backwards"),
        pm.hook.load(name=f"{checkout}:backwards", pretrained=True, config={}, task=""),
    ):
        assert loaded.head == "out"
        assert loaded.stages == {"stem": ("early",), "late": ("spare", "late"), "head": ("out",)}


def test_hub_leaves_modes_and_hooks_as_they_were(checkout: Path) -> None:
    model = plugins.manager("hub").hook.load(name=f"{checkout}:small", pretrained=False, config={}, task="").model
    assert all(module.training and not module._forward_hooks and not module._forward_pre_hooks
               for module in model.modules())  # fmt: skip
    assert model[0][1].num_batches_tracked == 0 and torch.equal(model[0][1].running_mean, torch.zeros(8))


@pytest.mark.parametrize("pretrained", [True, False])
def test_hub_hands_over_the_flag_that_the_entry_has(checkout: Path, pretrained: bool) -> None:
    pm = plugins.manager("hub")
    plain = pm.hook.load(name=f"{checkout}:small", pretrained=pretrained, config={}, task="")
    assert bool((plain.model.head.bias == 3).all()) == pretrained
    flagged = pm.hook.load(name=f"{checkout}:flagged", pretrained=pretrained, config={}, task="")
    assert flagged.model.weights == ("DEFAULT" if pretrained else None) and flagged.model.options == {}


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("small", Preprocess((224, 224), 256)),
        ("with_config", Preprocess((96, 96), (128, 128), "squash", "bicubic", (0.1, 0.2, 0.3))),
        ("with_transform", Preprocess((64, 64), 70, "center", "bicubic", (0.5,) * 3, (0.25,) * 3)),
    ],
)
def test_hub_takes_the_preprocessing_that_a_model_carries(checkout: Path, entry: str, wanted: Preprocess) -> None:
    hook = plugins.manager("hub").hook
    assert hook.load(name=f"{checkout}:{entry}", pretrained=True, config={}, task="").preprocess == wanted


def test_hub_takes_repositories_of_github_from_torchs_cache(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "me_nets_v1_final").symlink_to(checkout)
    loaded = plugins.manager("hub").hook.load(name="me/nets@v1/final:small", pretrained=True, config={}, task="")
    assert (loaded.base.reference, loaded.base.revision) == ("hub:me/nets@v1/final:small", "v1/final")
