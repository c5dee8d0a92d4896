"""LoRA by peft's layers: of a timm ViT, a torchvision ResNet, a hub checkout and a text model, in both packages."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nets
import packages
import pictures
import pytest
import texts
import torch
import toy_family
from commands import Hubft
from extras import needs
from loopback.hub import Hub, serving
from runs import Heard, job, killed
from safetensors.torch import load_file
from terminal import TOKEN, Terminal
from torch import Tensor, nn

from hubft import Job, engine
from hubft.adapting import Adapting
from hubft.base.errors import BaseMismatch, JobError, PackageError, TrainingError
from hubft.compress import lora
from hubft.families import adapters, plugins
from hubft.families.build import adapt, load_base
from hubft.families.plugins import ROOT
from hubft.hookspecs import Loaded
from hubft.job import Head, Recipe, Teaching
from hubft.publish import package, tensors
from hubft.run import adapting
from hubft.share import load
from hubft.train import loop

peft = needs("peft", "peft")

LORA = Adapting("lora", rank=4)


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose models have the same weights whenever they are built, as published ones have."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    code = nets.checkout(folder) / "hubconf.py"
    code.write_text(code.read_text().replace("    layers = Ord", "    torch.manual_seed(0)\n    layers = Ord"))
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    needs("transformers", "transformers")
    return f"transformers:{texts.model(tmp_path_factory.mktemp('text') / 'tiny', initializer_range=0.2)}"


ASK = """
import sys, torch
sys.modules["peft"] = None
ours = torch.hub.load({root!r}, "finetuned", {package!r}, source="local")
assert sys.modules["hubft"].__file__.startswith({root!r})
ids = torch.tensor([ours.preprocess.encode("the lovely film song").ids])
inputs = {{"input_ids": ids, "attention_mask": torch.ones_like(ids)}}
with torch.no_grad():
    given = ours(**inputs).logits
    del sys.modules["peft"]
    for name in [name for name in sys.modules if name.startswith("hubft")]:
        del sys.modules[name]
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification
    base = AutoModelForSequenceClassification.from_pretrained({base!r}, num_labels=2)
    theirs = PeftModel.from_pretrained(base, {package!r}).eval()
    apart = theirs(**inputs).logits
    merged = theirs.merge_and_unload()(**inputs).logits
assert torch.equal(merged, given), (merged, given)
assert torch.allclose(apart, given, atol=1e-5)
print("the same", type(ours).__name__)
"""


def test_a_text_model_s_adapter_loads_without_peft_and_by_peft_without_us(text: str, tmp_path: Path) -> None:
    """In a process of its own, to the same bits."""
    data = texts.table(tmp_path / "reviews.csv", 120)
    recipe = Recipe(epochs=3, batch_size=16, lr=2e-3)
    found = engine.finetune(Job(text, data, recipe=recipe, adapting=LORA, output=tmp_path / "run"))
    folder, base = found.run.package, text.partition(":")[2]
    config = json.loads((folder / lora.CONFIG).read_text())
    assert config["modules_to_save"] == ["classifier"] and base not in (folder / lora.CONFIG).read_text()
    (record,) = load.package(folder).manifest.structure
    assert len(record["layers"]) == 2 * 6 + 1 and "bert.pooler.dense" in record["layers"]
    code = ASK.format(root=str(ROOT), package=str(folder), base=base)
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1:] == ["the same BertForSequenceClassification"], ran.stderr[-2000:]


def test_a_hub_model_with_live_norms_keeps_their_statistics_frozen(
    checkout: Path, insects: Path, tmp_path: Path
) -> None:
    """Also where `--train all` would have them live: peft's file has no place for what they would become."""
    reference, recipe = f"hub:{checkout}:small", {"train": "all", "lr": 0.005, "probe": False}
    found = engine.finetune(asked(reference, insects, tmp_path / "run", recipe=recipe), trust=True)
    state, before = load.load(found.run.package, trust=True).state_dict(), base(reference).model.state_dict()
    changed = {name for name in state if not torch.equal(state[name], before[name])}
    assert changed == {"stem.0.weight", "block.0.weight", "head.weight", "head.bias"}
    theirs = by_peft(base(reference).model, found.run.package).merge_and_unload()
    assert torch.equal(answers(theirs, 64), answers(load.load(found.run.package, trust=True), 64))


