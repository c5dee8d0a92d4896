"""LoRA of a language model: the adapter alone and merged, with tied embeddings and without, by peft and without it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import language
import pytest
import torch
from commands import Hubft
from extras import needs
from runs import stopped
from safetensors.torch import load_file
from torch import Tensor

from hubft import Job, engine
from hubft.adapting import Adapting
from hubft.compress import lora
from hubft.families import adapters
from hubft.job import Compute, Recipe
from hubft.publish import package
from hubft.share import load

peft = needs("peft", "peft")
transformers = needs("transformers", "transformers")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by the old name

LORA = Adapting("lora", rank=4)
RECIPE = Recipe(epochs=3, batch_size=8, lr=1e-2)


@dataclass(frozen=True)
class Made:
    model: Path
    data: Path
    result: engine.Result
    trained: Tensor
    """Logits of the model as it was trained, with peft's layers in it."""

    @property
    def package(self) -> Path:
        return self.result.run.package

    def job(self, output: Path, adapting: Adapting = LORA, **parts: Any) -> Job:
        parts = {"recipe": RECIPE, **parts}
        return Job(f"transformers:{self.model}", self.data, adapting=adapting, output=output, **parts)


@torch.no_grad()
def answers(model: Any) -> Tensor:
    ids = torch.randint(7, 36, (2, 12), generator=torch.Generator().manual_seed(0))
    found: Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found


