"""Language models: a tiny Llama from its folder to a package, and the package in each of its ways."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import language
import pytest
import torch
from commands import Hubft
from extras import needs
from runs import stopped

from hubft import HubftError, Job, engine
from hubft.families.plugins import ROOT
from hubft.job import Compute, Recipe
from hubft.publish import manifest as manifests
from hubft.run.prepare import prepare
from hubft.share import inference, load
from hubft.writing import Writing

needs("transformers", "transformers")
RECIPE = Recipe(epochs=12, batch_size=8, lr=1e-2, layer_decay=1.0)


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
    """A run on prompts with completions, two of them empty, of a model with tied embeddings."""
    folder = tmp_path_factory.mktemp("language")
    model = language.model(folder / "tiny")
    (model / "generation_config.json").write_text(json.dumps({"repetition_penalty": 1.25, "eos_token_id": 2}))
    data = language.table(folder / "pairs.jsonl", 60, more=({"prompt": "a", "completion": " "}, {"prompt": "b"}))
    job = Job(f"transformers:{model}", data, recipe=RECIPE, output=folder / "run")
    return Made(model, data, engine.finetune(job))


def job(made: Made, **options: Any) -> Job:
    output = made.data.parent / "none"
    return Job(f"transformers:{made.model}", made.data, **{"recipe": RECIPE, "output": output, **options})


def written(package: Path, *prompts: str, **how: Any) -> list[str]:
    opened = load.opened(load.package(package))
    asked = inference.modality.of(opened.manifest.inputs).asked(list(prompts), "").inputs
    return [answer.said["written"] for answer in inference.answers(opened, asked, Writing(max_tokens=12, **how))]


def test_it_learns_what_follows(made: Made) -> None:
    metrics = made.result.metrics
    assert metrics.headline == "perplexity" and metrics.head.value < 1.5 and metrics.head.better == "lower"
    assert metrics.values["exact_match"].value > 0.6 and metrics.head.low is not None
    assert json.loads((made.result.run.report / "results.json").read_text())["quarantined"] == {
        "row 61": "its completion is empty",
        "row 62": "its completion is empty",
    }


def test_the_model_before_its_training_stands_beside_it(made: Made) -> None:
    before = made.result.before
    assert before and before.metrics.head.value > 3 > made.result.metrics.head.value
    change = made.result.metrics.head.value - before.metrics.head.value
    assert before.difference.value == pytest.approx(change) and (before.difference.high or 0) < 0
    found = json.loads((made.result.run.report / "results.json").read_text())["before"]
    assert found["metrics"]["perplexity"]["value"] == before.metrics.head.value
    assert f"Before training: {before.metrics.head.value:.3f}" in (made.package / "README.md").read_text()


def test_what_is_measured_as_exact_is_what_greedy_writing_gives(made: Made) -> None:
    prompts = dict(language.pairs(24))
    found = dict(zip(prompts, written(made.package, *prompts), strict=True))
    opened = load.opened(load.package(made.package))
    said = inference.evaluate(opened, language.table(made.data.parent / "again.jsonl", 24)).outcomes
    exact = [prompts[prompt] == text for prompt, text in found.items()]
    assert exact == [one.said["exact"] for one in said] and sum(exact) > 12


def test_the_choice_is_the_answer_that_the_model_finds_the_likeliest(made: Made, tmp_path: Path) -> None:
    """As anybody would compute it with transformers, a document and an answer at a time; also of a package that learned
    little."""
    stated = manifests.read(made.package / "hubft.json").inputs
    assert isinstance(stated, language.Documents) and stated.choices == tuple(sorted(language.WORDS))
    assert made.result.metrics.values["choice_accuracy"].value > 0.6
    recipe = replace(RECIPE, epochs=1, lr=1e-3)
    found = engine.finetune(job(made, recipe=recipe, output=tmp_path / "little"))
    opened, pairs = load.opened(load.package(found.run.package)), language.pairs(24)
    said = inference.evaluate(opened, language.table(tmp_path / "again.jsonl", 24))
    model: Any = load.load(found.run.package)
    wanted = [max(language.WORDS, key=partial(likely, model, prompt)) == word for prompt, word in pairs]
    assert [one.said["chosen"] for one in said.outcomes] == wanted and 0 < sum(wanted) < len(wanted)
    assert said.metrics.values["choice_accuracy"].value == sum(wanted) / len(wanted)
    before = found.before
    assert before and before.further["choice_accuracy"].value == pytest.approx(
        found.metrics.values["choice_accuracy"].value - before.metrics.values["choice_accuracy"].value
    )
    assert "Its choice accuracy was" in (found.run.package / "README.md").read_text()


@torch.no_grad()
def likely(model: Any, prompt: str, answer: str) -> float:
    front, behind = (model.preprocess.encode(prompt).ids, model.preprocess.encode(answer).ids[1:])
    ids = torch.tensor([[*front, *behind, 2]])
    shares = model(input_ids=ids).logits[0, :-1].log_softmax(1)
    return float(shares.gather(1, ids[0, 1:, None])[len(front) - 1 :].sum())


def test_drawn_texts_are_those_of_their_seed(made: Made) -> None:
    first, second = (written(made.package, "the cat:", temperature=3.0, seed=seed) for seed in (1, 2))
    assert first == written(made.package, "the cat:", temperature=3.0, seed=1) != second
    assert written(made.package, "the cat:", temperature=3.0, top_p=1e-6) == written(made.package, "the cat:")


def test_tied_embeddings_are_stored_once_and_stay_tied(made: Made) -> None:
    from safetensors import safe_open

    with safe_open(made.package / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "model.embed_tokens.weight" in names and "lm_head.weight" not in names
    model: Any = load.load(made.package, prove=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight


ASK = """
import sys, torch
model = torch.hub.load({root!r}, "finetuned", {package!r}, source="local")
assert sys.modules["hubft"].__file__.startswith({root!r})
ids = torch.tensor([model.preprocess.encode({text!r}).ids])
inputs = {{"input_ids": ids, "attention_mask": torch.ones_like(ids)}}
ours = model(**inputs).logits
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
theirs = AutoModelForCausalLM.from_pretrained({package!r}).eval()
assert torch.equal(ours, theirs(**inputs).logits)
assert theirs.lm_head.weight is theirs.model.embed_tokens.weight
assert theirs.generation_config.repetition_penalty == 1.25 and theirs.generation_config.eos_token_id == [2]
tokenizer = AutoTokenizer.from_pretrained({package!r})
assert tokenizer({text!r})["input_ids"] == ids[0].tolist()
chat = tokenizer.apply_chat_template([{{"role": "user", "content": "a"}}], tokenize=False, add_generation_prompt=True)
assert chat == "<s><|user|>a<|end|><|bot|>"
wrote = model.generate(**inputs, max_new_tokens=8, repetition_penalty=1.0, do_sample=False)[0, ids.shape[1]:]
print("the same:", tokenizer.decode(wrote, skip_special_tokens=True))
"""


def test_it_loads_by_torch_hub_and_by_transformers_to_the_same_bits(made: Made, tmp_path: Path) -> None:
    moved = shutil.copytree(made.package, tmp_path / "moved")
    code = ASK.format(root=str(ROOT), package=str(moved), text="the cat:")
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1:] == [f"the same: {written(made.package, 'the cat:')[0]}"], ran.stderr[-2000:]


def test_the_lines_of_the_card_write_what_predict_writes(made: Made) -> None:
    said, found = written(made.package, "the cat:")[0], language.by_card(made.package, "the cat:", made.model)
    assert list(found) == ["pipeline(", "torch.hub.load(", "hubft.load("]
    assert found["torch.hub.load("].startswith(said) and found["hubft.load("].startswith(said)
    assert found["pipeline("].startswith("the cat:")  # by its own settings, as a penalty of repetitions


def test_predict_on_the_command_line(made: Made, hubft: Hubft) -> None:
    ran = hubft("predict", made.result.run.folder, "the cat:", "--max-tokens", 12)
    assert ran.out == written(made.package, "the cat:")[0] + "\n"
    several = hubft("predict", made.package, "the cat:", "red:", "--max-tokens", 12).out.splitlines()
    assert several[::2] == ["the cat:", "red:"]
    lines = hubft("predict", made.package, "the cat:", "x" * 80, "--json", "--max-tokens", 12)
    first, second = map(json.loads, lines.out.splitlines())
    assert lines.code == 1 and first["written"] + "\n" == ran.out and first["ended"] is True
    assert "the prompt has 81 tokens, and the model takes 64" in second["error"]
    for words, said in (
        (["--top-p", "0.5"], "--top-p draws tokens, which takes a --temperature above 0"),
        (["--top", "2"], "a model that writes ranks no names"),
    ):
        ran = hubft("predict", made.package, "the cat:", *words)
        assert ran.code == 2 and said in ran.err


def test_what_hubft_does_not_export_is_refused_in_a_line(made: Made, hubft: Hubft) -> None:
    for form, said in (("gguf", "convert_hf_to_gguf.py PACKAGE"), ("onnx", "this one takes documents of")):
        ran = hubft("export", made.package, "--format", form)
        assert ran.code == 2 and said in ran.err, ran
    ran = hubft("benchmark", made.package, made.data)
    assert ran.code == 2 and "models that write are neither exported nor benchmarked" in ran.err, ran


def test_a_line_from_the_probe_is_refused_where_there_is_no_probe(tmp_path: Path, hubft: Hubft) -> None:
    model = language.model(tmp_path / "tiny")
    data = language.table(tmp_path / "data.jsonl")
    refused(hubft, model, data, "has no probe for these labels to begin from; leave it out", "--wise")


def test_evaluate_on_the_command_line(made: Made, hubft: Hubft, tmp_path: Path) -> None:
    fresh = language.table(tmp_path / "more.jsonl", 20)
    found = json.loads(hubft("evaluate", made.package, fresh, "--json").out)
    assert found["perplexity"]["value"] < 1.5 and found["perplexity"]["n"] == 20


def test_a_run_goes_on_from_a_package(made: Made, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, lr=1e-4)
    found = engine.finetune(Job(f"package:{made.package}", made.data, recipe=recipe, output=tmp_path / "on"))
    assert found.metrics.head.value < 1.5
    model: Any = load.load(found.run.package, prove=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    stated = json.loads((found.run.package / "generation_config.json").read_text())
    assert stated["repetition_penalty"] == 1.25
    assert manifests.read(found.run.package / "hubft.json").base.architecture == "transformers:tiny"


def test_resume_and_checkpointing_are_bit_exact(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, epochs=2)
    whole = engine.finetune(job(made, recipe=recipe, output=tmp_path / "whole"))
    stopped(job(made, recipe=recipe, output=tmp_path / "cut"), 9, monkeypatch)
    again = engine.resume(tmp_path / "cut")
    saving = job(made, recipe=recipe, compute=Compute(checkpoint_activations=True), output=tmp_path / "saving")
    runs = (whole.run, again.run, engine.finetune(saving).run)
    files = [(run.package / "model.safetensors").read_bytes() for run in runs]
    assert files[0] == files[1] == files[2]


def test_messages_are_learned_by_the_chat_template(tmp_path: Path) -> None:
    model = language.model(tmp_path / "tiny", tied=False)
    data = language.table(tmp_path / "chats.jsonl", 60, "messages")
    found = engine.finetune(Job(f"transformers:{model}", data, recipe=RECIPE, output=tmp_path / "run"))
    stated = manifests.read(found.run.package / "hubft.json").inputs
    assert isinstance(stated, language.Documents) and stated.chat and set(stated.ends) == {2, 6}
    prompts = dict(language.pairs(12))
    said = written(found.run.package, *prompts)
    assert sum(one == other for one, other in zip(prompts.values(), said, strict=True)) > 6
    by_card = language.by_card(found.run.package, "cat:", model)
    (question, answer), own = by_card.pop("pipeline("), written(found.run.package, "cat:")[0]
    assert question == {"role": "user", "content": "cat:"} and answer == {"role": "assistant", "content": own}
    assert own and by_card == {"torch.hub.load(": own, "hubft.load(": own}


def test_plain_texts_are_learned_whole(tmp_path: Path) -> None:
    model = language.model(tmp_path / "tiny")
    data = language.table(tmp_path / "texts.jsonl", 40, "text")
    prepared = prepare(Job(f"transformers:{model}", data, recipe=RECIPE, output=tmp_path / "run"))
    ids, following = prepared.training[0, 0]
    assert torch.equal(ids[1:].long(), following[:-1]) and ids[0] == 1 and ids[-1] == 2 and following[-1] == -100


ENDLESS = {"eos_token": None}


@pytest.mark.parametrize(
    ("change", "form", "said"),
    [
        (
            ENDLESS,
            "prompt",
            "names the token that ends a text, so that what is written would never end: set eos_token in",
        ),
        (
            {**ENDLESS, "pad_token": None},
            "text",
            "has a token that fills up short texts: set pad_token in its tokenizer_",
        ),
        (
            {"template": False},
            "messages",
            "has no chat template, and the data holds messages: take a model that was made",
        ),
        ({"chat_template": "{{ raise_exception('no') }}"}, "messages", "TemplateError: no; mend chat_template.jinja"),
        ({"chat_template": "{% if %}"}, "messages", "TemplateSyntaxError: Expected an expression"),
        (
            {"chat_template": "{% for m in messages|reverse %}{{ m.content }}{% endfor %}"},
            "messages",
            "when later ones",
        ),
    ],
)
def test_a_tokenizer_that_lacks_something_is_refused_in_a_line(
    tmp_path: Path, hubft: Hubft, change: dict[str, Any], form: str, said: str
) -> None:
    template = change.get("template", "chat_template" not in change)
    more = {name: one for name, one in change.items() if name != "template"}
    model = language.model(tmp_path / "tiny", template=template, **more)
    if "eos_token" in change:
        gone = {"eos_token_id": None} | ({"pad_token_id": None} if "pad_token" in change else {})
        for name in ("config.json", "generation_config.json"):
            stated = json.loads((model / name).read_text())
            (model / name).write_text(json.dumps({**stated, **gone}))
    data = language.table(tmp_path / "data.jsonl", 40, form)
    refused(hubft, model, data, said)


def refused(hubft: Hubft, model: Path, data: Path, said: str, *words: str) -> None:
    """A run on the command line that ends with one line, and nothing is there."""
    output = data.parent / "run"
    ran = hubft("finetune", f"transformers:{model}", data, "--output", output, *words)
    (line,) = (line for line in ran.err.splitlines() if line.startswith("hubft: "))  # libraries may warn beside it
    assert ran.code == 2 and said in line, ran
    assert not output.exists()


def test_a_vocabulary_that_is_not_the_models_is_refused(tmp_path: Path, hubft: Hubft) -> None:
    model = language.model(tmp_path / "tiny")
    made = json.loads((model / "tokenizer.json").read_text())
    made["model"]["vocab"]["!"] = 99
    (model / "tokenizer.json").write_text(json.dumps(made))
    data, said = (
        language.table(tmp_path / "data.jsonl"),
        "its tokenizer has 100 tokens, and the model knows 36: take the",
    )
    refused(hubft, model, data, said)


def test_an_end_that_is_no_token_is_refused(tmp_path: Path, hubft: Hubft) -> None:
    model = language.model(tmp_path / "tiny")
    for name in ("config.json", "generation_config.json"):
        stated = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**stated, "eos_token_id": 77}))
    refused(hubft, model, language.table(tmp_path / "data.jsonl"), "its end token 77 is none of its 36 tokens")


def test_without_a_token_that_fills_up_the_end_does(tmp_path: Path) -> None:
    model = language.model(tmp_path / "tiny", pad_token=None)
    stated = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**stated, "pad_token_id": None, "eos_token_id": None}))
    prepared = prepare(Job(f"transformers:{model}", language.table(tmp_path / "data.jsonl"), output=tmp_path / "run"))
    inputs: Any = prepared.loaded.inputs
    assert inputs.padding == 2 == inputs.ends[0]


def test_a_completion_longer_than_the_context_is_refused_and_a_long_prompt_cut(tmp_path: Path, hubft: Hubft) -> None:
    model = language.model(tmp_path / "tiny")
    data = language.table(tmp_path / "data.jsonl", more=({"prompt": "a", "completion": "b" * 90},))
    refused(hubft, model, data, "#48: its completion has 91 tokens, and the model is to take documents of 64 tokens at")
    data = language.table(tmp_path / "data.jsonl", more=({"prompt": "a" * 90, "completion": "cat"},) * 8)
    views = prepare(Job(f"transformers:{model}", data, output=tmp_path / "run")).training
    assert views.cut and max(views.costs()) == 64
    cut = next(i for i, sample in enumerate(views.samples) if "aaa" in sample.text)
    assert [int(one) for one in views[0, cut][1] if one >= 0] == [9, 7, 26, 2]  # c, a, t and the end


def test_a_model_that_sees_what_follows_is_refused(tmp_path: Path) -> None:
    import texts

    model = texts.model(tmp_path / "bert", pad_token_id=0)
    made = language.model(tmp_path / "tiny")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made / name, model / name)
    data = language.table(tmp_path / "data.jsonl")
    with pytest.raises(HubftError, match=r"its weights lack|sees the tokens that follow"):
        prepare(Job(f"transformers:{model}", data, output=tmp_path / "run"))


def test_options_without_a_meaning_are_refused(made: Made) -> None:
    for options, said in (
        ({"recipe": replace(RECIPE, smoothing=0.1)}, "--smoothing"),
        ({"recipe": replace(RECIPE, augment="light")}, "--augment light: documents are not augmented"),
        ({"compress": "prune:0.5"}, "--compress prune:0.5: torch-pruning does not follow"),
        ({"size": 65}, "--size 65: the model takes documents of 64 tokens at most"),
    ):
        with pytest.raises(HubftError) as caught:
            prepare(job(made, **options))
        assert said in caught.value.typed()
