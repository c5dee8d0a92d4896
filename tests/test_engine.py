"""Whole runs, from a folder of pictures to a package that is loaded again."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy
import pictures
import pytest
import torch
from commands import exit_code
from PIL import Image
from runs import heard, job, listening
from torch import nn

from hubft import HubftError, Job, Loaded, Preprocess, engine
from hubft.base import digest
from hubft.base.errors import FamilyError, JobError, TrainingError
from hubft.families import plugins
from hubft.images import transforms
from hubft.images.decode import decode
from hubft.job import Compute, Head, Recipe
from hubft.share import inference, load

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=24, val=12)


def test_a_run_calls_all_five_hooks_and_leaves_what_the_design_names(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = listening(monkeypatch)
    result = engine.finetune(job(insects, tmp_path / "run", recipe={"epochs": 8}))
    assert set(called) == {"load", "adapt_head", "freeze", "train_step", "compress"}
    names = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*.*")}
    assert names >= {
        "job.json",
        "metrics.jsonl",
        "report/results.json",
        "report/curves.png",
        "report/confusion.png",
        "package/hubft.json",
        "package/model.safetensors",
        "package/selftest.safetensors",
        "package/README.md",
    }
    accuracy = result.metrics.values["accuracy"]
    assert accuracy.n == 36
    assert accuracy.value > 0.6  # chance is 0.33
    assert accuracy.low < accuracy.value <= accuracy.high


@pytest.mark.parametrize("kind", ["full", "delta"])
@pytest.mark.parametrize("averaging", [0.0, 0.8])
def test_the_package_gives_the_logits_that_were_measured(
    insects: Path, tmp_path: Path, kind: str, averaging: float
) -> None:
    """The reported accuracy is the packaged model's: measured again from the package, picture by picture."""
    options = {"train": "last:1", "averaging": averaging}
    result = engine.finetune(job(insects, tmp_path / "run", recipe=options, package=kind, head=Head(dropout=0.2)))
    model = load.load(str(tmp_path / "run"), prove=True)
    paths = sorted((insects / "val").rglob("*.png"))
    with torch.inference_mode():
        outputs = torch.cat([model(model.preprocess(Image.open(path))[None]) for path in paths])
    right = [model.hubft["classes"][i] == path.parent.name for i, path in zip(outputs.argmax(1), paths, strict=True)]
    assert sum(right) / len(right) == result.metrics.values["accuracy"].value
    expected = nn.functional.cross_entropy(outputs, torch.tensor([i // 12 for i in range(36)]))
    assert result.metrics.loss == pytest.approx(float(expected), rel=1e-5)


def test_full_and_delta_of_one_job_are_the_same_bits(insects: Path, tmp_path: Path) -> None:
    models = []
    for kind in ("full", "delta"):
        engine.finetune(job(insects, tmp_path / kind, recipe={"train": "head"}, package=kind))
        models.append(load.load(str(tmp_path / kind)))
    full, delta = (model.state_dict() for model in models)
    assert all(torch.equal(full[name], delta[name]) for name in full)
    stored = (tmp_path / "delta" / "package" / "delta.safetensors").stat().st_size
    assert stored < 1000  # the head's 99 numbers, not the model's five thousand
    manifest = json.loads((tmp_path / "delta" / "package" / "hubft.json").read_text())
    assert "stem.1.running_mean" in manifest["delta"]
    assert manifest["frozen"]["tensors"] == len(manifest["delta"])


def test_bf16_halves_the_weights_and_both_results_are_kept(insects: Path, tmp_path: Path) -> None:
    results = [engine.finetune(job(insects, tmp_path / name, compress=name)) for name in ("none", "bf16")]
    sizes = [(result.run.package / "model.safetensors").stat().st_size for result in results]
    assert sizes[1] < 0.6 * sizes[0]
    manifest = json.loads((results[1].run.package / "hubft.json").read_text())
    assert manifest["metrics"]["uncompressed"]["accuracy"] == asdict(results[0].metrics.values["accuracy"])
    assert manifest["metrics"]["accuracy"] == asdict(results[1].metrics.values["accuracy"])
    full, small = (load.load(str(result.run.folder), prove=True).state_dict() for result in results)
    for name, tensor in full.items():
        assert small[name].dtype == tensor.dtype
        assert torch.equal(small[name], tensor.bfloat16().to(tensor.dtype)), name


def test_the_frozen_part_of_a_package_is_the_base_s(insects: Path, tmp_path: Path) -> None:
    engine.finetune(job(insects, tmp_path / "run", recipe={"train": "head", "augment": "standard"}))
    base = plugins.manager("toy").hook.load(name="small", pretrained=True, config={}, task="").model.state_dict()
    tuned = load.load(str(tmp_path / "run")).state_dict()
    same = {name for name in base if base[name].shape == tuned[name].shape and torch.equal(base[name], tuned[name])}
    assert same == {name for name in base if not name.startswith("head")}


def test_a_moved_frozen_tensor_stops_the_run_before_it_is_packaged(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        model.get_submodule("block.1").train()  # norm statistics move although they are frozen
        outputs = model(batch[0])
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs}

    listening(monkeypatch, train_step=train_step)
    with pytest.raises(TrainingError, match=r"block\.1\.running_mean"):
        engine.finetune(job(insects, tmp_path / "run", recipe={"train": "head"}))
    assert not (tmp_path / "run" / "package").exists()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"compress": "zip"}, "known methods are none, bf16"),
        ({"recipe": {"train": "stage:blok"}}, "Did you mean 'block'"),
        ({"recipe": {"train": "head, stage:blok@0.9"}}, "Did you mean 'block'"),
    ],
)
def test_what_would_fail_late_fails_before_anything_is_written(
    insects: Path, tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(HubftError, match=message):
        engine.finetune(job(insects, tmp_path / "run", **parts))
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_take_the_size_is_an_error_of_the_job(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adapt_head(loaded: Loaded) -> Loaded:
        loaded.model.register_forward_pre_hook(lambda module, inputs: _only_32(inputs[0]))
        return None  # type: ignore[return-value]

    listening(monkeypatch, adapt_head=adapt_head)
    with pytest.raises(JobError, match=r"^size 48: toy:small cannot .* wrong height.*; the nearest .* is 32"):
        engine.finetune(job(insects, tmp_path / "run", size=48))


def _only_32(images: torch.Tensor) -> None:
    assert images.shape[-1] == 32, "wrong height"


@pytest.mark.parametrize("hook", ["load", "adapt_head"])
def test_what_a_family_gives_is_checked(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    listening(monkeypatch, **{hook: lambda: "nonsense"})
    with pytest.raises(FamilyError, match=f"`{hook}` gave str"):
        engine.finetune(job(insects, tmp_path / "run"))


def test_a_run_gives_the_caller_its_generators_back(insects: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    engine.finetune(job(insects, tmp_path / "run"))
    assert torch.equal(torch.rand(3), expected)


def test_runs_are_numbered_and_never_overwritten(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (engine.finetune(replace(job(insects, tmp_path), output="")) for _ in range(2))
    assert [r.run.folder.as_posix() for r in (first, second)] == ["runs/small-insects", "runs/small-insects-2"]


def test_one_folder_is_split_and_the_size_is_kept_in_the_package(insects: Path, tmp_path: Path) -> None:
    result = engine.finetune(job(insects / "train", tmp_path / "run", size=48, holdout=0.25))
    assert result.metrics.values["accuracy"].n == 18
    model = load.load(str(tmp_path / "run"), prove=True)
    assert model.preprocess(Image.new("RGB", (70, 60))).shape == (3, 48, 48)


@pytest.mark.parametrize(("asked", "white"), [(0, 4095), (1000, 1000)])
def test_grey_of_12_bits_in_files_of_16_fills_the_range(tmp_path: Path, asked: int, white: int) -> None:
    """The same pictures with 8 bits give the same run, to the last bit; scaled by 65535 they were black."""
    random = numpy.random.default_rng(5)
    for part in ("train", "val"):
        for name in ("dark", "light"):
            for i in range(6):
                levels = random.integers(0, 3000, (40, 40)) + (0 if name == "dark" else 1095)
                deep = levels.clip(max=white) * 255 // white
                for kind, pixels in (("deep", levels.astype("uint16")), ("flat", deep.astype("uint8"))):
                    path = tmp_path / kind / part / name / f"{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
    (deep, said), (flat, unsaid) = (
        heard(job(tmp_path / kind, tmp_path / f"run-{kind}", white=white))
        for kind, white in (("deep", asked), ("flat", 0))
    )
    models = [load.load(str(result.run.folder), prove=True) for result in (deep, flat)]
    assert digest.of_tensors(models[0].state_dict()) == digest.of_tensors(models[1].state_dict())
    assert [model.hubft["preprocess"]["white"] for model in models] == [white, Preprocess.white]
    assert said.about("16-bit grey") == [f"16-bit grey from 0, black, to {white}, white; --white sets it"]
    assert not unsaid.about("16-bit grey")
    shown, expected = (
        list(
            inference.predict(
                load.opened(load.package(result.run.folder)), [tmp_path / kind / "val" / "dark" / "0.png"]
            )
        )
        for result, kind in ((deep, "deep"), (flat, "flat"))
    )
    assert shown[0].said == expected[0].said and shown[0].said["probabilities"]
    numbers = inference.evaluate(load.opened(load.package(deep.run.folder)), tmp_path / "deep").metrics
    assert numbers.loss == pytest.approx(deep.metrics.loss, rel=1e-6)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the photographs and weights that lie beside a checkout")
def test_ants_or_bees_with_real_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head solved at half size, on ImageNet's weights: far from chance, and a delta of tens of kilobytes."""
    recipe, compute = Recipe(epochs=0), Compute(device="cpu")
    folder = str(SHARED / "data" / "hymenoptera")
    options = {"recipe": recipe, "compute": compute, "size": 128, "package": "delta", "output": str(tmp_path / "run")}
    result = engine.finetune(Job("pip:efficientnet_lite0", folder, **options))
    assert result.metrics.values["accuracy"].n == 153
    assert result.metrics.values["accuracy"].value > 0.85
    assert (result.run.package / "delta.safetensors").stat().st_size < 50_000
    model = load.load(str(result.run.folder), prove=True)
    ant = decode(next((SHARED / "data" / "hymenoptera" / "val" / "ants").iterdir()))
    assert model(transforms.evaluation(load.package(str(result.run.folder)).manifest.inputs)(ant)[None]).shape == (
        1,
        2,
    )


HUBCONF = """
import torch
from torch import nn

dependencies = ["torch"]


def tiny(pretrained=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


def test_the_fine_tune_of_a_hub_repository_runs_its_code_only_on_request(
    insects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "hubconf.py").write_text(HUBCONF)
    tiny = replace(job(insects, tmp_path / "run"), reference=f"hub:{tmp_path}/repo:tiny", size=32)
    engine.finetune(tiny)
    commands = [["evaluate", str(tmp_path / "run"), str(insects)], ["show", str(tmp_path / "run")]]
    commands.append(["predict", str(tmp_path / "run"), str(insects / "val")])
    for command in commands:
        for trusted, code in (([], 2), (["--trust"], 0)):
            assert exit_code(*command, *trusted) == code
            assert ("runs the code of hub:" in capsys.readouterr().err) == bool(code)
