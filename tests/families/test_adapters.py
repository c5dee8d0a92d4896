"""LoRA by peft's layers: of a timm ViT, a torchvision ResNet, a hub checkout and a text model, in both packages."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nets
import pictures
import pytest
import torch
from runs import Heard, job
from safetensors.torch import load_file
from torch import Tensor, nn

from hubft import Job, engine
from hubft.adapting import Adapting
from hubft.compress import lora
from hubft.families import adapters, plugins
from hubft.families.build import adapt, load_base
from hubft.hookspecs import Loaded
from hubft.job import Head
from hubft.publish import package
from hubft.share import load

peft = pytest.importorskip("peft", reason="the extra is not installed: pip install 'hubft[peft]'")

LORA = Adapting("lora", rank=4)


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


@pytest.fixture
def vit(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference to a small ViT of timm, with weights that are there."""
    nets.made_up_weights(monkeypatch, tmp_path_factory.mktemp("weights"))
    return "timm:test_vit"


def asked(reference: str, data: Path, output: Path, adapting: Adapting = LORA, **parts: Any) -> Job:
    return replace(job(data, output, adapting=adapting, **parts), reference=reference)


def base(reference: str, outputs: int = 3) -> Loaded:
    """Return a pretrained model with a fresh head, as whoever loads an adapter by peft alone makes one."""
    pm = plugins.manager(reference.partition(":")[0])
    wanted = Job(reference, "d", head=Head(outputs=outputs))
    return adapt(pm, wanted, load_base(pm, wanted, pretrained=True))


def by_peft(model: nn.Module, folder: Path) -> Any:
    return peft.PeftModel.from_pretrained(model, str(folder)).eval()


@torch.no_grad()
def answers(model: nn.Module, side: int = 32) -> Tensor:
    return model.eval()(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)))


def test_a_vit_s_adapter_alone_is_a_package_and_peft_reads_it(vit: str, insects: Path, tmp_path: Path) -> None:
    console = Heard()
    result = engine.finetune(asked(vit, insects, tmp_path / "run"), console)
    folder, run = result.run.package, result.run
    assert {p.name for p in folder.iterdir()} >= {lora.FILE, lora.CONFIG}
    assert not {p.name for p in folder.iterdir()} & {package.WEIGHTS, package.CONFIG, "delta.safetensors"}
    stored = load_file(folder / lora.FILE)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    manifest = load.package(folder).manifest
    (record,) = manifest.structure
    assert record["head"] == ["head"] and len(record["layers"]) == 4 * 6 + 1  # and the patches
    numbers = sum(tensor.numel() for tensor in stored.values())
    assert record["trained"][0] == numbers
    assert json.loads((run.report / "results.json").read_text())["adapter"] == json.loads(json.dumps(record))
    assert console.about("adapter  LoRA adapts its layers (rank 4, alpha 8, on 25 layers; with the head ")

    ours = load.load(folder, prove=True)
    assert type(ours).__module__.startswith("timm.") and not any("lora" in name for name in ours.state_dict())
    theirs = by_peft(base(vit).model, folder)
    assert torch.allclose(answers(theirs, 160), answers(ours, 160), atol=1e-5)
    assert torch.equal(answers(theirs.merge_and_unload(), 160), answers(ours, 160))
    assert not torch.equal(answers(base(vit).model, 160), answers(ours, 160))


def test_merged_it_is_a_package_of_a_plain_model(vit: str, insects: Path, tmp_path: Path) -> None:
    """And what it gives is what the adapter alone gives, to the bit."""
    runs = {}
    for merge in (False, True):
        runs[merge] = engine.finetune(asked(vit, insects, tmp_path / str(merge), replace(LORA, merge=merge))).run
    folder = runs[True].package
    assert {p.name for p in folder.iterdir()} >= {package.WEIGHTS, package.CONFIG}
    manifest = load.package(folder).manifest
    assert not manifest.structure and manifest.delta is None
    assert manifest.settled["adapter"].startswith("LoRA adapts its layers (rank 4, alpha 8, on 25 layers")
    merged, apart = (load.load(runs[merge].package) for merge in (True, False))
    assert torch.equal(answers(merged, 160), answers(apart, 160))
    frozen = {merge: json.loads((run.package / package.MANIFEST).read_text())["frozen"] for merge, run in runs.items()}
    assert frozen[False]["tensors"] - frozen[True]["tensors"] == 25  # the weights that it was folded into


def given(reference: str, asked: Adapting, **load_options: Any) -> tuple[Loaded, adapters.Adapted]:
    pm = plugins.manager(reference.partition(":")[0])
    wanted = Job(reference, "d", head=Head(outputs=3))
    loaded = adapt(pm, wanted, load_base(pm, wanted, **{"pretrained": False} | load_options))
    with torch.no_grad():
        for tensor in loaded.model.buffers():  # of norms, which else would be those of a model that saw nothing
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(3))
    loaded.model.eval()
    return loaded, adapters.give(loaded, asked, torch.zeros(2, 3, *loaded.images.size))


def moved(model: nn.Module, live: frozenset[str]) -> None:
    """Give adapters values, as training does: their B is zero at first."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in live:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=random))


@pytest.mark.parametrize("reference", ["torchvision:resnet18", "timm:test_vit"])
@pytest.mark.parametrize("how", [{}, {"rslora": True}, {"dora": True, "rank": 3, "alpha": 5}])
def test_folding_gives_the_bits_of_peft_s_own_merge(reference: str, how: dict[str, Any]) -> None:
    """Convolutions of 7x7, 3x3 and 1x1, and linear layers."""
    loaded, adapted = given(reference, replace(LORA, **how))
    moved(loaded.model, adapted.live)
    side = loaded.images.size[0]
    before, twin = answers(loaded.model, side), copy.deepcopy(loaded.model)
    layers: dict[str, Any] = {n: m for n, m in twin.named_modules() if hasattr(m, "base_layer")}
    for layer in layers.values():
        layer.merge()
    apart = adapters.fold(loaded.model, adapted.record)
    state = loaded.model.state_dict()
    assert list(layers) == adapted.record["layers"] and len(layers) > 19
    assert all(torch.equal(state[f"{name}.weight"], layer.base_layer.weight) for name, layer in layers.items())
    assert not any("lora" in name or "base_layer" in name for name in state)
    assert not hasattr(loaded.model, "peft_config")
    assert torch.allclose(answers(loaded.model, side), before, rtol=1e-3, atol=1e-4)
    assert {name for name in apart if name.endswith(lora.A)} == {f"{name}.{lora.A}" for name in layers}
