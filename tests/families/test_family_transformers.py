"""The family `transformers`: a tiny BERT from its folder to a package, and the package in each of its ways."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import packages
import pytest
import texts
import torch
from commands import Hubft
from extras import needs

from hubft import HubftError, Job, engine
from hubft.base.errors import FamilyError, JobError
from hubft.families import plugins, stages
from hubft.families.build import build, load_base, unfilled
from hubft.families.plugins import ROOT
from hubft.inputs import Text
from hubft.job import Compute, Head, Recipe
from hubft.publish import manifest as manifests
from hubft.share import inference, load

transformers = needs("transformers", "transformers")
RECIPE = Recipe(epochs=8, batch_size=16, lr=3e-3)


@dataclass(frozen=True)
class Made:
    model: Path
    data: Path
    result: engine.Result

    @property
    def package(self) -> Path:
        return self.result.run.package


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run on texts, two of them without words."""
    folder = tmp_path_factory.mktemp("text")
    model = texts.model(folder / "tiny", initializer_range=0.2)
    data = texts.table(folder / "reviews.csv", 160, (("", "good"), ("   ", "bad")))
    job = Job(f"transformers:{model}", data, recipe=RECIPE, output=folder / "run")
    return Made(model, data, engine.finetune(job))


def loaded(model: Path, **options: Any) -> Any:
    job = Job(f"transformers:{model}", "-", **options)
    return load_base(plugins.manager("transformers"), job, pretrained=True)


def test_it_learns_from_texts(made: Made) -> None:
    assert made.result.metrics.head.value > 0.75
    assert json.loads((made.result.run.report / "results.json").read_text())["quarantined"] == {
        "row 161": "'text' is empty",
        "row 162": "'text' is empty",
    }


def test_the_package_states_its_inputs_and_needs_neither_base_nor_its_path(made: Made) -> None:
    stated = json.loads((made.package / "hubft.json").read_text())
    more = {"types": True, "pair": False}
    assert stated["inputs"] == {"kind": "text", "tokenizer": "tokenizer.json", "length": 16, "padding": 0, **more}
    assert stated["files"]["tokenizer.json"]["role"] == "tokenizer"
    assert stated["job"]["reference"] == stated["base"]["reference"] == "transformers:tiny"
    assert "transformers" in stated["versions"] and "tokenizers" in stated["versions"]
    assert all(str(made.model.parent) not in path.read_text("utf-8") for path in made.package.glob("*.[jm][sd]*"))
    read = manifests.read(made.package / "hubft.json").inputs
    assert isinstance(read, Text) and read.tokenizer == (made.model / "tokenizer.json").read_text()


ASK = """
import sys, torch
model = torch.hub.load({root!r}, "finetuned", {package!r}, source="local")
assert sys.modules["hubft"].__file__.startswith({root!r})
ids = torch.tensor([model.preprocess.encode({text!r}).ids])
inputs = {{"input_ids": ids, "attention_mask": torch.ones_like(ids)}}
ours = model(**inputs).logits
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
theirs = AutoModelForSequenceClassification.from_pretrained({package!r}).eval()(**inputs).logits
assert torch.equal(ours, theirs)
tokenizer = AutoTokenizer.from_pretrained({package!r})
many = [{text!r}, "the dull", "the " + "film song " * 30, ""]
made = tokenizer(many, truncation=True, padding=True)
for one, ids, mask in zip(many, made["input_ids"], made["attention_mask"], strict=True):
    own = model.preprocess.encode(one).ids
    rest = [0] * (len(ids) - len(own))
    assert len(own) <= 16 and ids == own + rest and mask == [1] * len(own) + rest
assert tokenizer.model_max_length == 16 and set(made) == {{"input_ids", "attention_mask"}}
said = pipeline("text-classification", {package!r})({text!r})[0]
assert said["label"] == model.hubft["classes"][int(ours.argmax())]
assert abs(said["score"] - float(ours.softmax(1).max())) < 1e-6
print("the same:", said["label"])
"""


def test_it_loads_by_torch_hub_and_by_transformers_to_the_same_bits(made: Made, tmp_path: Path) -> None:
    """In a process that has neither hubft on its path nor the base."""
    moved = shutil.copytree(made.package, tmp_path / "moved")
    code = ASK.format(root=str(ROOT), package=str(moved), text="the lovely film song")
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1:] == ["the same: good"], ran.stderr[-2000:]


def test_it_proves_itself_and_a_package_with_another_tokenizer_does_not_load(made: Made, tmp_path: Path) -> None:
    load.load(made.package, prove=True)
    moved = shutil.copytree(made.package, tmp_path / "moved")
    tokenizer = moved / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"lovely"', '"lovelx"'))
    with pytest.raises(HubftError, match=r"tokenizer\.json was altered"):
        load.load(moved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["files"].pop("tokenizer.json"), r"files .* must be .*tokenizer\.json"),
        (lambda data: data["inputs"].update(length=0), "length 0 must be a whole number from 1 on"),
        (
            lambda data: data["base"]["config"].update(auto_map={"AutoModel": "own.M"}),
            "this package runs the code of",
        ),
        (lambda data: data["base"]["config"].update(num_hidden_layers=10**9), "num_hidden_layers of 1,000,000,000"),
        (
            lambda data: data["base"].update(config={}),
            "there is no such|is neither|cannot be|write transformers",
        ),
    ],
)
def test_a_manifest_that_lies_is_refused(made: Made, tmp_path: Path, change: Any, said: str) -> None:
    moved = shutil.copytree(made.package, tmp_path / "moved")
    packages.rewrite(moved, change)
    with pytest.raises(HubftError, match=said):
        load.load(moved)


