"""int8 by torchao's kernels: packages of plain numbers that compute, where they are loaded, with the bits measured."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import packages
import pictures
import pytest
import torch
import torch._inductor.config
from commands import Hubft
from environments import installed
from extras import needs
from runs import heard, job
from torch import nn

from hubft import Head, Job, engine
from hubft.base.errors import JobError, PackageError
from hubft.compress import structure
from hubft.deploy.export import export, running
from hubft.deploy.export.asked import Asked
from hubft.families.plugins import ROOT
from hubft.publish import package, tensors
from hubft.share import load

needs("torchao", "torchao")

METHODS = ("torchao:int8wo", "torchao:int8dq")
LAYERS = ["block.1", "block.3", "head"]


@pytest.fixture(autouse=True, scope="module")
def linear_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("linear")
    here = Path(__file__).parents[1]
    (folder / "toy_family.py").symlink_to(here / "toy_family.py")
    with installed(folder, "linear", here / "linear_family.py"):
        yield


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=24, val=12)


def asked(data: Path, output: Path, compress: str, **parts: Any) -> Job:
    """Return the job of a run on the family `linear`."""
    return replace(job(data, output, compress=compress, **parts), reference="linear:small")


def written(folder: Path, compress: str) -> nn.Module:
    return packages.write(folder, Job("linear:small", "d", head=Head(outputs=3), compress=compress))


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / package.MANIFEST).read_text())
    return found


def computed(model: nn.Module) -> list[str]:
    """Return the layers that torchao computes."""
    return [
        name for name, module in model.named_modules() if type(getattr(module, "weight", 0)).__name__ == "Int8Tensor"
    ]


@torch.inference_mode()
def answers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(images)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_what_is_loaded_gives_the_bits_that_were_measured(tmp_path: Path, method: str) -> None:
    trained = written(tmp_path / "p", method)
    header = tensors.header(tmp_path / "p" / package.WEIGHTS)
    stored = {name for name, (dtype, _) in header.items() if dtype == torch.int8}
    assert stored == {"stem.weight", *(f"{name}.weight" for name in LAYERS)}
    [record] = manifest(tmp_path / "p")["structure"]
    assert record == {"kind": "torchao", "method": method.partition(":")[2], "layers": LAYERS}
    found, images = load.load(tmp_path / "p", prove=True), torch.randn(3, 3, 32, 32)
    assert computed(found) == computed(trained) == LAYERS and type(found) is type(trained)
    assert torch.equal(answers(found, images), answers(trained, images))
    for name in LAYERS:
        ours, theirs = (one.get_parameter(f"{name}.weight") for one in (found, trained))
        assert torch.equal(ours.qdata, theirs.qdata) and torch.equal(ours.scale, theirs.scale)
    written(tmp_path / "plain", "int8")
    plain = load.load(tmp_path / "plain")
    assert not torch.equal(answers(found, images), answers(plain, images))  # the kernels are torchao's
    assert torch.allclose(answers(found, images), answers(plain, images), atol=0.05)
    states = structure.state(found), plain.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert not torch._inductor.config.coordinate_descent_tuning  # what torchao sets of itself


def test_dynamic_rounds_what_comes_in_and_weight_only_does_not(tmp_path: Path) -> None:
    images, apart = torch.randn(8, 3, 32, 32), []
    written(tmp_path / "plain", "int8")
    wanted = answers(load.load(tmp_path / "plain"), images)
    for method in METHODS:
        written(tmp_path / method[-2:], method)
        apart.append(float((answers(load.load(tmp_path / method[-2:]), images) - wanted).abs().max()))
    assert 10 * apart[0] < apart[1]


def test_a_run_measures_the_kernels_and_goes_on_in_a_chain(insects: Path, tmp_path: Path) -> None:
    needs("torch_pruning", "prune")
    chain = "prune:0.5,torchao:int8dq"
    result, console = heard(asked(insects, tmp_path / "run", chain, max_drop=100.0, recipe={"epochs": 4}))
    first, second = result.steps
    assert second.held and second.size < 0.6 * first.size and len(console.about("compress torchao:int8dq")) == 1
    found = manifest(result.run.package)
    assert [record["kind"] for record in found["structure"]] == ["widths", "torchao"]
    model = load.load(result.run.folder, prove=True)
    assert computed(model) == LAYERS and model.get_parameter("block.1.weight").shape == (128, 8)
    card = (result.run.package / package.CARD).read_text()
    assert "Its Linear layers are computed in int8 by torchao" in card and "`NAME..scale`" in card
    assert "`pip install torchao`" in card


def test_what_it_costs_is_held_to_the_limit(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubft.run.compressing.lost", lambda *_: 3.0)
    result, console = heard(asked(insects, tmp_path / "run", "torchao:int8wo", max_drop=2.0))
    assert not result.steps[0].held and "it lost more than 2 points and is left out" in console.about("compress")[0]
    assert not manifest(result.run.package)["structure"] and not computed(load.load(result.run.folder))


def test_it_is_trained_further_in_float32_and_compressed_again(insects: Path, tmp_path: Path) -> None:
    first = engine.finetune(asked(insects, tmp_path / "first", "torchao:int8wo"))
    further = replace(asked(insects, tmp_path / "second", "none"), reference=f"package:{first.run.folder}")
    second = engine.finetune(further)
    assert not manifest(second.run.package)["structure"] and not computed(load.load(second.run.folder, prove=True))
    others = pictures.folder(tmp_path / "others", ("cats", "dogs"), train=8, val=4)
    delta = replace(
        further, data=str(others), output=str(tmp_path / "delta"), package="delta", compress="torchao:int8dq"
    )
    third = engine.finetune(replace(delta, recipe=replace(delta.recipe, train="head")))
    assert computed(load.load(third.run.folder, prove=True)) == LAYERS
    again = engine.compress(str(first.run.folder), insects, "torchao:int8dq", tmp_path / "again")
    [record] = manifest(again.run.package)["structure"]
    assert record["method"] == "int8dq"
    one, other = (load.load(run.run.folder).head.weight.qdata for run in (first, again))
    assert torch.equal(one, other)  # rounded once


def test_torch_hub_and_the_commands_take_it(hubft: Hubft, insects: Path, tmp_path: Path) -> None:
    run = engine.finetune(asked(insects, tmp_path / "run", "torchao:int8dq")).run
    model = torch.hub.load(str(ROOT), "finetuned", str(run.folder), source="local")
    assert computed(model) == LAYERS
    shown = hubft("show", "run")
    assert ["changed", "Its Linear layers are computed in int8 by torchao"] in shown.cells()
    assert hubft("evaluate", "run", insects).code == 0
    ran = hubft(
        "benchmark", "run", insects, "--against", "torchao:int8wo,int8", "--seconds", "0.1", "--max-drop", "100"
    )
    assert ran.code == 0, ran.err
    rows = json.loads((tmp_path / "run" / "benchmark" / "benchmark.json").read_text())["rows"]
    assert [row["failure"] for row in rows] == ["", "", ""] and rows[1]["size"] == rows[2]["size"]


def test_an_export_computes_the_same_weights_in_float32(insects: Path, tmp_path: Path) -> None:
    run = engine.finetune(asked(insects, tmp_path / "run", "torchao:int8dq")).run
    made = export.export(run.folder, Asked("torchscript", output=str(tmp_path / "a.ts")))
    assert any("computed in fp32" in note for note in made.notes)
    plain = load.plain(load.package(run.folder)).model.eval()
    images = torch.randn(1, 3, 32, 32)
    with running.fresh(export.formats.named("torchscript"), made.path, 1, True) as file:
        [found] = file(images.numpy())
    assert torch.allclose(torch.from_numpy(found), answers(plain, images), atol=1e-5)


REFUSED = {
    "torchao": "'torchao': METHOD is one of int8wo and int8dq, as in torchao:int8wo",
    "torchao:int8qd": r"'torchao:int8qd': METHOD is one of .* Did you mean 'int8dq'",
    "int8,torchao:int8wo": "torchao:int8wo rounds weights again, which undoes int8",
    "torchao:int8wo,bf16": "bf16 rounds weights again, which undoes torchao:int8wo",
    "torchao:int8wo,prune:0.5": "prune:0.5 trains weights, .* write prune:0.5,torchao:int8wo",
}


@pytest.mark.parametrize("compress", REFUSED)
def test_what_makes_no_sense_is_told_before_the_training(insects: Path, tmp_path: Path, compress: str) -> None:
    with pytest.raises(JobError, match=REFUSED[compress]):
        engine.finetune(asked(insects, tmp_path / "run", compress))
    assert not (tmp_path / "run").exists()


def test_a_model_of_convolutions_is_refused(insects: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"^compress torchao: toy:small: most weights of it lie in convolutions"):
        engine.finetune(job(insects, tmp_path / "run", compress="torchao:int8wo"))
    assert not (tmp_path / "run").exists()


def test_without_torchao_it_is_one_line(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "p", "torchao:int8wo")
    monkeypatch.setitem(sys.modules, "torchao", None)
    words = r"computing its layers in int8 needs torchao, which is not installed: pip install 'hubft\[torchao\]'"
    with pytest.raises(PackageError, match=f"^{words}$"):
        load.load(tmp_path / "p")
    with pytest.raises(JobError, match=f"^compress torchao: {words}$"):
        engine.finetune(asked(insects, tmp_path / "run", "torchao:int8wo"))
    further = replace(asked(insects, tmp_path / "run", "none"), reference=f"package:{tmp_path / 'p'}")
    engine.finetune(further)  # needs plain tensors alone


class Reading(nn.Linear):
    """A layer that does more with its weight than to multiply by it."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs) + torch.linalg.svdvals(self.weight).sum()


