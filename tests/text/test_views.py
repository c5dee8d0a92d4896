"""Texts as token ids: batches of like lengths, in parts where they are large, the same bits however they are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import texts
import torch
from extras import needs
from safetensors.torch import load_file

from hubft import Job, engine
from hubft.base.console import Console
from hubft.base.errors import JobError
from hubft.inputs import Text
from hubft.job import Compute, Recipe
from hubft.machine.runtime import Runtime
from hubft.modality import named
from hubft.run.folder import Run
from hubft.tasks.classification import Classification
from hubft.text import samples, views
from hubft.text.views import Views
from hubft.train import loader

tokenizers = needs("tokenizers", "transformers")
RUNTIME = Runtime(Compute(device="cpu", workers=0))
TASK = Classification(texts.LABELS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def inputs(model: Path) -> Text:
    return Text((model / "tokenizer.json").read_text("utf-8"), 32)


def seen(inputs: Text, number: int) -> Views:
    its = [samples.Sample(str(i), i % 2, str(i), text) for i, (text, _) in enumerate(texts.rows(number))]
    return Views(TASK, its, inputs)


def test_what_is_measured_in_order_of_length_comes_back_in_order(inputs: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "WINDOW", 3)
    its = seen(inputs, 50)
    batches = loader.in_order(its, 8, RUNTIME)
    found = [(one["attention_mask"].sum(1), targets) for one, targets in batches]
    assert all(bool((lengths.diff() <= 0).all()) for lengths, _ in found), "sorted in a batch"
    assert sum(len(lengths) * int(lengths.max()) for lengths, _ in found) < 1.15 * sum(its.costs())
    lengths, targets = zip(*loader.restored(batches, found), strict=True)
    assert torch.cat(lengths).tolist() == its.costs() and torch.cat(targets).tolist() == its.targets().tolist()


@pytest.mark.parametrize(("least", "most", "parts"), [(1, 160, 1), (1, 159, 2), (1, 20, 5), (3, 160, 3), (1, 1, 5)])
def test_a_batch_of_many_tokens_is_computed_in_parts(inputs: Text, least: int, most: int, parts: int) -> None:
    batch = views.joined([torch.ones(length, dtype=torch.int32) for length in (16, 9, 8, 7, 6, 5, 4, 4, 3, 2)], 0)
    targets = torch.arange(10)
    found = views.parts((batch, targets), least, most)
    assert len(found) == parts and sum(share for share, _ in found) == pytest.approx(1)
    assert torch.cat([its for _, (_, its) in found]).tolist() == targets.tolist()
    for _, (one, _) in found:
        assert one["input_ids"].shape[1] == int(one["attention_mask"].sum(1).max()), "no longer than its longest"
    assert sum(int(one["attention_mask"].sum()) for _, (one, _) in found) == int(batch["attention_mask"].sum())


def test_the_batch_of_a_run_is_measured_on_texts_of_usual_length(inputs: Text) -> None:
    its = seen(inputs, 50)
    usual = [its.rows[int(sample.place)].size for sample in loader.typical(its, 8)]
    assert max(usual) - min(usual) <= 1 and abs(sum(usual) / 8 - sum(its.costs()) / 50) < 1


def test_every_character_of_every_language_is_a_token() -> None:
    """By a tokenizer of bytes, whose tokens say again what they were made of."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({one: i for i, one in enumerate(alphabet)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    whole = [
        " \U0001f468\u200d\U0001f469\u200d\U0001f467 ",
        "e\u0301 é",
        "\u0645\u0631\u062d\u0628\u0627",
        "你好\n\t",
        "नमस्ते",
    ]
    its = [samples.Sample(str(i), 0, "", text) for i, text in enumerate(whole)]
    found = Views(TASK, its, Text(made.to_str(), 512))
    assert [made.decode(found[0, i][0].tolist()) for i in range(len(whole))] == whole and not found.cut
    short = Views(TASK, its, Text(made.to_str(), 9))
    assert short.cut == sum(len(text.encode()) > 9 for text in whole) and max(short.costs()) == 9


def test_views_of_a_text_lack_tokens_by_counter(inputs: Text) -> None:
    its = seen(inputs, 200).under(Recipe(augment="strong", seed=3))
    assert all(its[0, i][0].tolist() == its.rows[i].tolist() for i in range(200)), "as the evaluation sees them"
    drawn = [its[view, i][0].tolist() for view in (1, 2) for i in range(200)]
    assert drawn == [its[view, i][0].tolist() for view in (1, 2) for i in range(200)]
    assert all(one[0] == 2 and one[-1] == 3 and len(one) > 2 for one in drawn), "special tokens stay"
    whole = sum(its.costs()) - 400
    left = (sum(map(len, drawn)) - 800) / (2 * whole)
    assert left == pytest.approx(0.8, abs=0.03)
    assert drawn[:200] != drawn[200:] and drawn[:200] != [its.under(Recipe(augment="strong", seed=4))[1, i][0].tolist()
                                                          for i in range(200)]  # fmt: skip
    assert its.under(Recipe(augment="none"))[1, 0][0].tolist() == its.rows[0].tolist()


RECIPE = Recipe(epochs=3, batch_size=8, lr=3e-3, augment="light")


class Dies(Console):
    """A console that ends the run after its second epoch was measured."""

    def epoch(self, line: Any, *_: Any) -> None:
        if line["epoch"] == 2:
            raise RuntimeError("killed")


def weights(run: Run) -> bytes:
    return (run.package / "model.safetensors").read_bytes()


def test_a_run_has_the_same_bits_with_workers_and_when_it_is_resumed(model: Path, tmp_path: Path) -> None:
    job = Job(f"transformers:{model}", texts.table(tmp_path / "reviews.csv", 60), recipe=RECIPE)

    def placed(name: str, **compute: int) -> Job:
        return replace(job, output=tmp_path / name, compute=Compute(device="cpu", checkpoint_every=4, **compute))

    whole = engine.finetune(placed("whole", workers=0)).run
    assert weights(engine.finetune(placed("workers", workers=2)).run) == weights(whole)
    with pytest.raises(RuntimeError, match="killed"):
        engine.finetune(placed("killed", workers=0), Dies(quiet=True))
    assert weights(engine.resume(tmp_path / "killed").run) == weights(whole)


def test_parts_of_a_batch_add_up_to_its_gradient(tmp_path: Path) -> None:
    still = texts.model(tmp_path / "tiny", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    recipe = replace(RECIPE, augment="none", epochs=1, batch_size=16, optimizer="sgd", lr=0.1)
    job = Job(f"transformers:{still}", texts.table(tmp_path / "reviews.csv", 60), recipe=recipe)
    found = []
    for tokens in (0, 40):
        its = replace(job, output=tmp_path / str(tokens), recipe=replace(recipe, tokens=tokens))
        found.append(load_file(engine.finetune(its).run.package / "model.safetensors"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=1e-5)
    assert any(not torch.equal(found[1][name], tensor) for name, tensor in found[0].items()), "in parts"


def test_images_have_no_tokens() -> None:
    with pytest.raises(JobError) as caught:
        named("images").settled(Job("toy:small", "-", recipe=Recipe(tokens=64)))
    assert caught.value.typed() == "--tokens 64: images have no tokens; leave it out"