def base(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def unfolded(keep: Callable[[Tensor], object]) -> Callable[..., dict[str, Tensor]]:
    """Return `adapters.fold`, which first gives away what the model answers with peft's layers in it."""
    real = adapters.fold

    def fold(model: Any, *given: Any) -> dict[str, Tensor]:
        keep(answers(model))
        return real(model, *given)

    return fold


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of chats, whose package holds the adapter alone."""
    folder, kept = tmp_path_factory.mktemp("language"), list[Tensor]()
    model = language.model(folder / "tiny", tied=request.param)
    data = language.table(folder / "chats.jsonl", 60, "messages")
    job = Job(f"transformers:{model}", data, recipe=RECIPE, adapting=LORA, output=folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "fold", unfolded(kept.append))
        result = engine.finetune(job)
    return Made(model, data, result, kept[0])


def test_the_package_holds_the_adapter_alone(made: Made) -> None:
    """The head is the base's own: nothing of it is stored, whether it is tied to the embeddings or not."""
    stored = load_file(made.package / lora.FILE)
    (record,) = load.package(made.package).manifest.structure
    assert record["head"] == [] and len(record["layers"]) == 2 * 7
    assert record["trained"][0] == sum(tensor.numel() for tensor in stored.values())
    assert all(re.search(r"\.(self_attn|mlp)\.\w+\.lora_[AB]\.weight$", name) for name in stored)
    assert not (made.package / package.WEIGHTS).exists()
    config = json.loads((made.package / lora.CONFIG).read_text())
    assert config["modules_to_save"] is None and config["task_type"] == "CAUSAL_LM"
    assert made.result.before and (made.result.before.difference.high or 0) < 0
    settled = json.loads(made.result.run.plan_file.read_text())["job"]["recipe"]
    assert (settled["lr"], settled["body_lr"], settled["layer_decay"]) == (1e-2, 1.0, 1.0)


def test_peft_loads_it_to_the_bits_of_the_trained_model(made: Made) -> None:
    theirs = peft.PeftModel.from_pretrained(base(made.model), str(made.package))
    assert type(theirs).__name__ == "PeftModelForCausalLM"
    assert torch.equal(answers(theirs), made.trained)
    assert not torch.equal(made.trained, answers(base(made.model)))


def test_it_loads_without_peft_to_the_bits_of_peft_s_merge(made: Made) -> None:
    ours: Any = load.load(made.package, prove=True)
    first = base(made.model)
    theirs = peft.PeftModel.from_pretrained(first, str(made.package)).merge_and_unload()
    assert type(ours).__name__ == "LlamaForCausalLM" and torch.equal(answers(ours), answers(theirs))
    assert (ours.lm_head.weight is ours.model.embed_tokens.weight) == first.config.tie_word_embeddings


def test_the_lines_of_the_card_write_what_predict_writes(made: Made, hubft: Hubft) -> None:
    """In a process of their own: by torch.hub, by hubft, and by peft on the base."""
    said = hubft("predict", made.result.run.folder, "the cat:", "--max-tokens", 12).out.removesuffix("\n")
    found = language.by_card(made.package, "the cat:", made.model)
    assert found.pop("PeftModel") == "PeftModelForCausalLM"
    assert said and list(found) == ["torch.hub.load(", "hubft.load("]
    assert all(text.startswith(said) for text in found.values()), (said, found)


def test_merged_it_is_a_package_of_a_plain_model(made: Made, tmp_path: Path, hubft: Hubft) -> None:
    """Which gives what the adapter alone gives, to the bit, and transformers loads it."""
    folder = engine.finetune(made.job(tmp_path / "run", replace(LORA, merge=True))).run.package
    assert {p.name for p in folder.iterdir()} >= {package.WEIGHTS, package.CONFIG, "generation_config.json"}
    assert not load.package(folder).manifest.structure
    theirs: Any = base(folder)
    assert torch.equal(answers(theirs), answers(load.load(made.package)))
    assert (theirs.lm_head.weight is theirs.model.embed_tokens.weight) == theirs.config.tie_word_embeddings
    said = [hubft("predict", one, "the cat:", "--max-tokens", 12).out for one in (folder, made.package)]
    assert said[0] == said[1] != ""


def test_stopped_and_resumed_it_ends_with_the_same_bits(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And computing activations again gives these bits, too."""
    how = replace(LORA, dora=True)
    parts: dict[str, Any] = {"recipe": replace(RECIPE, train="last:1, all@0.4", averaging=0.8)}
    whole = engine.finetune(made.job(tmp_path / "whole", how, **parts)).run
    stopped(made.job(tmp_path / "cut", how, **parts), 9, monkeypatch)
    again = engine.resume(tmp_path / "cut").run
    saving = engine.finetune(
        made.job(tmp_path / "saving", how, compute=Compute(checkpoint_activations=True), **parts)
    ).run
    for file in (lora.FILE, lora.CONFIG):
        bits = {(run.package / file).read_bytes() for run in (whole, again, saving)}
        assert len(bits) == 1, file


def test_a_package_of_an_adapter_is_trained_further(made: Made, tmp_path: Path) -> None:
    """In full, and with an adapter over what the first one made of the base; tied weights stay tied."""
    reference, recipe = f"package:{made.package}", replace(RECIPE, epochs=1, lr=1e-3)
    for how in (Adapting(), LORA):
        asked = replace(made.job(tmp_path / how.adapter, how, recipe=recipe), reference=reference)
        found = engine.finetune(asked)
        model: Any = load.load(found.run.package, prove=True)
        assert len(load.package(found.run.package).manifest.structure) == how.on
        assert not torch.equal(answers(model), answers(load.load(made.package)))
        assert (model.lm_head.weight is model.model.embed_tokens.weight) == model.config.tie_word_embeddings
        before = found.before and found.before.metrics.head.value
        assert before == pytest.approx(made.result.metrics.head.value)


def test_the_head_of_the_base_has_no_adapter(made: Made, tmp_path: Path, hubft: Hubft) -> None:
    command = ("finetune", f"transformers:{made.model}", made.data, "--output", tmp_path / "run", "--adapter", "lora")
    ran = hubft(*command, "--adapter-layers", "match:lm_head|embed")
    assert ran.code == 2 and "that 'match:lm_head|embed' selects can have an adapter (model.embed_tokens: " in ran.err
    assert len(ran.err.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_rate_that_nobody_asks_for_is_that_of_adapters(made: Made, tmp_path: Path) -> None:
    """Ten times that of full fine-tuning."""
    recipe = Recipe(epochs=1, batch_size=8)
    for how, rate in ((Adapting(), 5e-5), (LORA, 5e-4)):
        run = engine.finetune(made.job(tmp_path / how.adapter, how, recipe=recipe)).run
        assert json.loads(run.plan_file.read_text())["job"]["recipe"]["lr"] == pytest.approx(rate)
