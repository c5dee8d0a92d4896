"""The family `torchvision`: what it loads is what torchvision loads, to the bit, and every file is verified."""

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import check_same_bits, on_meta
from torch import Tensor
from torchvision import models

from hubft import Head
from hubft.base import digest
from hubft.base.errors import FamilyError, PackageError
from hubft.families import plugins
from hubft.families.build import headed
from hubft.testing import values
from hubft.testing.subject import noise


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50", "inception_v3", "swin_t", "efficientnet_b1", "efficientnet_b1@IMAGENET1K_V1",
     "vit_b_16@IMAGENET1K_SWAG_E2E_V1"],
)  # fmt: skip
def test_torchvisions_transforms_are_met_to_the_bit(name: str) -> None:
    known, _, wanted = name.partition("@")
    check_same_bits(
        on_meta(plugins.manager("torchvision"), name).preprocess,
        models.get_model_weights(known)[wanted or "DEFAULT"].transforms(),
    )


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Tensor]], Path]:
    """A function that puts a checkpoint into torch.hub's cache, as the default weights of a model."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def put(name: str, state: dict[str, Tensor]) -> Path:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        file = tmp_path / "hub" / "checkpoints" / f"{name}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
        monkeypatch.setattr(models.get_model_weights(name)["DEFAULT"].value, "url", f"https://nowhere.test/{file.name}")
        return file

    return put


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return DenseNet's tensors as its files have them: other names, no counters, no versions of modules."""
    pattern = r"(denselayer\d+\.(?:norm|conv))(\d)"
    return {re.sub(pattern, r"\1.\2", n): t for n, t in state.items() if not n.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("shufflenet_v2_x0_5", {}),
        ("mnasnet0_5", {}),  # refuses a state without versions
        ("densenet121", {}),
        ("googlenet", {"aux_logits": True, "init_weights": False}),
        ("inception_v3", {"aux_logits": True, "init_weights": False}),
    ],
)
def test_torchvision_loads_what_torchvision_loads(
    name: str, arguments: dict[str, Any], cached: Callable[[str, dict[str, Tensor]], Path]
) -> None:
    model = models.get_model(name, **arguments)
    values.settle(model, torch.randn(2, 3, 299, 299))
    state = model.state_dict()
    cached(name, old_names(state) if name == "densenet121" else state)
    given = {"aux_logits": True} if name == "inception_v3" else {}
    theirs = models.get_model(name, weights="DEFAULT", **given).eval()
    pm = plugins.manager("torchvision")
    loaded, bare = (pm.hook.load(name=name, pretrained=filled, config={}, task="") for filled in (True, False))
    assert loaded.base == bare.base and loaded.base.reference == f"torchvision:{name}@{loaded.base.revision}"
    assert not [n for n in bare.model.state_dict() if n.lower().startswith("aux")]
    bare.model.load_state_dict(loaded.model.state_dict())
    with torch.no_grad():
        wanted = theirs(noise(loaded))
        assert not torch.equal(*wanted), "the outputs tell nothing of the images"
        assert torch.equal(loaded.model.eval()(noise(loaded)), wanted)
        assert torch.equal(bare.model.eval()(noise(loaded)), wanted)
    adapted = headed(pm, loaded, Head(outputs=3))
    assert adapted.model.train()(noise(loaded)).shape == (2, 3)  # no tuple: no auxiliary head


def test_a_cached_file_with_other_bytes_is_refused(cached: Callable[[str, dict[str, Tensor]], Path]) -> None:
    file = cached("squeezenet1_1", models.squeezenet1_1().state_dict())
    altered = bytearray(file.read_bytes())
    altered[len(altered) // 2] ^= 1
    file.write_bytes(altered)
    with pytest.raises(PackageError, match=file.name):
        plugins.manager("torchvision").hook.load(name="squeezenet1_1", pretrained=True, config={}, task="")


def test_a_file_without_a_digest_in_its_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(PackageError, match=r"weights\.pth"):
        digest.verified(tmp_path / "weights.pth")


def test_torchvision_without_network_says_what_it_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("hubft.base.network.unreachable", lambda url: "")
    with pytest.raises(FamilyError, match=r"resnet18-\w+\.pth cannot be had: OSError: no network here"):
        plugins.manager("torchvision").hook.load(name="resnet18", pretrained=True, config={}, task="")


def test_every_file_of_torchvision_has_its_digest_in_its_name() -> None:
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            assert re.search(r"-[0-9a-f]{8,}\.pth$", weights.url), weights.url


@pytest.mark.parametrize(
    ("name", "revision", "license"),
    [
        ("resnet50", "IMAGENET1K_V2", "bsd-3-clause"),
        ("resnet50@IMAGENET1K_V1", "IMAGENET1K_V1", "bsd-3-clause"),
        ("vit_b_16@IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_E2E_V1", "cc-by-nc-4.0"),
    ],
)
def test_the_weights_of_torchvision_are_chosen_by_name(name: str, revision: str, license: str) -> None:
    loaded = on_meta(plugins.manager("torchvision"), name)
    assert loaded.base.reference == f"torchvision:{name.partition('@')[0]}@{revision}"
    assert (loaded.base.revision, loaded.base.license) == (revision, license)
    if name.startswith("vit"):
        assert loaded.model.get_parameter("encoder.pos_embedding").shape[1] == (384 // 16) ** 2 + 1
