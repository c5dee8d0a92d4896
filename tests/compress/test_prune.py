"""Channels that are gone: the package is a smaller model of the same class, and anyone builds it again."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import packages
import pictures
import pytest
import torch
from environments import installed
from extras import needs
from runs import job, killed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hubft import Head, Job, engine
from hubft.base.errors import JobError, PackageError, Stopped
from hubft.compress import widths
from hubft.families import plugins
from hubft.families.build import build, compressed
from hubft.job import Labels
from hubft.publish import package
from hubft.run import tuning
from hubft.share import load

needs("torch_pruning", "prune")


@pytest.fixture(autouse=True, scope="module")
def plain_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("plain")
    with installed(folder, "plain", Path(__file__).parents[1] / "plain_family.py"):
        yield


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=24, val=12)


def asked(data: Path, output: Path, compress: str = "prune:0.5", **parts: Any) -> Job:
    """Return the job of a run on the family `plain`."""
    return replace(job(data, output, compress=compress, **parts), reference="plain:small")


def numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ---- a run ---------------------------------------------------------------------------------------------------------


def test_a_run_gives_a_smaller_package_that_loads_and_is_pruned_further(insects: Path, tmp_path: Path) -> None:
    result = engine.finetune(asked(insects, tmp_path / "run", "prune:0.5,int8", recipe={"epochs": 4}))
    model = load.load(result.run.folder, prove=True)
    assert type(model).__name__ == "Plain"
    assert model.get_parameter("stem.0.weight").shape == (8, 3, 3, 3)
    assert model.get_parameter("head.weight").shape == (3, 16)
    assert model.stem[0].out_channels == model.stem[1].num_features == model.block[0].in_channels == 8
    manifest = json.loads((result.run.package / "hubft.json").read_text())
    assert manifest["structure"][0]["modules"]["head"] == {"in_features": 16}
    assert manifest["frozen"]["tensors"] == 0  # pruning changed all of them
    names = [step.method for step in result.steps]
    assert names == ["prune:0.5", "int8"] and result.steps[1].size < result.steps[0].size / 2
    further = replace(asked(insects, tmp_path / "b", "prune:0.5"), reference=f"package:{result.run.folder}")
    again = engine.finetune(replace(further, recipe=replace(further.recipe, epochs=0, probe=False)))
    assert load.load(again.run.folder, prove=True).get_parameter("head.weight").shape == (3, 8)
    assert len(json.loads((again.run.package / "hubft.json").read_text())["structure"]) == 2


def test_a_pruned_package_is_fine_tuned_for_other_classes(insects: Path, tmp_path: Path) -> None:
    first = engine.finetune(asked(insects, tmp_path / "run"))
    others = pictures.folder(tmp_path / "others", ("cats", "dogs"), train=8, val=4)
    for output, head in (("plain", Head()), ("deep", Head(hidden=(5,)))):
        further = replace(asked(others, tmp_path / output, "none", head=head), reference=f"package:{first.run.folder}")
        result = engine.finetune(replace(further, package="delta", recipe=replace(further.recipe, train="head")))
        model = load.load(result.run.folder, prove=True)
        assert model.get_parameter("stem.0.weight").shape == (8, 3, 3, 3)
        assert next(iter(model.get_submodule("head").parameters())).shape[1] == 16
        assert len(json.loads((result.run.package / "hubft.json").read_text())["delta"]) == 12


def test_training_brings_back_what_pruning_took(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[int, float]] = []
    real = tuning.tune

    def counted(prepared: Any, recipe: Any, share: float, *its: Any) -> Any:
        trained.append((numbers(prepared.loaded.model), share))
        assert recipe.train == "all" and recipe.epochs == 6
        return real(prepared, recipe, share, *its)

    monkeypatch.setattr("hubft.run.compressing.tune", counted)
    result = engine.finetune(asked(insects, tmp_path / "run", recipe={"epochs": 6}))
    sizes = [size for size, _ in trained]
    assert [share for _, share in trained] == [0.25, 0.25, 0.25, 1.0]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]
    assert result.metrics.head.value > 0.6  # chance is 0.33


@pytest.mark.parametrize("step", [3, 9])
def test_a_run_that_was_killed_ends_with_the_same_bits(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Step 3 is of the training, step 9 of that after the last pruning."""
    whole = engine.finetune(asked(insects, tmp_path / "whole"))
    stopped = asked(insects, tmp_path / "killed")
    run = killed(stopped, step, monkeypatch)
    one, other = (load.load(r.run.folder).state_dict() for r in (whole, engine.resume(run.folder)))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_is_stopped_between_steps_says_so(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_: Any) -> Any:
        raise Stopped(15, "run")

    monkeypatch.setattr("hubft.run.compressing.tune", stopping)
    with pytest.raises(Stopped):
        engine.finetune(asked(insects, tmp_path / "run"))


