"""The family `timm`: its preprocessing to the bit, and weights from the cache of the Hugging Face Hub."""

from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from nets import check_same_bits, on_meta
from safetensors.torch import save_file

from hubft import Head
from hubft.base.errors import FamilyError, JobError
from hubft.families import plugins, stated
from hubft.families.build import headed


@pytest.mark.parametrize(
    ("name", "interpolation", "crop"),
    [
        ("resnet18.tv_in1k", "bilinear", "center"),
        ("resnet18.a1_in1k", "bicubic", "center"),
        ("tf_efficientnet_lite2.in1k", "bicubic", "center"),
        ("xception41.tf_in1k", "bicubic", "center"),
        ("tf_efficientnetv2_b3.in21k_ft_in1k", "bicubic", "squash"),
        ("convnextv2_nano.fcmae_ft_in22k_in1k_384", "bicubic", "squash"),
        ("volo_d1_224", "bicubic", "center"),
    ],
)
def test_timms_transforms_are_met_to_the_bit(name: str, interpolation: str, crop: str) -> None:
    preprocess = on_meta(plugins.manager("timm"), name).preprocess
    assert (preprocess.interpolation, preprocess.crop) == (interpolation, crop)
    config = timm.get_pretrained_cfg(name)
    assert config
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    check_same_bits(preprocess, timm.data.create_transform(**data))


@pytest.mark.parametrize("share", [1.0, 0.9])
@pytest.mark.parametrize("side", [64, 51])
def test_timms_border_crop_is_met_to_the_bit(side: int, share: float) -> None:
    config = {"crop_mode": "border", "input_size": (3, side, side), "crop_pct": share, "mean": (0.48, 0.45, 0.4)}
    data = timm.data.resolve_data_config(pretrained_cfg=config)
    check_same_bits(stated.preprocess_of_config(config), timm.data.create_transform(**data))


@pytest.mark.parametrize("config", [{"input_size": (1, 64, 64)}, {"input_size": (3, 64, 48)}])
def test_inputs_that_cannot_be_said_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(FamilyError, match="not supported"):
        stated.preprocess_of_config(config)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hugging Face Hub with one repository, its folder of files still empty; there is no network."""
    repository = tmp_path / "models--timm--test_vit.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    files = repository / "snapshots" / COMMIT
    files.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return files


@pytest.mark.parametrize("name", ["test_vit", "test_vit.r160_in1k", f"test_vit@{COMMIT}"])
def test_timm_loads_safetensors_and_knows_their_commit(hub_cache: Path, name: str) -> None:
    state = timm.create_model("test_vit").state_dict()
    save_file(state, hub_cache / "model.safetensors")
    if name.endswith(COMMIT):  # main has moved on, to files that are not here
        (hub_cache.parents[1] / "refs" / "main").write_text("f" * 40)
    loaded = plugins.manager("timm").hook.load(name=name, pretrained=True, config={}, task="")
    assert all(torch.equal(tensor, state[n]) for n, tensor in loaded.model.state_dict().items())
    pin = f"@{COMMIT}" if name.endswith(COMMIT) else ""
    assert (loaded.base.reference, loaded.base.revision) == (f"timm:test_vit.r160_in1k{pin}", COMMIT)
    assert loaded.base.license == "apache-2.0"
    assert str(hub_cache.parent) not in str(loaded.model.pretrained_cfg), "a path of this machine"


def test_timm_reads_no_pickle(hub_cache: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), hub_cache / "pytorch_model.bin")
    with pytest.raises(FamilyError, match=r"model\.safetensors of timm/test_vit\.r160_in1k cannot be had.*safetensors"):
        plugins.manager("timm").hook.load(name="test_vit", pretrained=True, config={}, task="")


def test_timm_names_a_damaged_file(hub_cache: Path) -> None:
    (hub_cache / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(FamilyError, match=r"model\.safetensors is damaged"):
        plugins.manager("timm").hook.load(name="test_vit", pretrained=True, config={}, task="")


def test_an_architecture_without_weights_has_a_reference_that_loads_it_again() -> None:
    pm = plugins.manager("timm")
    base = on_meta(pm, "efficientnetv2_m").base
    assert base.reference == "timm:efficientnetv2_m.untrained"
    assert on_meta(pm, "efficientnetv2_m.untrained").base == base
    with pytest.raises(FamilyError, match="no weights on the Hugging Face Hub"):
        pm.hook.load(name="efficientnetv2_m", pretrained=True, config={}, task="")


def test_timm_keeps_its_own_count_of_classes() -> None:
    pm = plugins.manager("timm")
    loaded = pm.hook.load(name="test_vit", pretrained=False, config={}, task="")
    adapted = headed(pm, loaded, Head(outputs=3))
    assert adapted.model.num_classes == 3


def test_a_model_with_parameters_of_its_own_is_no_layer() -> None:
    pm = plugins.manager("timm")
    with pytest.raises(JobError, match=r"selects no parameter; this model has (?!.*Transformer)"):
        pm.hook.freeze(loaded=on_meta(pm, "test_vit"), train="type:VisionTransformer", progress=0.0)
