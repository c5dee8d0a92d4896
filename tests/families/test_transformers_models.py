"""The family `transformers` on models whose heads have more than one layer, and on decoders as classifiers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import texts
import torch
from extras import needs
from safetensors.torch import load_file, save_file

from hubft import Job, engine
from hubft.base.errors import FamilyError
from hubft.families import plugins, stages
from hubft.families.build import build, load_base, unfilled
from hubft.job import Head, Labels, Recipe
from hubft.publish import manifest as manifests
from hubft.share import load
from hubft.text.modality import MODALITY

transformers = needs("transformers", "transformers")
RECIPE = Recipe(epochs=2, batch_size=16, lr=3e-3)
FAST = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
HEADS = {
    "roberta": (("classifier.dense", "classifier.out_proj"), {"pad_token_id": 0}),
    "distilbert": (("pre_classifier", "classifier"), FAST),
    "electra": (("classifier.dense", "classifier.out_proj"), {"embedding_size": 16}),
    "deberta-v2": (("pooler.dense", "classifier"), {"pooler_hidden_size": 32}),
    "modernbert": (("head.dense", "head.norm", "classifier"), {"pad_token_id": 0}),
    "bert": (("classifier",), {}),
    "gpt2": (("score",), {"n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3}),
    "llama": (("score",), {"num_key_value_heads": 2}),
    "qwen2": (("score",), {"num_key_value_heads": 2}),
}
DECODERS = ("gpt2", "llama", "qwen2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[str, Path]:
    kind: str = request.param
    return kind, texts.model(tmp_path_factory.mktemp(kind) / "tiny", kind, **HEADS[kind][1])


each = pytest.mark.parametrize("model", HEADS, indirect=True)


def loaded(folder: Path, **options: Any) -> Any:
    return load_base(plugins.manager("transformers"), Job(f"transformers:{folder}", "-", **options), pretrained=True)


@each
def test_the_head_is_what_no_base_has(model: tuple[str, Path]) -> None:
    kind, folder = model
    found, again = loaded(folder), loaded(folder)
    assert found.stages["head"] == HEADS[kind][0] and found.head == HEADS[kind][0][-1]
    assert len(found.stages) >= 4 and set(stages.stage_of(found).values()) == set(found.stages)
    assert found.model.config.pad_token_id == 0
    state = again.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.model.state_dict().items()), (
        "fresh layers too"
    )


@each
def test_what_a_base_lacks_beside_its_head_is_refused(model: tuple[str, Path], tmp_path: Path) -> None:
    other = shutil.copytree(model[1], tmp_path / "less")
    state = load_file(other / "model.safetensors")
    gone = next(name for name in state if "1." in name and state[name].ndim == 2)
    del state[gone]
    save_file(state, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(FamilyError, match=rf"its weights lack \S*{gone}.* beside the head"):
        loaded(other)


@each
def test_a_run_ends_in_a_package_that_proves_itself(model: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = model
    job = Job(
        f"transformers:{folder}", texts.table(tmp_path / "reviews.csv", 60), recipe=RECIPE, output=tmp_path / "run"
    )
    package = engine.finetune(job).run.package
    load.load(package, prove=True)
    if kind in DECODERS:  # a head of hubft has a bias, that of transformers has none
        assert not (package / "config.json").exists()
        return
    inputs = manifests.read(package / "hubft.json").inputs
    batch = MODALITY.together([MODALITY.reader(inputs)(tmp_path / "reviews.csv")], inputs)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(package).eval()
    with torch.no_grad():
        assert torch.equal(load.load(package)(**batch).logits, theirs(**batch).logits)
    assert (
        theirs.config.id2label == {0: "bad", 1: "good"} and theirs.config.problem_type == "single_label_classification"
    )


@each
def test_an_architecture_without_weights_has_its_buffers(model: tuple[str, Path]) -> None:
    found = loaded(model[1])
    job = Job(f"transformers:{model[1]}", "-", head=Head(outputs=2))
    bare = unfilled(lambda: build(plugins.manager("transformers"), job, False, found.base.config)).model
    assert all(parameter.is_meta for parameter in bare.parameters())
    wanted = dict(found.model.named_buffers())
    assert set(wanted) == {name for name, _ in bare.named_buffers()}
    assert all(torch.equal(buffer, wanted[name]) for name, buffer in bare.named_buffers()), "positions, rotary tables"


@pytest.mark.parametrize("model", ["roberta", "distilbert"], indirect=True)
def test_all_layers_of_a_head_are_solved_and_only_the_last_has_the_users_unit(
    model: tuple[str, Path], tmp_path: Path
) -> None:
    data = tmp_path / "stars.csv"
    lines = [f"{text},{90.5 if label == 'good' else 40.25}" for text, label in texts.rows(80)]
    data.write_text("\n".join(["text,stars", *lines]) + "\n")
    recipe = Recipe(epochs=1, batch_size=16, lr=1e-3, train="head")
    job = Job(
        f"transformers:{model[1]}", data, labels=Labels(task="regression"), recipe=recipe, output=tmp_path / "run"
    )
    made = engine.finetune(job)
    before, after = loaded(model[1]).model.state_dict(), load_file(made.run.package / "model.safetensors")
    first, *_ = HEADS[model[0]][0]
    moved = {name for name, tensor in after.items() if name not in before or not torch.equal(tensor, before[name])}
    assert f"{first}.weight" in moved and all(name.startswith(HEADS[model[0]][0]) for name in moved)
    assert made.metrics.values["r2"].value > -0.1, "numbers in stars, not in deviations from their mean"
