"""Layers that are changed before a run, and again by whoever loads its package."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from commands import exit_code
from runs import heard, job
from timm.layers import DropPath, GroupNormAct
from torch import nn

from hubft import engine
from hubft.base.errors import JobError, PackageError
from hubft.compress import structure, surgery
from hubft.families import plugins
from hubft.families.build import unfilled
from hubft.hookspecs import Loaded
from hubft.share import load


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


def timm(name: str) -> Loaded:
    loaded: Loaded = plugins.manager("timm").hook.load(name=name, pretrained=False, config={}, task="")
    return loaded


def test_a_package_has_the_layers_that_its_run_trained(insects: Path, tmp_path: Path) -> None:
    asked = job(insects, tmp_path / "run", surgery="relu=gelu, batchnorm=group:4", recipe={"train": "all"})
    result, _ = heard(asked)
    stated = json.loads((result.run.package / "hubft.json").read_text(encoding="utf-8"))["structure"]
    assert stated == [{"kind": "surgery", "changes": ["relu=gelu", "batchnorm=group:4"]}]
    model, error = load.proved(load.package(str(result.run.package)))
    assert error < 1e-5
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.GELU) == kinds.count(nn.GroupNorm) == 2
    assert nn.ReLU not in kinds and nn.BatchNorm2d not in kinds
    assert (model.stem[1].num_groups, model.stem[1].num_channels) == (4, 16)
    onward = job(insects, tmp_path / "onward", recipe={"epochs": 1})
    result, _ = heard(replace(onward, reference=f"package:{result.run.package}"))
    assert json.loads((result.run.package / "hubft.json").read_text(encoding="utf-8"))["structure"] == stated


def test_frozen_norms_hold_scale_and_shift_too(insects: Path, tmp_path: Path) -> None:
    asked = job(insects, tmp_path / "run", surgery="batchnorm=frozen", recipe={"train": "all", "probe": False})
    result, _ = heard(asked)
    base = plugins.manager("toy").hook.load(name="small", pretrained=True, config={}, task="").model.state_dict()
    trained = load.model(load.package(str(result.run.package))).state_dict()
    assert "stem.1.num_batches_tracked" not in trained
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(trained[f"stem.1.{name}"], base[f"stem.1.{name}"]), name
    assert not torch.equal(trained["stem.0.weight"], base["stem.0.weight"])


def test_branches_are_left_out_more_the_deeper_they_are() -> None:
    loaded = timm("test_vit")
    surgery.made(loaded, "drop_path=0.3")
    chances = [module.drop_prob for module in loaded.model.modules() if isinstance(module, DropPath)]
    assert chances == sorted(chances) and (chances[0], chances[-1]) == (0.0, 0.3)
    images = torch.randn(4, 3, 160, 160)
    loaded.model.train()
    torch.manual_seed(0)
    first = loaded.model(images)
    assert not torch.equal(first, loaded.model(images))
    loaded.model.eval()
    assert torch.equal(loaded.model(images), loaded.model(images))


def test_the_activation_that_timm_keeps_in_a_norm_stays() -> None:
    loaded = timm("test_efficientnet")
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    norm = next(module for module in loaded.model.modules() if isinstance(module, nn.BatchNorm2d))
    surgery.made(loaded, "batchnorm=group:8")
    found = [module for module in loaded.model.modules() if isinstance(module, GroupNormAct)]
    assert found and type(found[0].act) is type(norm.act)  # type: ignore[attr-defined]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in loaded.model.modules())
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_an_activation_in_several_places_is_replaced_in_all_of_them() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(2, 2), shared, nn.Linear(2, 2), shared, nn.Linear(2, 2))
    loaded = Loaded(model, "4", {"body": ("0", "2"), "head": ("4",)}, timm("test_vit").inputs, timm("test_vit").base)
    surgery.made(loaded, "relu=silu")
    assert [type(module) for module in model] == [nn.Linear, nn.SiLU, nn.Linear, nn.SiLU, nn.Linear]
    assert model[1] is model[3]


@pytest.mark.parametrize(
    ("name", "change", "positions"), [("test_resnet", "stride=1", 160**2), ("test_vit", "patch=8", 20**2)]
)
def test_the_first_layer_steps_otherwise(name: str, change: str, positions: int) -> None:
    loaded, again = timm(name), unfilled(lambda: timm(name))
    images, seen = torch.randn(2, 3, 160, 160), []
    before = loaded.model.eval()(images)
    record = surgery.made(loaded, change)
    first = next(module for module in loaded.model.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda module, given, made: seen.append(made[0, 0].numel()))
    after = loaded.model(images)
    assert seen == [positions]
    assert after.shape == before.shape and not torch.equal(after, before)
    unfilled(lambda: structure.build(again, record))
    again.model.load_state_dict(loaded.model.state_dict(), assign=True)
    assert torch.equal(again.model.eval()(images), after)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("patch=8", "timm's vision transformers do"),
        ("stride=9", "stride becomes a whole number from 1 to 8"),
        ("channels=0", "channels becomes a whole number from 1 to 64"),
        ("mish=relu", "has no such layers before its head; it has stride (1), channels (1), batchnorm (2)"),
        ("relu=relu", "relu becomes another one of relu, "),
        ("relu", "'relu' is no change; known are ACTIVATION=ACTIVATION"),
        ("batchnrom=frozen", "Did you mean 'batchnorm'?"),
        ("batchnorm=layer", "batchnorm becomes frozen, or group:N"),
        ("dropout=1.5", "dropout becomes a probability from 0 to under 1"),
    ],
)
def test_what_cannot_be_changed_is_one_line(
    insects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    output = tmp_path / "run"
    assert exit_code("finetune", "toy:small", insects, "--surgery", text, "--device", "cpu", "--output", output) == 2
    said = capsys.readouterr().err
    assert said.startswith("hubft: --surgery") and why in said and said.count("\n") == 1
    assert not output.exists()


def test_a_soup_or_an_adapter_over_the_base_as_it_is_refuses_surgery(insects: Path, tmp_path: Path) -> None:
    from hubft.job import Adapting

    asked = job(insects, tmp_path / "run", surgery="relu=gelu", adapting=Adapting(adapter="lora"))
    with pytest.raises(JobError, match="its package is weights over the base as it is"):
        engine.finetune(asked)


@pytest.mark.parametrize("changes", [[], "relu=gelu", ["relu=gelu"] * 65, ["relu"], [3], ["dropout=2"]])
def test_records_that_no_run_writes_are_refused(changes: Any) -> None:
    with pytest.raises(PackageError):
        structure.check([{"kind": "surgery", "changes": changes}])
    with pytest.raises(PackageError, match="does not fit the model"):
        structure.build(timm("test_vit"), [{"kind": "surgery", "changes": ["mish=relu"]}])


def test_a_changed_package_can_be_compressed(insects: Path, tmp_path: Path) -> None:
    result, _ = heard(job(insects, tmp_path / "run", surgery="relu=gelu", recipe={"epochs": 1}))
    small = engine.compress(str(result.run.package), insects, "int8", tmp_path / "small")
    stated = json.loads((small.run.package / "hubft.json").read_text(encoding="utf-8"))
    assert stated["structure"] == [{"kind": "surgery", "changes": ["relu=gelu"]}]