def test_numbers_come_back_in_their_unit(tmp_path: Path) -> None:
    folder = pictures.folder(tmp_path / "d", train=12, val=6)
    lines = ["image,price"]
    for place, path in enumerate(sorted(folder.rglob("*.png"))):
        lines.append(f"{path},{1000 + 3.7 * place}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    result = engine.finetune(asked(tmp_path / "t.csv", tmp_path / "run", labels=Labels(task="regression")))
    model = load.load(result.run.folder, prove=True)
    with torch.no_grad():
        given = float(model(torch.zeros(1, 3, 32, 32)))
    assert 500 < given < 1500  # a standardised output is about 0


# ---- architectures -------------------------------------------------------------------------------------------------

MODELS = (
    "torchvision:resnet18",
    "torchvision:mobilenet_v3_small",
    "torchvision:squeezenet1_1",
    "timm:resnet18.a1_in1k",
    "timm:tf_efficientnet_lite0.in1k",
    "timm:convnext_atto.d2_in1k",
    "timm:regnety_002.pycls_in1k",
    "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "torchvision:vit_b_16",
    "pip:efficientnet_lite0",
)


@pytest.mark.parametrize(
    ("reference", "hidden"),
    [*((name, ()) for name in MODELS), *((name, (16,)) for name in MODELS if "vit_b" not in name)],
)
def test_a_package_of_a_pruned_model_gives_equal_outputs(
    tmp_path: Path, reference: str, hidden: tuple[int, ...]
) -> None:
    size = 0 if "vit" in reference else 64
    asked = Job(reference, "d", head=Head(outputs=3, hidden=hidden), compress="prune:0.5,int8", size=size)
    small = packages.write(tmp_path / "p", asked, pretrained=False)
    found = load.load(tmp_path / "p", prove=True)
    images = torch.randn(2, 3, size or 224, size or 224)
    with torch.no_grad():
        assert torch.equal(found(images), small(images)) and found(images).shape == (2, 3)
    whole = build(plugins.manager(asked.family), asked, pretrained=False).model
    assert numbers(found) < 0.6 * numbers(whole) and type(found) is type(whole)
    assert not (tmp_path / "p" / package.CONFIG).exists()
    card = (tmp_path / "p" / package.CARD).read_text()
    assert "Channels were taken out of it" in card and "timm.create_model" not in card


def test_widths_are_multiples_of_eight(tmp_path: Path) -> None:
    small = packages.write(tmp_path / "p", Job("torchvision:resnet18", "d", head=Head(outputs=3), compress="prune:0.3"),
                           pretrained=False)  # fmt: skip
    assert {m.out_channels % 8 for m in small.modules() if isinstance(m, nn.Conv2d)} == {0}


def test_what_cannot_be_pruned_is_refused_before_the_training(insects: Path, tmp_path: Path) -> None:
    """A buffer with a number for each channel lies in no layer."""
    with pytest.raises(JobError, match=r"^compress prune: toy:small cannot be pruned by Torch-Pruning: RuntimeError"):
        engine.finetune(job(insects, tmp_path / "run", compress="prune:0.5"))
    assert not (tmp_path / "run").exists()


class Remembers(nn.Module):
    """Its forward knows a width that no record states."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.stem, self.head, self.width = inner.stem, nn.Linear(16, 3), 16

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images).mean((2, 3))
        return self.head(features) * (1 + self.width)


def test_a_model_that_is_not_built_again_is_refused() -> None:
    pm = plugins.manager("plain")
    loaded = build(pm, Job("plain:small", "d", head=Head(outputs=3)), pretrained=True)
    model = Remembers(loaded.model)
    real = copy.deepcopy

    def changed(value: Any, *its: Any) -> Any:
        made = real(value, *its)
        if isinstance(made, Remembers):
            made.width = 3
        return made

    loaded = replace(loaded, model=model, stages={"stem": ("stem",), "head": ("head",)})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(JobError, match=r"built again .*: it computes something"):
        patch.setattr("hubft.compress.prune.copy.deepcopy", changed)
        compressed(pm, loaded, "prune:0.5", [(torch.zeros(1, 3, 32, 32), torch.zeros(1))])


# ---- what a stranger says ------------------------------------------------------------------------------------------


def at(*path: str, value: Any) -> Callable[[dict[str, Any]], object]:
    def change(record: dict[str, Any]) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value

    return change


HOSTILE = {
    "kind": (at("kind", value="code"), "record of kind 'code', not known here"),
    "no kind": (lambda record: record.pop("kind"), "record of kind 'None'"),
    "more": (at("more", value=1), "has modules, tensors, channels and parameters, and nothing else"),
    "no object": (at("modules", value=[1]), "has modules, tensors,"),
    "no widths": (at("modules", "head", value={}), "widths of 'head' must be"),
    "wider": (
        at("modules", "head", "in_features", value=33),
        "'head' widths that it cannot have: in_features 33 is more",
    ),
    "huge": (at("modules", "head", "in_features", value=2**40), "'1099511627776' is no whole number"),
    "zero": (at("modules", "head", "in_features", value=0), "'0' is no whole number"),
    "half": (at("modules", "head", "in_features", value=16.0), r"'16\.0' is no whole number"),
    "truth": (at("modules", "head", "in_features", value=True), "'True' is no whole number"),
    "negative": (at("modules", "head", "in_features", value=-16), "'-16' is no whole number"),
    "a long name": (at("modules", 10**5 * "a", value={"p": 1}), "widths to 'a{80}', which is no layer"),
    "no counts": (lambda record: record.pop("channels"), "has modules, tensors, channels and parameters"),
    "one count": (at("channels", value=[48]), "channels must be two numbers"),
    "no number": (at("parameters", value=["many", 1]), "'many' is no whole number"),
    "praise": (at("parameters", value=[9000, 1]), r"counts parameters \[9000, 1\], the model \[\d+, \d+\]"),
    "attribute": (at("modules", "head", "forward", value=1), "'forward' is none of in_features, out_features"),
    "no layer": (at("modules", "drop", value={"p": 1}), "widths to 'drop', which is no layer"),
    "nowhere": (at("modules", "tail", value={"in_features": 1}), "widths to 'tail', which is no layer"),
    "groups": (at("modules", "block.0", "out_channels", value=15), r"counts channels \[48, 24\], the model \[48, 23\]"),
    "stray tensor": (at("tensors", "stem.9", value=[1]), r"'stem\.9', which is no tensor"),
    "rank": (at("tensors", "head.bias", value=[1, 1]), "bias of shape"),
    "other width": (at("modules", "head", "in_features", value=8), r"head\.weight is .* \[3, 16\]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_stranger_s_record_is_one_line(tmp_path: Path, name: str) -> None:
    change, words = HOSTILE[name]
    asked = Job("plain:small", "d", head=Head(outputs=3), compress="prune:0.5")
    packages.write(tmp_path / "p", asked)
    packages.rewrite(tmp_path / "p", lambda data: change(data["structure"][0]))
    with pytest.raises(PackageError, match=words) as caught:
        load.load(tmp_path / "p")
    assert "\n" not in str(caught.value)


def test_widths_that_do_not_fit_each_other_are_one_line_of_the_proof(tmp_path: Path) -> None:
    """The file fits the record, so that nothing but computing tells."""
    packages.write(tmp_path / "p", Job("plain:small", "d", head=Head(outputs=3), compress="prune:0.5"))
    state = load_file(tmp_path / "p" / package.WEIGHTS)
    gone = sum(state[name][4:].numel() for name in state if name.startswith("stem.0."))
    state |= {name: state[name][:4].contiguous() for name in state if name.startswith("stem.0.")}
    save_file(state, tmp_path / "p" / package.WEIGHTS)
    packages.refile(tmp_path / "p", package.WEIGHTS)

    def narrow(data: dict[str, Any]) -> None:
        record = data["structure"][0]
        record["modules"]["stem.0"]["out_channels"] = 4
        record["channels"][1] -= 4
        record["parameters"][1] -= gone

    packages.rewrite(tmp_path / "p", narrow)
    load.load(tmp_path / "p")
    with pytest.raises(PackageError, match=r"the model cannot compute the self-test: RuntimeError: .*4") as caught:
        load.load(tmp_path / "p", prove=True)
    assert "\n" not in str(caught.value)


def test_no_memory_is_asked_for(tmp_path: Path) -> None:
    asked = Job("plain:small", "d", head=Head(outputs=3), compress="prune:0.5")
    packages.write(tmp_path / "p", asked)
    loaded = load.architecture(package.read(tmp_path / "p"))
    assert all(parameter.is_meta for parameter in loaded.model.parameters())
    before = widths.read(loaded.model)
    assert before["modules"]["stem.0"] == {"in_channels": 3, "out_channels": 8, "groups": 1}
