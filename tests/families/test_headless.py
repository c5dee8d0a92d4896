"""Models of timm without a classifier: a head is put on what `--pool` asks for, and the package is built again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import headless
import nets
import pictures
import pytest
import timm
import torch
from commands import Hubft
from torch import Tensor, nn

from hubft import Head, Job, Loaded, engine, testing
from hubft.base.errors import FamilyError, HubftError, JobError
from hubft.families import plugins
from hubft.families.build import adapt, load_base
from hubft.job import Compute, Recipe
from hubft.share import load

CHECKOUT = Path(__file__).parents[2]
NAMES = ("headless_token", "headless_mean", "headless_map", "headless_convnet")


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=8, val=3)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "pets", ("cats", "dogs"), train=6, val=3)


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which timm finds random weights."""
    folder = tmp_path / "weights"
    folder.mkdir()
    nets.made_up_weights(monkeypatch, folder)
    return folder


def loaded(name: str) -> Loaded:
    return load_base(plugins.manager("timm"), Job(f"timm:{name}", "-"), True)


def adapted(name: str, **head: Any) -> Loaded:
    job = Job(f"timm:{name}", "-", head=Head(outputs=3, **head))
    return adapt(plugins.manager("timm"), job, load_base(plugins.manager("timm"), job, True))