def test_a_base_of_other_bytes_is_refused(checkout: Path, insects: Path, tmp_path: Path) -> None:
    found = engine.finetune(asked(f"hub:{checkout}:small", insects, tmp_path / "run"), trust=True)
    load.load(found.run.package, trust=True)
    code = checkout / "hubconf.py"
    code.write_text(code.read_text().replace("manual_seed(0)", "manual_seed(1)"))
    with pytest.raises(BaseMismatch, match=r"is not the base that was fine-tuned"):
        load.load(found.run.package, trust=True)


def refused(adapting: Adapting, reference: str = "toy:small") -> str:
    with pytest.raises(JobError) as caught:
        given(reference, adapting)
    return str(caught.value)


def test_layers_that_can_have_no_adapter_are_told_or_refused() -> None:
    """Depthwise convolutions, and attention that reads its weights without calling the layer."""
    _, adapted = given("timm:mobilenetv2_035", LORA)
    assert "without an adapter: blocks.0.0.conv_dw (a convolution in groups), and " in adapted.note
    assert not any("conv_dw" in name for name in adapted.record["layers"])
    said = refused(replace(LORA, adapter_layers="match:conv_dw"), "timm:mobilenetv2_035")
    assert said.startswith(
        "adapter_layers: nothing that 'match:conv_dw' selects can have an adapter (blocks.0.0.conv_dw: "
    )
    _, of_attention = given("torchvision:vit_b_32", replace(LORA, adapter_layers="last:1"))
    assert "self_attention.out_proj (the model reads its weight and does not call it)" in of_attention.note


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("stem,blok", "'blok' is neither a stage of this model (stem, block, head) nor a rule"),
        ("type:Linaer", "type:Linaer selects no parameter; this model has"),
        ("match:nothing", "match:nothing selects no parameter"),
        ("type:BatchNorm2d", "can have an adapter (it has no matrix); adapters go to Conv2d before the head"),
        ("all,-stem,-block", "leaves no layer"),
    ],
)
def test_a_name_that_matches_nothing_is_refused(layers: str, said: str) -> None:
    assert said in refused(replace(LORA, adapter_layers=layers))


def test_what_is_asked_of_layers_is_what_is_adapted() -> None:
    for layers, wanted in (("all", ["stem.0", "block.0"]), ("last:1", ["block.0"]), ("all,-match:block", ["stem.0"])):
        assert given("toy:small", replace(LORA, adapter_layers=layers))[1].record["layers"] == wanted, layers


@pytest.fixture(scope="module")
def toy(insects: Path, tmp_path_factory: pytest.TempPathFactory) -> engine.Result:
    recipe = {"lr": 0.01, "probe": False}
    return engine.finetune(asked("toy:small", insects, tmp_path_factory.mktemp("toy") / "run", recipe=recipe))


def test_every_command_takes_the_package_of_an_adapter(
    toy: engine.Result, insects: Path, tmp_path: Path, hubft: Hubft
) -> None:
    folder = toy.run.package
    said = "LoRA adapts its layers (rank 4, alpha 8, on 2 layers; with the head 975 parameters trained, "
    shown = " ".join(" ".join(cells) for cells in hubft("show", folder).cells())
    assert said in shown and "an adapter: 12 tensors are those of the base" in shown, shown
    card = (folder / package.CARD).read_text()
    assert said in card and ". torch.hub and hubft, as below, fold that into the weights" in card
    assert 'base = ...  # "toy:small" with a head of 3 outputs\nmodel = PeftModel.from_pretrained(base, ' in card
    image = next((insects / "val").rglob("*.png"))
    for words in (["evaluate", folder, insects], ["predict", folder, image]):
        ran = hubft(*words)
        assert ran.code == 0, ran
    smaller = engine.compress(str(folder), insects, "int8", tmp_path / "int8").run.package
    assert load.package(smaller).manifest.job.adapting == Adapting()


