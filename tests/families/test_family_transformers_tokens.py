"""Models that tag words: a tiny BERT from its folder to a package, and the package in each of its ways."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sentences
import texts
from commands import Hubft
from extras import needs
from runs import stopped

from hubft import HubftError, Job, engine
from hubft.deploy.export import exportable
from hubft.families.plugins import ROOT
from hubft.inputs import Words
from hubft.job import Compute, Recipe, Teaching
from hubft.publish import manifest as manifests
from hubft.run.prepare import prepare
from hubft.share import inference, load
from hubft.text import tokens

needs("transformers", "transformers")
RECIPE = Recipe(epochs=12, batch_size=8, lr=1e-2, layer_decay=1.0)
BAD = ((["the"], ["O", "O"]), (["the"], [7]))
TEXT = "the lovely  warm room cold awful"


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
    """A run on sentences, two of them wrong."""
    folder = tmp_path_factory.mktemp("tokens")
    model, data = texts.model(folder / "tiny"), sentences.table(folder / "data.jsonl", 160, BAD)
    job = Job(f"transformers:{model}", data, recipe=RECIPE, output=folder / "run")
    return Made(model, data, engine.finetune(job))


def job(made: Made, **options: Any) -> Job:
    output = made.data.parent / "none"
    return Job(f"transformers:{made.model}", made.data, **{"recipe": RECIPE, "output": output, **options})


def test_it_learns_the_tags_of_words(made: Made) -> None:
    metrics = made.result.metrics
    assert metrics.headline == "f1" and metrics.head.value > 0.9 and metrics.values["token_accuracy"].value > 0.95
    assert metrics.head.low is not None and metrics.details["labels"] == ["LOC", "PER"]
    assert json.loads((made.result.run.report / "results.json").read_text())["quarantined"] == {
        "row 161": "it has 1 words and 2 tags",
        "row 162": "tag 1 is no text, but '7'",
    }
    stated = manifests.read(made.package / "hubft.json")
    assert isinstance(stated.inputs, Words) and stated.task.names == sentences.TAGS
    assert "Gives each word of sentences one of 5 tags" in (made.package / "README.md").read_text()


ASK = """
import sys, torch
model = torch.hub.load({root!r}, "finetuned", {package!r}, source="local")
assert sys.modules["hubft"].__file__.startswith({root!r})
ids = torch.tensor([model.preprocess.encode({text!r}.split(), is_pretokenized=True).ids])
inputs = {{"input_ids": ids, "attention_mask": torch.ones_like(ids)}}
ours = model(**inputs).logits
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
theirs = AutoModelForTokenClassification.from_pretrained({package!r}).eval()
assert torch.equal(ours, theirs(**inputs).logits)
assert theirs.config.id2label[1] == "B-PER" and theirs.config.label2id["O"] == 4
assert AutoTokenizer.from_pretrained({package!r})({text!r})["input_ids"] == ids[0].tolist()
ask = pipeline("token-classification", {package!r}, aggregation_strategy="simple")
print("the same:", *((one["entity_group"], int(one["start"]), int(one["end"])) for one in ask({text!r})))
"""


def test_it_loads_by_torch_hub_and_by_transformers_to_the_same_bits(made: Made, tmp_path: Path) -> None:
    moved = shutil.copytree(made.package, tmp_path / "moved")
    code = ASK.format(root=str(ROOT), package=str(moved), text=TEXT)
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1:] == ["the same: ('PER', 4, 16) ('LOC', 22, 32)"], ran.stderr[-2000:]


def test_predict_on_the_command_line(made: Made, hubft: Hubft) -> None:
    ran = hubft("predict", made.result.run.folder, TEXT, "the")
    first, second = ran.out.splitlines()
    assert second == "the: nothing"
    assert "PER " in first and " lovely warm [4:16], LOC " in first and first.endswith(" cold awful [22:32]")
    said = json.loads(hubft("predict", made.package, TEXT, "--json").out)
    assert said["tags"] == ["O", "B-PER", "I-PER", "O", "B-LOC", "I-LOC"] and said["words"] == TEXT.split()
    assert [(one["label"], one["text"], one["start"], one["end"]) for one in said["spans"]] == [
        ("PER", "lovely warm", 4, 16),
        ("LOC", "cold awful", 22, 32),
    ]
    assert all(0.5 < one["score"] < 1 for one in said["spans"])
    head, line = hubft("predict", made.package, TEXT, "--csv").out.splitlines()
    assert head == "sentence,spans,tags,error" and "lovely warm" in line
    ran = hubft("predict", made.package, TEXT, "--top", 2)
    assert ran.code == 2 and "--top 2: must be left out: a model of the kind tokens ranks no names" in ran.err


def test_evaluate_on_the_command_line(made: Made, hubft: Hubft, tmp_path: Path) -> None:
    fresh = sentences.table(tmp_path / "more.jsonl", 40, seed=7)
    ran = hubft("evaluate", made.package, fresh)
    assert ran.code == 0 and all(f" {name} " in ran.out for name in ("F1", "token accuracy", "LOC", "PER")), ran
    found = json.loads(hubft("evaluate", made.package, fresh, "--json").out)
    assert found["f1"]["value"] > 0.9 and found["f1"]["n"] == 40
    opened = load.opened(load.package(made.package))
    one = inference.evaluate(opened, fresh).outcomes[0]
    ((words, tags), *_) = sentences.rows(1, seed=7)
    assert one.true["tags"] == tags and one.said["words"] == words and len(one.said["tags"]) == len(tags)


def test_it_is_exported_and_the_file_says_the_same(made: Made, hubft: Hubft, tmp_path: Path) -> None:
    needs("onnx", "onnx")
    needs("onnxruntime", "onnx")
    ran = hubft("export", made.package, "--format", "onnx", "--output", tmp_path / "a.onnx")
    assert ran.code == 0, ran
    both = [json.loads(hubft("predict", one, TEXT, "--json").out) for one in (made.package, tmp_path / "a.onnx")]
    assert both[0]["tags"] == both[1]["tags"] and len(both[1]["spans"]) == 2


def test_a_format_of_one_size_is_refused_in_a_line(made: Made) -> None:
    found = exportable.of(load.opened(load.package(made.package)))
    assert len({tuple(one.shape) for one in found.answers}) == 1
    with pytest.raises(HubftError, match="this model gives outputs for each token of one: take onnx, openvino or pt2"):
        found.about("litert", "fp32", 1)
    assert not found.about("onnx", "fp32", 0).whole


def test_resume_is_bit_exact(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, epochs=2)
    whole = engine.finetune(job(made, recipe=recipe, output=tmp_path / "whole"))
    stopped(job(made, recipe=recipe, output=tmp_path / "cut"), 21, monkeypatch)
    again = engine.resume(tmp_path / "cut")
    files = [(run.package / "model.safetensors").read_bytes() for run in (whole.run, again.run)]
    assert files[0] == files[1]
    assert whole.metrics.plain() == again.metrics.plain()


def test_a_run_goes_on_from_a_package(made: Made, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, lr=1e-4)
    found = engine.finetune(Job(f"package:{made.package}", made.data, recipe=recipe, output=tmp_path / "on"))
    assert found.metrics.head.value > 0.9


def test_a_word_has_its_tag_at_its_first_token(made: Made, tmp_path: Path) -> None:
    """Also of more tokens; what lies behind the input has none, and is told."""
    sentence = (["cold", "song-song-song", "the"] * 7, ["B-LOC", "I-LOC", "O"] * 7)
    data = sentences.table(tmp_path / "long.jsonl", 60, (sentence,) * 8)
    prepared = prepare(Job(f"transformers:{made.model}", data, recipe=RECIPE, output=tmp_path / "run"))
    views: Any = prepared.training
    place = next(i for i, sample in enumerate(views.samples) if "song-song-song" in sample.text)
    ids, tags = views[0, place]
    assert len(ids) == len(tags) == 32, "as long as the model takes"
    assert tags[:9].tolist() == [-100, 0, 2, -100, -100, -100, -100, 4, 0]
    number = sum("song-song-song" in sample.text for sample in views.samples)
    assert views.lost == number * (21 - len([tag for tag in tags if tag >= 0])) > 0
    (told,) = inference.modality.of(views.inputs).remarks(views)
    assert f"{views.lost:,} of " in told and "training words have none and are not learned" in told


@pytest.mark.parametrize(
    ("kind", "heads", "facts"),
    [
        ("distilbert", ["classifier"], {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}),
        ("modernbert", ["head.dense", "head.norm", "classifier"], {"cls_token_id": 2, "sep_token_id": 3}),
    ],
)
def test_a_head_of_more_layers_starts_fresh(
    made: Made, tmp_path: Path, kind: str, heads: list[str], facts: dict[str, Any]
) -> None:
    model = texts.model(tmp_path / "other", kind, pad_token_id=0, **facts)
    recipe = replace(RECIPE, epochs=1)
    found = engine.finetune(Job(f"transformers:{model}", made.data, recipe=recipe, output=tmp_path / "run"))
    prepared = prepare(Job(f"transformers:{model}", made.data, recipe=recipe, output=tmp_path / "none"))
    assert prepared.loaded.stages["head"] == tuple(heads)
    assert load.load(found.run.package, prove=True) is not None


def test_tokens_of_bytes_begin_a_word_with_a_blank() -> None:
    tokenizers = needs("tokenizers", "transformers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0, "a": 1, "\u0120a": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain = Words(made.to_str(), 8)
    spaced = replace(plain, tokenizer=tokens.spaced(plain.tokenizer))
    ids = [tokens.tokenizer(one).encode(["a", "a"], is_pretokenized=True).ids for one in (plain, spaced)]
    assert ids == [[1, 1], [2, 2]] and tokens.spaced(spaced.tokenizer) == spaced.tokenizer


def test_options_without_a_meaning_are_refused(made: Made) -> None:
    for options, said in (
        ({"recipe": replace(RECIPE, smoothing=0.1)}, "--smoothing"),
        ({"recipe": replace(RECIPE, class_weights=("O=0.1",))}, "--class-weights O=0.1: it has no meaning for tokens"),
        ({"recipe": replace(RECIPE, head_weights=("uncertainty",))}, "--head-weights uncertainty: it has no meaning"),
        ({"teaching": Teaching(teacher=str(made.result.run.folder))}, "a model of the kind tokens cannot be distilled"),
        ({"recipe": replace(RECIPE, augment="light")}, "--augment light: words with tags are not augmented"),
        ({"recipe": replace(RECIPE, sampler="balanced")}, "--sampler balanced: a sentence has more than one tag"),
        ({"size": 65}, "--size 65: the model takes words of 32 tokens at most"),
        ({"head": replace(Job("x:y", "d").head, dropout=0.1)}, "--dropout 0.1: the head of a model that tags"),
    ):
        with pytest.raises(HubftError) as caught:
            prepare(job(made, **options))
        assert said in caught.value.typed()


def test_parts_of_a_step_and_workers_change_nothing(made: Made, tmp_path: Path) -> None:
    still = texts.model(tmp_path / "still", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    recipe, reference = replace(RECIPE, epochs=1), f"transformers:{still}"
    jobs = {
        "one": Job(reference, made.data, recipe=recipe, output=tmp_path / "one"),
        "two": Job(reference, made.data, recipe=recipe, compute=Compute(workers=2), output=tmp_path / "two"),
        "parts": Job(reference, made.data, recipe=replace(recipe, accumulate=3), output=tmp_path / "parts"),
        "exact": Job(reference, made.data, recipe=recipe, compute=Compute(exact=True), output=tmp_path / "exact"),
    }
    runs = {name: engine.finetune(one) for name, one in jobs.items()}
    files = {name: (run.run.package / "model.safetensors").read_bytes() for name, run in runs.items()}
    assert files["one"] == files["two"]
    assert runs["one"].metrics.loss == pytest.approx(runs["parts"].metrics.loss, rel=1e-3)
    assert runs["one"].metrics.loss == pytest.approx(runs["exact"].metrics.loss, rel=1e-3)