def test_a_layer_that_torchao_s_tensors_do_not_serve_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import hubft_linear

    monkeypatch.setattr(hubft_linear.nn, "Linear", Reading)
    with pytest.raises(JobError, match=r"^compress torchao: linear:small cannot be computed so: \w+") as caught:
        written(tmp_path / "p", "torchao:int8wo")
    assert "\n" not in str(caught.value)


def at(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda record: record.update({key: value})


HOSTILE = {
    "more": (at("more", 1), "has a method, a list of layers, each once, and nothing else"),
    "no list": (at("layers", "head"), "has a method, a list of layers"),
    "none": (at("layers", []), "has a method, a list of layers"),
    "twice": (at("layers", ["head", "head"]), "each once"),
    "numbers": (at("layers", [1]), "has a method, a list of layers"),
    "method": (at("method", "int4wo"), "torchao's 'int4wo' is not known here: update hubft"),
    "no method": (at("method", {}), "torchao's '{}' is not known here"),
    "nowhere": (at("layers", ["tail"]), "has torchao compute 'tail', no Linear layer"),
    "convolution": (at("layers", ["stem"]), "has torchao compute 'stem', no Linear layer"),
    "attribute": (at("layers", ["block.1.weight"]), r"has torchao compute 'block\.1\.weight', no Linear layer"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_stranger_s_record_is_one_line(tmp_path: Path, name: str) -> None:
    change, words = HOSTILE[name]
    written(tmp_path / "p", "torchao:int8wo")
    packages.rewrite(tmp_path / "p", lambda data: change(data["structure"][0]))
    with pytest.raises(PackageError, match=words) as caught:
        load.load(tmp_path / "p")
    assert "\n" not in str(caught.value)


def test_a_record_beside_weights_that_are_not_rounded_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "p", "none")
    record = {"kind": "torchao", "method": "int8wo", "layers": LAYERS}
    packages.rewrite(tmp_path / "p", lambda data: data["structure"].append(record))
    with pytest.raises(PackageError, match=r"has torchao compute 'block\.1', whose weights are not int8"):
        load.load(tmp_path / "p")


@pytest.mark.parametrize("reference", ["timm:test_vit.r160_in1k", "timm:test_convnext.r160_in1k"])
def test_architectures_of_timm(tmp_path: Path, reference: str) -> None:
    made = Job(reference, "d", head=Head(outputs=3, hidden=(8,)), compress="torchao:int8dq")
    trained = packages.write(tmp_path / "p", made, pretrained=False)
    found = load.load(tmp_path / "p", prove=True)
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(answers(found, images), answers(trained, images)) and computed(found)
    assert not (tmp_path / "p" / package.CONFIG).exists()
    assert "timm.create_model" not in (tmp_path / "p" / package.CARD).read_text()