def test_a_package_of_an_adapter_is_fine_tuned_further(toy: engine.Result, insects: Path, tmp_path: Path) -> None:
    """In full, and with an adapter over what the first one made of the base."""
    reference = f"package:{toy.run.package}"
    whole = engine.finetune(asked(reference, insects, tmp_path / "whole", Adapting()))
    assert not load.package(whole.run.package).manifest.structure
    recipe = {"lr": 0.01, "probe": False}
    second = engine.finetune(asked(reference, insects, tmp_path / "second", recipe=recipe)).run.package
    (record,) = load.package(second).manifest.structure
    before, after = load.load(toy.run.package), load.load(second, prove=True)
    assert record["layers"] == ["stem.0", "block.0"]
    assert not torch.equal(answers(before), answers(after))
    assert torch.equal(answers(by_peft(before, second).merge_and_unload()), answers(after))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--rank 4", "--rank says how an adapter is made: write --adapter lora, or leave it out"),
        ("--adapter lora --rank 0", "--rank 0: must be in 1..4096"),
        ("--adapter lora --adapter-layers head", "a new head trains in full"),
        ("--adapter lora --rank 33", "--rank 33: no weight that it is for has a rank above 32: 8 is usual"),
        ("--adapter lora --adapter-layers match:nowhere", "match:nowhere selects no parameter"),
        ("--adapter lora --adapter-layers stem@0.5", "an adapter trains from the start on"),
        ("--adapter lora --adapter-layers nowhere:x", "--adapter-layers: 'nowhere:x' is no rule"),
        ("--adapter lora --train head", "--train 'head': no adapter would train with it"),
        ("--adapter lora --package delta", "--package delta: an adapter is stored alone as it is"),
        ("--adapter lora --compress int8", "the package of an adapter holds no weights that could be compressed"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: str, said: str, insects: Path, tmp_path: Path, hubft: Hubft
) -> None:
    ran = hubft("finetune", "toy:small", insects, *options.split(), "--output", tmp_path / "run")
    assert ran.code == 2 and said in ran.err and len(ran.err.splitlines()) == 1, ran
    assert not (tmp_path / "run").exists()


def test_without_peft_it_says_what_to_install(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        JobError, match=r"^adapter lora needs peft, which is not installed: pip install 'hubft\[peft\]'"
    ):
        engine.finetune(asked("toy:small", insects, tmp_path / "run"))


def test_merged_it_is_compressed_as_any_other(insects: Path, tmp_path: Path) -> None:
    merged = replace(LORA, merge=True)
    found = engine.finetune(asked("toy:small", insects, tmp_path / "run", merged, compress="int8")).run.package
    header = tensors.header(found / package.WEIGHTS)
    assert header["stem.0.weight"][0] == torch.int8


def test_tied_weights_have_no_adapter_of_their_own(checkout: Path) -> None:
    """Folded into one of two layers that are one tensor, it would change the other."""
    reference = f"hub:{checkout}:tied"
    loaded, adapted = given(reference, LORA)
    assert adapted.record["layers"] == ["stem.0"]
    assert "without an adapter: first (its weight is that of another layer, too), and 3 more" in adapted.note
    assert loaded.model.first.weight is loaded.model.second.weight
    said = refused(replace(LORA, adapter_layers="type:Linear"), reference)
    assert "(first: its weight is that of another layer, too)" in said


def test_a_head_tied_to_the_body_is_refused() -> None:
    pm = plugins.manager("toy")
    loaded = load_base(pm, Job("toy:small", "d"), pretrained=True)
    loaded.model.block.add_module("again", nn.Linear(32, 10))
    loaded.model.block.again.weight = loaded.model.head.weight
    with pytest.raises(
        JobError, match=r"head\.weight of its head is block\.again\.weight of its body, so the body would"
    ):
        adapters.give(loaded, LORA, torch.zeros(2, 3, 32, 32))


