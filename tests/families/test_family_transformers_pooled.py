"""Encoders of texts that were trained to give the mean of their tokens: a classifier's head is put on that mean."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import texts
import torch
from extras import needs
from torch import nn

from hubft import Job, engine
from hubft.adapting import Adapting
from hubft.families import plugins
from hubft.families.build import headed
from hubft.job import Head, Recipe
from hubft.publish import manifest as manifests
from hubft.share import load

transformers = needs("transformers", "transformers")
MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
RECIPE = Recipe(epochs=1, batch_size=16, lr=1e-3)


def sentences(folder: Path, mode: str = "mean_tokens", kind: str = "bert", **config: object) -> Path:
    """Return a model whose folder says what it was trained to give, as sentence-transformers writes it."""
    texts.model(folder, kind, initializer_range=0.2, **config)
    said = {"word_embedding_dimension": 32, **{f"pooling_mode_{one}": one == mode for one in MODES}}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(said))
    return folder


def adapted(folder: Path, pool: Any = "auto", task: str = "") -> Any:
    pm = plugins.manager("transformers")
    return headed(pm, pm.hook.load(name=str(folder), pretrained=True, config={}, task=task), Head(outputs=2, pool=pool))


def encoded() -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.tensor([[2, 4, 6, 9, 3], [2, 5, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }


@pytest.mark.parametrize("kind", ["bert", "electra"])
@torch.no_grad()
def test_the_head_is_given_the_mean_of_the_tokens_that_are_there(tmp_path: Path, kind: str) -> None:
    folder = sentences(tmp_path / "tiny", kind=kind)
    found, inputs = adapted(folder), encoded()
    names = [name for name in found.stages if "encoder.layer" in name]
    assert names == [f"{kind}.encoder.layer.{i}" for i in range(3)] and found.config["num_hidden_layers"] == 3
    hidden = transformers.AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    given = found.model.eval().base_model(**inputs)
    assert torch.allclose(given.last_hidden_state[:, 0], nn.functional.layer_norm(mean, (32,)), atol=0.1)
    if kind == "bert":
        assert torch.equal(given.pooler_output, given.last_hidden_state[:, 0].tanh())


def test_all_of_the_layer_can_be_trained(tmp_path: Path) -> None:
    found = adapted(sentences(tmp_path / "tiny"))
    layer = found.model.bert.encoder.layer[2]
    optimizer = torch.optim.Adam(found.model.parameters(), lr=0.01)
    before = {name: parameter.clone() for name, parameter in layer.named_parameters()}
    for _ in range(3):  # what leads to a weight of zero learns from the second step on
        optimizer.zero_grad()
        found.model(**encoded(), labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    same = [name for name, parameter in layer.named_parameters() if torch.equal(before[name], parameter)]
    assert same in ([], ["attention.self.key.bias"])  # softmax takes away what all scores share


@pytest.mark.parametrize(("mode", "kind", "pool"), [
    ("cls_token", "bert", "auto"), ("mean_tokens", "bert", "own"), ("mean_tokens", "mpnet", "auto"),
])  # fmt: skip
def test_a_model_stays_as_it_is(tmp_path: Path, mode: str, kind: str, pool: str) -> None:
    """Where it was trained for something else, the user says so, or its attention cannot be even over the tokens."""
    found = adapted(sentences(tmp_path / "tiny", mode, kind), pool)
    assert found.config["num_hidden_layers"] == 2 and "pooling" not in found.base.config | found.config


def test_words_are_tagged_as_before(tmp_path: Path) -> None:
    assert adapted(sentences(tmp_path / "tiny"), task="tokens").config["num_hidden_layers"] == 2


@pytest.mark.parametrize("package", ["full", "delta"])
def test_a_package_of_it_loads_everywhere_and_goes_on(tmp_path: Path, package: Any) -> None:
    data, folder = texts.table(tmp_path / "reviews.csv", 60), sentences(tmp_path / "tiny")
    job = Job(f"transformers:{folder}", data, recipe=RECIPE, package=package, output=tmp_path / "run")
    made = engine.finetune(job).run.package
    ours = load.load(made, prove=True)
    assert ours.config.num_hidden_layers == 3
    stated = manifests.read(made / "hubft.json")
    assert stated.base.config.get("pooling", "mean") == "mean" and stated.job.head.pool == "auto"
    if package == "full":
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(made).eval()
        assert torch.equal(ours(**encoded()).logits, theirs(**encoded()).logits)
    on = engine.finetune(Job(f"package:{made}", data, recipe=RECIPE, output=tmp_path / "on")).run.package
    assert load.load(on, prove=True).config.num_hidden_layers == 3


def test_an_adapter_alone_lies_over_the_model_as_its_library_builds_it(tmp_path: Path) -> None:
    peft = needs("peft", "peft")
    data, folder = texts.table(tmp_path / "reviews.csv", 60), sentences(tmp_path / "tiny")
    job = Job(f"transformers:{folder}", data, recipe=RECIPE, adapting=Adapting("lora"), output=tmp_path / "run")
    made = engine.finetune(job).run.package
    assert manifests.read(made / "hubft.json").job.head.pool == "own"
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        theirs = peft.PeftModel.from_pretrained(base, made).merge_and_unload().eval()
    assert torch.allclose(load.load(made, prove=True)(**encoded()).logits, theirs(**encoded()).logits, atol=1e-6)
