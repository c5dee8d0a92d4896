"""A base in few bits while adapters train over it, by bitsandbytes: of a text model and a timm ViT, packed plain."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
import texts
import torch
from commands import Hubft
from extras import needs
from runs import Heard, job, killed
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from hubft import Job, engine
from hubft.adapting import Adapting
from hubft.base import digest
from hubft.base.errors import BaseMismatch, JobError, TrainingError
from hubft.compress import lora
from hubft.families import adapters, plugins, quantized, stages
from hubft.families.build import adapt, load_base
from hubft.hookspecs import Loaded
from hubft.job import Head, Recipe
from hubft.publish import package
from hubft.run import unquantized
from hubft.share import load
from hubft.train import frozen, loop

peft = needs("peft", "peft")
needs("bitsandbytes", "bitsandbytes")

HOW = ["nf4", "int8"]


def adapting(how: str, **options: Any) -> Adapting:
    return Adapting("lora", **{"rank": 4, "quantize_base": how} | options)


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    needs("transformers", "transformers")
    return f"transformers:{texts.model(tmp_path_factory.mktemp('text') / 'tiny', initializer_range=0.2)}"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.table(tmp_path_factory.mktemp("reviews") / "reviews.csv", 80)


def of_text(reference: str, data: Path, output: Path, how: Adapting, **parts: Any) -> Job:
    recipe = Recipe(**{"epochs": 2, "batch_size": 16, "lr": 2e-3} | parts.pop("recipe", {}))
    return Job(reference, data, recipe=recipe, adapting=how, output=output, **parts)


def given(reference: str, how: Adapting) -> tuple[Loaded, adapters.Adapted, nn.Module]:
    """Return a model over a base in few bits, and a copy of it as it was."""
    pm = plugins.manager(reference.partition(":")[0])
    wanted = Job(reference, "d", head=Head(outputs=3))
    torch.manual_seed(0)
    loaded = adapt(pm, wanted, load_base(pm, wanted, pretrained=False))
    for name, parameter in loaded.model.named_parameters():  # those that are zero at first
        if name == "head.weight" or name.endswith(".bias"):
            nn.init.normal_(parameter)
    loaded.model.eval()
    plain = copy.deepcopy(loaded.model)
    return loaded, adapters.give(loaded, how, torch.zeros(2, 3, *loaded.images.size)), plain


def shown(loaded: Loaded) -> Tensor:
    return torch.randn(2, 3, *loaded.images.size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", HOW)
def test_layers_in_few_bits_give_nearly_what_they_gave(how: str) -> None:
    """Before an adapter has learned anything; to the same numbers in training and without gradients."""
    loaded, adapted, plain = given("timm:test_vit", adapting(how, adapter_layers="last:1"))
    narrow = adapted.quantized
    assert narrow is not None and len(narrow.layers) == 4 * 6  # also those that no rule gave an adapter
    assert narrow.after < narrow.before / (2 if how == "int8" else 3)
    assert len(adapted.record["layers"]) < len(narrow.layers)
    inputs = shown(loaded)
    with torch.no_grad():
        without = loaded.model(inputs)
    stages.set_trainable(loaded.model, adapted.live)
    stages.train_mode(loaded.model)
    assert torch.equal(loaded.model(inputs), without)
    for name in narrow.layers:
        before, layer = plain.get_submodule(name), loaded.model.get_submodule(name)
        x = torch.randn(9, before.in_features, requires_grad=True)
        wanted, ours = before(x) - before.bias, layer(x) - before.bias
        error = (ours - wanted).norm() / wanted.norm()
        assert 0 < error < (0.02 if how == "int8" else 0.15), (name, error)
        gradients = [torch.autograd.grad(its.sum(), x)[0].flatten() for its in (wanted, ours)]
        assert torch.cosine_similarity(*gradients, 0) > 0.98, name


@pytest.mark.parametrize("how", HOW)
def test_a_bias_is_not_rounded_where_a_run_computes_in_bf16(how: str) -> None:
    """bitsandbytes casts it in place; and a weight that was seen in eval mode still lets gradients through."""
    loaded, adapted, plain = given("timm:test_vit", adapting(how))
    assert adapted.quantized is not None
    with torch.no_grad():
        loaded.model.eval()(shown(loaded))
    with torch.autocast("cpu", torch.bfloat16):
        loaded.model(shown(loaded)).float().sum().backward()
    for layer in adapted.quantized.layers:
        its: Any = loaded.model.get_submodule(layer)
        assert torch.equal(its.base_layer.bias, plain.get_submodule(layer).bias), layer
    assert all(p.grad is not None for name, p in loaded.model.named_parameters() if "lora_B" in name)


@pytest.mark.parametrize("how", HOW)
def test_weights_in_few_bits_are_no_part_of_the_state_and_all_of_them_are_proved(how: str) -> None:
    loaded, adapted, _ = given("timm:test_vit", adapting(how))
    assert adapted.quantized is not None
    names = [f"{layer}.base_layer" for layer in adapted.quantized.layers]
    state = loaded.model.state_dict()
    assert not {f"{name}.weight" for name in names} & set(state)
    assert {f"{name}.bias" for name in names} <= set(state)
    assert len(state) == len({name for name in state if "base_layer.weight" not in name or "patch_embed" in name})
    loaded.model.load_state_dict(state)
    with pytest.raises(RuntimeError, match="Missing key"):
        loaded.model.load_state_dict({name: its for name, its in state.items() if name != "norm.weight"})
    before = frozen.fingerprint(loaded.model.eval())
    for name in names:
        assert {f"{name}.weight", f"{name}.scale"} <= set(before)
    its: Any = loaded.model.get_submodule(names[0])
    its.scale[0] *= 1.5
    with pytest.raises(TrainingError, match=rf"'{names[0]}\.scale' moved"):
        frozen.verify(loaded.model, before)


@pytest.mark.parametrize("how", HOW)
def test_a_scale_that_moved_is_what_a_layer_computes_with(how: str) -> None:
    """So that a model which is put on another device, or copied, takes its scales along."""
    loaded, adapted, _ = given("timm:test_vit", adapting(how))
    twin: Any = copy.deepcopy(loaded.model)
    assert adapted.quantized is not None
    layer = twin.get_submodule(f"{adapted.quantized.layers[0]}.base_layer")
    before, kept = layer(torch.ones(1, layer.in_features)), shown(loaded)
    first = loaded.model(kept)
    layer.scale = layer.scale * 2
    after = layer(torch.ones(1, layer.in_features))
    assert torch.allclose(after - layer.bias, 2 * (before - layer.bias), atol=1e-4)
    assert torch.equal(loaded.model(kept), first)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_text_model_is_packaged_over_its_base_as_it_is(text: str, reviews: Path, tmp_path: Path) -> None:
    """Its figures and its self-test are those of the model that the package gives, and both models' are stated."""
    console = Heard()
    result = engine.finetune(of_text(text, reviews, tmp_path / "run", adapting("nf4")), console)
    folder = result.run.package
    manifest = load.package(folder).manifest
    base = load_base(plugins.manager("transformers"), Job(text, "d"), pretrained=True).model.state_dict()
    for name, sha256 in (manifest.delta or {}).items():
        assert sha256 == digest.of_tensor(base[name]), name
    assert "bert.encoder.layer.0.attention.self.query.weight" not in load_file(folder / lora.FILE)
    assert manifest.job.adapting.quantize_base == "nf4"
    stated = json.loads((result.run.report / "results.json").read_text())["quantized_base"]
    assert stated["how"] == "nf4" and len(stated["layers"]) == 13 and stated["after"] < stated["before"]
    assert manifest.settled["quantized base"].startswith("13 Linear layers in nf4 by bitsandbytes ")
    (said,) = console.about("base     in nf4 accuracy was ")
    assert "over the base as it is, as packaged, the paired difference is " in said

    ours = load.load(folder, prove=True)
    model, apart = nets_of(text), load_file(folder / lora.FILE)
    theirs = peft.PeftModel.from_pretrained(model, str(folder)).eval().merge_and_unload()
    assert {name for name in apart if "lora_" in name}
    ids = torch.tensor([ours.preprocess.encode("the lovely film song").ids])
    with torch.no_grad():
        asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        assert torch.equal(theirs(**asked).logits, ours(**asked).logits)