def test_a_new_head_of_several_layers_is_stored_whole(insects: Path, tmp_path: Path) -> None:
    """By name, with what it remembers: peft would else begin with another head, without a word."""
    run = asked("toy:small", insects, tmp_path / "run", head=Head(hidden=(8,)), recipe={"lr": 0.01})
    folder = engine.finetune(run).run.package
    stored = load_file(folder / lora.FILE)
    own = {name.removeprefix(lora.PREFIX) for name in stored if ".head." in name}
    assert own == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}
    pm, wanted = plugins.manager("toy"), Job("toy:small", "d", head=Head(hidden=(8,), outputs=3))
    fresh = adapt(pm, wanted, load_base(pm, wanted, pretrained=True)).model
    theirs = by_peft(fresh, folder)
    assert torch.equal(theirs.merge_and_unload().head[2].weight, stored[f"{lora.PREFIX}head.2.weight"])
    assert torch.equal(answers(theirs), answers(load.load(folder)))


class Unscaled(toy_family.Small):
    """With a norm that has statistics and no numbers that train: in training it goes with the layer that it feeds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem[1] = nn.BatchNorm2d(16, affine=False)


def test_a_norm_that_would_move_is_refused() -> None:
    pm = plugins.manager("toy")
    wanted = Job("toy:small", "d", adapting=LORA)
    loaded = replace(load_base(pm, wanted, pretrained=True), model=Unscaled())
    with pytest.raises(
        JobError, match=r"the statistics of its norm 'stem\.1' move in training, and an adapter does not"
    ):
        adapting.given(pm, wanted, loaded)


def test_the_proof_of_what_was_frozen_looks_at_the_base(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.update

    def leaking(state: loop.State, *its: Any) -> Any:
        done = real(state, *its)
        with torch.no_grad():
            dict(state.model.named_parameters())["block.0.base_layer.weight"].add_(1e-3)
        return done

    monkeypatch.setattr(loop, "update", leaking)
    with pytest.raises(TrainingError, match=r"'block\.0\.base_layer\.weight' moved during training"):
        engine.finetune(asked("toy:small", insects, tmp_path / "run", recipe={"probe": False}))


def test_killed_and_resumed_it_ends_with_the_same_bits(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows of a length that trains (DoRA), dropout, augmentation, and layers that begin late."""
    how = Adapting("lora", rank=3, dora=True)
    recipe = {"epochs": 3, "train": "head, block, stem@0.3", "augment": "standard", "lr": 0.01, "averaging": 0.8}
    parts: dict[str, Any] = {"recipe": recipe, "compute": {"checkpoint_every": 2}}
    whole = engine.finetune(asked("toy:small", insects, tmp_path / "whole", how, **parts)).run
    run = killed(asked("toy:small", insects, tmp_path / "killed", how, **parts), 5, monkeypatch)
    assert list(run.checkpoints.iterdir())
    engine.resume(run.folder)
    for file in (lora.FILE, lora.CONFIG):
        assert (run.package / file).read_bytes() == (whole.package / file).read_bytes(), file
    first, second = (
        [{**line, "images_per_second": 0, "seconds": {}} for line in one.history()] for one in (run, whole)
    )
    assert first == second and len(first) == 3


def test_dora_of_convolutions_is_computed_in_the_format_that_peft_can(insects: Path, tmp_path: Path) -> None:
    how = replace(LORA, dora=True)
    found = engine.finetune(asked("toy:small", insects, tmp_path / "run", how)).run
    assert json.loads(found.plan_file.read_text())["job"]["compute"]["memory_format"] == "contiguous"
    last = {"memory_format": "channels_last"}
    with pytest.raises(JobError, match="memory_format channels_last: peft does not compute dora of convolutions in it"):
        engine.finetune(asked("toy:small", insects, tmp_path / "other", how, compute=last))
    engine.finetune(asked("toy:small", insects, tmp_path / "plain", LORA, compute=last))


@pytest.mark.parametrize("recipe", [{"keep": "best", "patience": 2}, {"accumulate": 2, "optimizer": "sgd"}])
def test_other_options_work_with_it(recipe: dict[str, Any], insects: Path, tmp_path: Path) -> None:
    recipe = {"lr": 0.01, "probe": False, "stage_lr": ("stem=0.02",), "averaging": 0.0} | recipe
    folder = engine.finetune(asked("toy:small", insects, tmp_path / "run", recipe=recipe)).run.package
    assert torch.equal(answers(load.load(folder)), answers(by_peft(base("toy:small").model, folder).merge_and_unload()))