def job(reference: str, data: Path, output: Path, package: Any = "full", **head: Any) -> Job:
    recipe = Recipe("head" if package == "delta" else "all", epochs=1, lr=0.01, batch_size=8)
    compute = Compute(device="cpu", workers=0, cache=0.01)
    return Job(
        reference, str(data), head=Head(**head), recipe=recipe, compute=compute, output=str(output), package=package
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_a_classifier_is_the_plain_class_with_a_place_for_a_head(name: str, hubft: Hubft) -> None:
    found = loaded(name)
    assert type(found.model).__module__.startswith("timm.models")
    assert isinstance(found.model.get_submodule(found.head), nn.Identity)
    assert list(found.stages)[-1] == "head" and found.stages["head"] == (found.head,)
    assert hubft("show", f"timm:{name}").code == 0


CLASS_TOKEN = {  # of what `forward_features` gives: a class token, a register, sixteen patches
    "token": lambda t: t[:, 0],
    "patches": lambda t: t[:, 2:].mean(1),
    "both": lambda t: torch.cat([t[:, 0], t[:, 2:].mean(1)], 1),
}


@pytest.mark.parametrize(
    ("name", "pool", "wanted", "setting"),
    [
        ("headless_token", "auto", lambda m, t: CLASS_TOKEN["token"](t), "token"),
        ("headless_token", "token", lambda m, t: CLASS_TOKEN["token"](t), "token"),
        ("headless_token", "patches", lambda m, t: CLASS_TOKEN["patches"](t), "avg"),
        ("headless_token", "both", lambda m, t: CLASS_TOKEN["both"](t), ""),
        ("headless_mean", "auto", lambda m, t: m.fc_norm(t[:, 1:].mean(1)), "avg"),
        ("headless_mean", "patches", lambda m, t: m.fc_norm(t[:, 1:].mean(1)), "avg"),
        ("headless_mean", "token", lambda m, t: m.fc_norm(t[:, 0]), "token"),
        ("headless_mean", "both", lambda m, t: torch.cat([m.fc_norm(t)[:, 0], m.fc_norm(t)[:, 1:].mean(1)], 1), ""),
        ("headless_map", "auto", lambda m, t: m.attn_pool(t), "map"),
        ("headless_map", "patches", lambda m, t: t.mean(1), "avg"),
        ("headless_convnet", "auto", lambda m, t: m.head.norm(t.mean((2, 3), keepdim=True)).flatten(1), "avg"),
        ("headless_convnet", "patches", lambda m, t: m.head.norm(t.mean((2, 3), keepdim=True)).flatten(1), "avg"),
    ],
)
def test_a_head_is_put_on_what_pool_asks_for(
    name: str, pool: str, wanted: Callable[[Any, Tensor], Tensor], setting: str
) -> None:
    found = adapted(name, pool=pool)
    model: Any = found.model.eval()
    given: list[Tensor] = []
    model.get_submodule(found.head).register_forward_pre_hook(lambda _, args: given.append(args[0]))
    images = torch.rand(2, 3, *found.preprocess.size)
    model(images)
    assert torch.allclose(given[0], wanted(model, model.forward_features(images)), atol=1e-6)
    assert type(model).__module__.startswith("timm.models") and model.num_classes == 3
    assert bool(found.config) == bool(setting) and found.config.get("global_pool", "") == setting


@pytest.mark.parametrize(
    ("name", "pool", "says"),
    [
        ("headless_map", "token", "no token can be told apart: leave pool token out"),
        ("headless_map", "both", "no token and no patches can be told apart"),
        ("headless_convnet", "both", "no token and no patches can be told apart"),
        ("headless_encoder", "token", "no token can be told apart"),
        ("test_vit", "patches", "has a head of its own, 'head'"),
    ],
)
def test_what_pool_cannot_have_is_refused(name: str, pool: str, says: str) -> None:
    with pytest.raises(HubftError, match=says):
        adapted(name, pool=pool)


def test_an_encoder_is_the_body_of_a_sequential(hubft: Hubft) -> None:
    found = adapted("headless_encoder")
    model: Any = found.model.eval()
    assert type(model) is nn.Sequential and isinstance(model.body, headless.Encoder) and not found.config
    assert found.stages["stem"] == ("body.conv",) and found.stages["head"] == ("head",)
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(model(images), model.head(model.body(images).mean((2, 3))))
    assert hubft("show", "timm:headless_encoder").code == 0
    with pytest.raises(FamilyError, match=r"^timm:headless_sequence: it gives a tensor .*nor features"):
        loaded("headless_sequence")


def test_hidden_layers_are_put_on_features_and_timm_alone_cannot_build_them() -> None:
    found = adapted("headless_token", pool="both", hidden=(5,))
    layers = [m for m in found.model.get_submodule(found.head).modules() if isinstance(m, nn.Linear)]
    assert [layer.weight.shape for layer in layers] == [(5, 32), (3, 5)]
    assert not adapted("headless_token", hidden=(5,)).config


RUNS = [
    *(("headless_token", pool) for pool in ("auto", "token", "patches", "both")),
    *(("headless_mean", pool) for pool in ("token", "both")),
    *(("headless_map", pool) for pool in ("auto", "patches")),
    ("headless_convnet", "auto"),
    ("headless_encoder", "auto"),
]


@pytest.mark.parametrize(("name", "pool"), RUNS)
@pytest.mark.parametrize("kind", ["full", "delta"])
def test_a_run_s_package_is_built_again_to_the_bit(
    name: str, pool: str, kind: str, insects: Path, weights: Path, tmp_path: Path, hubft: Hubft
) -> None:
    result = engine.finetune(job(f"timm:{name}", insects, tmp_path / "run", kind, pool=pool))
    if kind == "full":
        for file in weights.iterdir():
            file.unlink()
    package = load.package(result.run.folder)
    images = torch.rand(2, 3, *package.manifest.inputs.size)
    models = [
        load.load(result.run.folder, prove=True),
        torch.hub.load(str(CHECKOUT), "finetuned", str(result.run.package), source="local"),
    ]
    alone = (package.folder / "config.json").exists()
    assert alone == (kind == "full" and pool != "both" and name != "headless_encoder")
    if alone:
        models.append(timm.create_model(f"local-dir:{package.folder}", pretrained=True).eval())
    logits = [model(images) for model in models]
    assert all(torch.equal(logits[0], other) for other in logits) and logits[0].shape == (2, 3)
    assert not [m for m in models[0].modules() if type(m).__module__.startswith("hubft")]
    assert hubft("evaluate", tmp_path / "run", insects).code == 0
    assert kind == "full" or package.manifest.delta
    assert kind == "delta" or not list(weights.iterdir()), "weights of the base were asked for"


@pytest.mark.parametrize(("name", "pool"), [("headless_token", "both"), ("headless_map", "patches")])
@pytest.mark.parametrize("kind", ["full", "delta"])
def test_a_package_is_trained_further_and_keeps_what_its_head_is_put_on(
    name: str, pool: str, kind: str, insects: Path, pets: Path, tmp_path: Path
) -> None:
    first = engine.finetune(job(f"timm:{name}", insects, tmp_path / "first", pool=pool)).run.folder
    for data, classes in ((pets, 2), (insects, 3)):
        more = engine.finetune(job(f"package:{first}", data, tmp_path / f"{classes}", kind)).run.folder
        package = load.package(more)
        assert package.manifest.job.head == Head(outputs=classes, pool=pool)
        assert load.load(more, prove=True)(torch.rand(2, 3, 32, 32)).shape == (2, classes)
        third = engine.finetune(job(f"package:{more}", pets, tmp_path / f"{classes}-pets")).run.folder
        assert load.load(third, prove=True) is not None


@pytest.mark.parametrize(("before", "after"), [("both", "token"), ("patches", "both"), ("auto", "patches")])
def test_a_package_is_trained_further_on_other_features(before: str, after: str, insects: Path, tmp_path: Path) -> None:
    first = engine.finetune(job("timm:headless_token", insects, tmp_path / "first", pool=before)).run.folder
    more = engine.finetune(job(f"package:{first}", insects, tmp_path / "more", pool=after)).run.folder
    assert load.package(more).manifest.job.head.pool == after
    model: Any = load.load(more, prove=True)
    assert next(model.head.parameters()).shape[1] == (32 if after == "both" else 16)


def test_a_package_of_a_model_with_a_head_refuses_pool(insects: Path, tmp_path: Path) -> None:
    run = engine.finetune(job("timm:test_vit", insects, tmp_path / "run")).run.folder
    with pytest.raises(JobError, match=r"pool patches: timm:test_vit.* has a head of its own"):
        engine.finetune(job(f"package:{run}", insects, tmp_path / "more", pool="patches"))


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_is_kept(name: str) -> None:
    outcomes = testing.check_family("timm", name)
    assert not [outcome for outcome in outcomes if outcome.status == "failed"]