def test_the_self_test_proves_the_tokenizer(made: Made) -> None:
    """Its examples are texts: another tokenizer of the same vocabulary gives other logits."""
    package = load.package(made.package)
    inputs: Any = package.manifest.inputs
    other = json.loads(inputs.tokenizer)
    words = other["model"]["vocab"]
    words["lovely"], words["the"] = words["the"], words["lovely"]
    swapped = replace(load.filled(package), preprocess=replace(inputs, tokenizer=json.dumps(other)))
    from hubft.publish import selftest

    with pytest.raises(HubftError, match="the self-test gives logits that differ"):
        selftest.prove(package, swapped)


def test_predict_and_evaluate_on_the_command_line(made: Made, hubft: Hubft, tmp_path: Path) -> None:
    said = hubft("predict", made.result.run.folder, "the lovely film 😀", "a dull / grey book", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["text"] for line in lines] == ["the lovely film 😀", "a dull / grey book"]
    assert [line["class"] for line in lines] == ["good", "bad"]
    fresh = texts.table(tmp_path / "more.csv", 40)
    measured = json.loads(hubft("evaluate", made.package, fresh, "--json").out)
    assert measured["accuracy"]["value"] > 0.75


def test_padding_changes_no_answer(made: Made) -> None:
    opened = load.opened(load.package(made.package))
    short, long = "the lovely film", "the dull book song meal room film book song meal"
    alone = [next(inference.predict(opened, [text])).said["probabilities"] for text in (short, long)]
    together = [answer.said["probabilities"] for answer in inference.predict(opened, [short, long])]
    assert alone == [pytest.approx(one, abs=1e-5) for one in together]


def test_a_run_goes_on_from_a_package_of_texts(made: Made, tmp_path: Path) -> None:
    job = Job(f"package:{made.package}", made.data, recipe=replace(RECIPE, epochs=1), output=tmp_path / "on")
    found = engine.finetune(job)
    assert found.metrics.head.value > 0.75
    assert manifests.read(found.run.package / "hubft.json").base.architecture == "transformers:tiny"
    load.load(found.run.package, prove=True)


# ---- load --------------------------------------------------------------------------------------------


def test_a_base_without_a_head_has_the_same_bits_each_time(made: Made) -> None:
    one, other = (loaded(made.model).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_stages_head_and_architecture(made: Made) -> None:
    found = loaded(made.model)
    assert found.head == "classifier" and found.inputs.length == 32  # what its tokenizer says, of 40 positions
    names = ("stem", "bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler", "head")
    assert tuple(found.stages) == names and set(stages.stage_of(found).values()) == set(names)
    pm, job = plugins.manager("transformers"), Job("transformers:tiny", "-", head=Head(outputs=3))
    bare = unfilled(lambda: build(pm, job, False, found.base.config)).model
    assert all(parameter.is_meta for parameter in bare.parameters())
    assert not any(buffer.is_meta for buffer in bare.buffers())  # of positions: no file has them
    assert torch.equal(bare.bert.embeddings.position_ids, found.model.bert.embeddings.position_ids)


@contextmanager
def changed(model: Path, **facts: Any) -> Iterator[Path]:
    """Give a copy of a model whose config.json says other things."""
    other = shutil.copytree(model, model.parent / "changed")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, **facts}))
    try:
        yield other
    finally:
        shutil.rmtree(other)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"auto_map": {"AutoModel": "own.Model"}}, "brings code of its own, 'own.py', which runs"),
        ({"text_config": {"auto_map": {"AutoModel": "own.Model"}}}, "its config asks for auto_map"),
        ({"quantization_config": {"quant_method": "own"}}, "its config asks for quantization_config"),
        ({"attn_implementation": "somebody/kernel"}, "its config asks for attn_implementation"),
        ({"model_type": "berd"}, "knows no models of type 'berd'.*bert"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers of 1,000,000,000"),
        ({"num_hidden_layers": 3}, r"its weights lack .*layer\.2.* beside the head classifier"),
        ({"vocab_size": 99}, "cannot be loaded as a classifier of texts"),
    ],
)
def test_a_config_that_will_not_do_is_refused_in_a_line(made: Made, facts: dict[str, Any], said: str) -> None:
    with changed(made.model, **facts) as other, pytest.raises(FamilyError, match=said):
        loaded(other)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_is_missing_is_named(made: Made, missing: str) -> None:
    with changed(made.model) as other:
        (other / missing).unlink()
        with pytest.raises(FamilyError, match=f"has no {missing}"):
            loaded(other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 33}, "--size 33: the model takes texts of 32 tokens at most"),
        ({"white": 255}, "--white 255: texts have no grey"),
        ({"compute": Compute(memory_format="channels_last")}, "--memory-format channels_last: texts have no channels"),
        ({"recipe": Recipe(head_weights=("good=2",))}, "--head-weights good=2: it has no meaning for classification"),
        ({"recipe": Recipe(views=7)}, "--views 7: every view of a text is the same one"),
    ],
)
def test_options_without_a_meaning_for_texts_are_refused(made: Made, options: dict[str, Any], said: str) -> None:
    job = Job(f"transformers:{made.model}", made.data, output=made.data.parent / "none", **options)
    with pytest.raises(JobError) as caught:
        engine.finetune(job)
    assert said in caught.value.typed()
    assert not (made.data.parent / "none").exists()