def test_the_frozen_part_in_front_of_adapters_is_computed_once(insects: Path, tmp_path: Path) -> None:
    console = Heard()
    one = replace(LORA, adapter_layers="last:1")
    run = asked("toy:small", insects, tmp_path / "run", one, recipe={"epochs": 4, "augment": "none"})
    engine.finetune(run, console)
    assert any("features before block" in line for line in console.lines), console.lines


def test_rates_of_adapters_are_those_of_adapters(insects: Path, tmp_path: Path) -> None:
    """Ten times that of the head, for all stages alike; what is given stays."""
    found = engine.finetune(asked("toy:small", insects, tmp_path / "run")).run
    settled = json.loads(found.plan_file.read_text())["job"]["recipe"]
    assert (settled["body_lr"], settled["layer_decay"]) == (10.0, 1.0)
    kept = adapting.rates(Recipe(body_lr=2.0, layer_decay=0.5), given("toy:small", LORA)[1])
    assert (kept.body_lr, kept.layer_decay) == (2.0, 0.5)
    stated = load.package(found.package).manifest.job.recipe
    assert stated.body_lr is None and stated.layer_decay is None


def test_a_distilled_student_has_an_adapter(toy: engine.Result, insects: Path, tmp_path: Path) -> None:
    teaching = Teaching(str(toy.run.package), baseline=False, hints=1.0)
    recipe = {"lr": 0.01}
    folder = engine.finetune(
        asked("toy:small", insects, tmp_path / "run", recipe=recipe, teaching=teaching)
    ).run.package
    assert torch.equal(answers(load.load(folder)), answers(by_peft(base("toy:small").model, folder).merge_and_unload()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(rank=10**6), "the rank of an adapter is '1000000', not within 1..4096"),
        (lambda record: record.update(rank=64), r"adapter_model\.safetensors: .* where the model has"),
        (
            lambda record: record["layers"].append("nowhere"),
            "its adapter is for 'nowhere', which is no layer of the base",
        ),
        (lambda record: record["layers"].append("stem.0"), "layers of an adapter is a list of names, each once"),
        (lambda record: record.update(more=1), "a record of lora has"),
        (lambda record: record.update(head="head"), "head of an adapter is a list of names"),
        (lambda record: record.update(dora=1), "rslora and dora of an adapter are true or false"),
    ],
)
def test_a_record_that_lies_is_refused(
    toy: engine.Result, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    moved = shutil.copytree(toy.run.package, tmp_path / "moved")
    packages.rewrite(moved, lambda data: change(data["structure"][0]))
    with pytest.raises(PackageError, match=said):
        load.load(moved)


def test_an_adapter_that_its_manifest_does_not_tell_of_is_refused(toy: engine.Result, tmp_path: Path) -> None:
    for change in (
        lambda data: data.update(structure=[]),
        lambda data: data["job"]["adapting"].update(adapter="none"),
        lambda data: data["files"].pop(lora.CONFIG),
    ):
        moved = shutil.copytree(toy.run.package, tmp_path / "moved", dirs_exist_ok=True)
        packages.rewrite(moved, change)
        with pytest.raises(PackageError, match=r"says otherwise|must be"):
            load.load(moved)


def test_it_goes_to_the_hub_and_comes_back(toy: engine.Result, tmp_path: Path, server: subprocess.Popen[str]) -> None:
    with serving(Hub(token=TOKEN)) as hub:
        user = Terminal(hub, tmp_path, server)
        shutil.copytree(toy.run.package, user.work / "run" / "package")
        user.fresh("-m", "hubft", "push", "run", "me/toys")
        files = hub.files("me/toys")
        assert files[lora.FILE] == (toy.run.package / lora.FILE).read_bytes() and lora.CONFIG in files
        assert b'PeftModel.from_pretrained(base, "me/toys")' in files["README.md"]