def nets_of(reference: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(reference.partition(":")[2], num_labels=2)


@pytest.mark.parametrize("how", HOW)
def test_merged_it_is_what_the_adapter_gives_over_the_plain_base(
    how: str, vit: str, insects: Path, tmp_path: Path
) -> None:
    runs = {}
    for merge in (False, True):
        wanted = adapting(how, merge=merge, adapter_layers="last:1")
        asked = job(insects, tmp_path / str(merge), adapting=wanted, recipe={"lr": 0.005, "probe": False})
        runs[merge] = engine.finetune(replace(asked, reference=vit))
    merged, apart = (load.load(runs[merge].run.package, prove=True) for merge in (True, False))
    inputs = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(merged.eval()(inputs), apart.eval()(inputs))
    for part in (merged, apart):
        assert not any("scale" in name or "base_layer" in name for name in part.state_dict())
        assert {type(module).__module__.partition(".")[0] for module in part.modules()} <= {"torch", "timm"}
    pm = plugins.manager("timm")
    base = load_base(pm, Job(vit, "d"), pretrained=True).model.state_dict()
    changed = {name for name, its in merged.state_dict().items() if name in base and not torch.equal(its, base[name])}
    (record,) = load.package(runs[False].run.package).manifest.structure
    assert {f"{layer}.weight" for layer in record["layers"]} == {n for n in changed if not n.startswith("head.")}
    proofs = {merge: done.run.package / package.MANIFEST for merge, done in runs.items()}
    frozen_in = {merge: json.loads(path.read_text())["frozen"]["tensors"] for merge, path in proofs.items()}
    assert frozen_in[False] - frozen_in[True] == len(record["layers"])


@pytest.mark.parametrize("how", HOW)
def test_killed_and_resumed_it_ends_with_the_same_bits(
    how: str, text: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With DoRA and layers that begin late; a checkpoint holds no weight in few bits, and none of the base."""
    wanted = adapting(how, rank=3, dora=how == "nf4")
    parts: dict[str, Any] = {"recipe": {"train": "head, last:1, all@0.4", "averaging": 0.8}}
    whole = engine.finetune(of_text(text, reviews, tmp_path / "whole", wanted, **parts)).run
    compute = {"compute": replace(Job(text, reviews).compute, checkpoint_every=3)}
    run = killed(of_text(text, reviews, tmp_path / "killed", wanted, **parts, **compute), 6, monkeypatch)
    (newest, *_) = sorted(run.checkpoints.glob("step-*"), reverse=True)
    with safe_open(newest / "state.safetensors", "pt") as file:
        held = [name for name in file.keys() if name.startswith("model/") and "query.base_layer." in name]  # noqa: SIM118
    assert held and all(name.endswith("base_layer.bias") for name in held)
    engine.resume(run.folder)
    for file in (lora.FILE, lora.CONFIG):
        assert (run.package / file).read_bytes() == (whole.package / file).read_bytes(), file


def test_the_proof_of_what_was_frozen_looks_at_the_base_in_few_bits(
    text: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.update

    def leaking(state: loop.State, *its: Any) -> Any:
        done = real(state, *its)
        weight = dict(state.model.named_parameters())["bert.encoder.layer.0.output.dense.base_layer.weight"]
        weight.data[0] += 1
        return done

    monkeypatch.setattr(loop, "update", leaking)
    with pytest.raises(TrainingError, match=r"layer\.0\.output\.dense\.base_layer\.weight' moved during training"):
        engine.finetune(of_text(text, reviews, tmp_path / "run", adapting("nf4")))


def test_a_base_that_changed_meanwhile_is_refused(
    text: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = unquantized.load_base

    def other(*its: Any, **options: Any) -> Loaded:
        loaded: Loaded = real(*its, **options)
        with torch.no_grad():
            loaded.model.get_parameter("bert.pooler.dense.weight")[0, 0] += 1
        return loaded

    monkeypatch.setattr(unquantized, "load_base", other)
    with pytest.raises(BaseMismatch, match=r"its tensor bert\.pooler\.dense\.weight has other bytes than when the run"):
        engine.finetune(of_text(text, reviews, tmp_path / "run", adapting("int8")))


def test_merged_it_is_compressed_as_any_other(text: str, reviews: Path, tmp_path: Path) -> None:
    wanted = of_text(text, reviews, tmp_path / "run", adapting("nf4", merge=True), compress="int8")
    folder = engine.finetune(wanted).run.package
    with safe_open(folder / package.WEIGHTS, "pt") as file:
        assert file.get_tensor("bert.pooler.dense.weight").dtype == torch.int8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--quantize-base nf4", "--quantize-base says how an adapter is made: write --adapter lora, or leave it out"),
        ("--adapter lora --quantize-base fp4", 'Invalid value "fp4" for --quantize-base'),
        ("--adapter lora --quantize-base nf4", "--quantize-base nf4: this model has no plain Linear layer before its"),
    ],
)
def test_what_cannot_be_quantized_is_told(options: str, said: str, insects: Path, tmp_path: Path, hubft: Hubft) -> None:
    """The toy has convolutions alone."""
    ran = hubft("finetune", "toy:small", insects, *options.split(), "--output", tmp_path / "run")
    assert ran.code == 2 and said in ran.err, ran
    assert not (tmp_path / "run").exists()


def test_where_bitsandbytes_is_missing_or_cannot_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(plain: nn.Module) -> nn.Module:
        raise RuntimeError("no kernel\nfor this processor")

    monkeypatch.setitem(quantized.MAKE, "nf4", failing)
    with pytest.raises(JobError, match=r"^quantize_base nf4: bitsandbytes cannot do it here, on cpu: .*no kernel"):
        given("timm:test_vit", adapting("nf4"))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(JobError, match=r"^quantize_base int8 needs bitsandbytes, which is not installed: pip install"):
        given("timm:test_vit", adapting("int8"))
