"""What a run says of itself where something looks wrong: each line is provoked."""

import json
from pathlib import Path

import numpy
import pictures
import pytest
import torch
from commands import exit_code
from PIL import Image
from runs import heard, job, listening

from hubft import engine
from hubft.inputs import Text
from hubft.run import diagnosis
from hubft.tasks.classification import Classification
from hubft.tasks.multilabel import Multilabel
from hubft.text import tokens

NAMES = ("ants", "bees", "wasps")


def coloured(root: Path, train: int = 12, val: int = 4, scale: int = 1) -> Path:
    """Write three classes that no model takes for one another, each a bright channel; pixels are divided by `scale`."""
    random = numpy.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for label, name in enumerate(NAMES):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                noise = random.integers(40, 160, (36, 40, 3))
                noise[..., label] += 90
                Image.fromarray((noise // scale).astype(numpy.uint8)).save(root / part / name / f"{i}.png")
    return root


def about(said: list[str], words: str) -> list[str]:
    return [line for line in said if words in line]


def test_a_healthy_run_has_nothing_to_tell(tmp_path: Path) -> None:
    result, said = heard(job(coloured(tmp_path / "data"), tmp_path / "run"))
    assert json.loads((result.run.report / "results.json").read_text(encoding="utf-8"))["diagnosis"] == []
    assert not about(said.lines, "note: ")


def test_labels_that_are_exchanged_are_told(tmp_path: Path) -> None:
    val = coloured(tmp_path / "data", val=10) / "val"
    (val / "ants").rename(val / "other")
    (val / "bees").rename(val / "ants")
    (val / "other").rename(val / "bees")
    result, said = heard(job(tmp_path / "data", tmp_path / "run"))
    (line,) = about(said.lines, "look exchanged")
    assert "what is labelled 'ants' is answered 'bees', what is labelled 'bees' is answered 'ants';" in line
    assert "with these 1.000 would be right, not 0.333" in line
    told = json.loads((result.run.report / "results.json").read_text(encoding="utf-8"))["diagnosis"]
    assert [f"note: {line}" for line in told] == about(said.lines, "note: ")


def test_training_samples_that_are_known_by_heart_are_told(tmp_path: Path) -> None:
    for place, part in enumerate(("train", "val")):
        for label, name in enumerate(NAMES):  # nothing tells them apart
            first = 1000 * (3 * place + label)
            pictures.fill(tmp_path / "data" / part / name, range(first, first + 30))
    recipe = {"epochs": 60, "lr": 0.05, "train": "all", "probe": False, "averaging": 0.0, "augment": "none"}
    _, said = heard(job(tmp_path / "data", tmp_path / "run", recipe=recipe))
    (line,) = about(said.lines, "better than others")
    assert "on 90 of them" in line and "on 90 held out" in line
    assert line.endswith("what may help: --augment light, --anchor 1, --dropout 0.2, more training images")


def test_a_class_that_is_never_said_is_named() -> None:
    task, truth = Classification(NAMES, (8, 8, 8)), torch.tensor([0] * 6 + [1] * 5 + [2] * 5)
    logits = torch.nn.functional.one_hot(truth, 3).float()
    assert not task.diagnosis(task.measure(logits, truth), truth)
    logits[truth == 1] = torch.tensor([1.0, 0.0, 0.0])
    (line,) = task.diagnosis(task.measure(logits, truth), truth)
    assert line.startswith("it never says the class 'bees'; --class-weights balanced, or ")
    logits[:] = torch.tensor([1.0, 0.0, 0.0])
    chance, never = task.diagnosis(task.measure(logits, truth), truth)
    assert chance == "it gets no more right than a model that always says 'ants', the most frequent class"
    assert never.startswith("it never says 2 names: 'bees', 'wasps'; ")


def test_a_label_that_is_never_said_is_named() -> None:
    task = Multilabel(("a", "b"))
    truth = torch.tensor([[1.0, 0], [1, 1], [0, 1], [0, 1]])
    (line,) = task.diagnosis(task.measure(truth * torch.tensor([8.0, 1.0]) - torch.tensor([4.0, 5.0]), truth), truth)
    assert line.startswith("it never says the label 'b'; ")


@pytest.mark.parametrize(("scale", "tone"), [(255, "nearly of one colour"), (16, "very dark")])
def test_pixels_that_were_written_wrongly_are_told(tmp_path: Path, scale: int, tone: str) -> None:
    _, said = heard(job(coloured(tmp_path / "data", scale=scale), tmp_path / "run", recipe={"epochs": 1}))
    (line,) = about(said.lines, "note: the training images are")
    assert tone in line and "look at how they were written" in line


def test_tokens_that_a_vocabulary_cannot_say_are_counted() -> None:
    pytest.importorskip("tokenizers", reason="the extra is not installed: transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordPiece({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    inputs = Text(made.to_str(), 8)
    rows, *_ = tokens.tokenised(["good good", "gut", "хорошо"], inputs)
    assert tokens.unknown(rows, inputs) == 0.5


# ---- where the time went -----------------------------------------------------------------------------


def test_the_shares_of_the_time_are_told(tmp_path: Path) -> None:
    recipe, compute = {"train": "all", "probe": False}, {"checkpoint_every": 1}
    result, said = heard(job(coloured(tmp_path / "data"), tmp_path / "run", recipe=recipe, compute=compute))
    found = json.loads((result.run.report / "results.json").read_text(encoding="utf-8"))["time"]
    assert set(found) == {"features", "data", "forward", "backward", "evaluation", "checkpoints"}
    assert sum(found.values()) == pytest.approx(1) and min(found.values()) > 0
    assert list(found.values()) == sorted(found.values(), reverse=True)
    spent = [sum(line["seconds"].values()) for line in result.run.history()]
    assert 0 < sum(spent) < result_seconds(result)
    (line,) = said.about("time ")
    assert f"{next(iter(found))} {max(found.values()):.0%}, " in line and "; faster: " in line


def result_seconds(result: engine.Result) -> float:
    return float(json.loads((result.run.report / "results.json").read_text(encoding="utf-8"))["seconds"])


def test_a_slow_part_is_named_with_what_makes_it_faster() -> None:
    history = [{"seconds": {"data": 6.0, "forward": 1.0}}, {"seconds": {"data": 2.0, "backward": 1.0}}]
    found = diagnosis.shares(history)
    assert found == {"data": 0.8, "forward": 0.1, "backward": 0.1}
    told = diagnosis.where_time_went(found)
    assert told == "data 80%, forward 10%, backward 10%; faster: more --workers, or smaller files"


# ---- one batch ---------------------------------------------------------------------------------------


def test_one_batch_is_learned_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = coloured(tmp_path / "data")
    asked = ["toy:small", str(data), "--lr", "0.02", "--output", str(tmp_path / "run")]
    assert exit_code("finetune", *asked, "--overfit-one-batch") == 0
    said = capsys.readouterr().out
    assert "over and over, learning rate 0.02" in said and "model and loss can learn" in said
    assert not (tmp_path / "run").exists()


def test_labels_that_no_model_can_learn_are_found_by_one_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        pictures.fill(tmp_path / "data" / "train" / name, range(6))  # the same images in each class
        pictures.fill(tmp_path / "data" / "val" / name, range(9, 12))
    assert exit_code("finetune", "toy:small", tmp_path / "data", "--overfit-one-batch", "--device", "cpu") == 1
    said = capsys.readouterr().err
    assert "one batch was not learned: loss " in said and "are there with more than one label: mend the labels" in said


def test_a_stage_that_no_gradient_reaches_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = coloured(tmp_path / "data")

    def cut(model: torch.nn.Module, batch: object, criterion: object, forward: object) -> dict[str, torch.Tensor]:
        images, targets = batch  # type: ignore[misc]
        outputs = 0 * model.head(torch.zeros(len(images), 32)) + 0 * sum(p.sum() for p in model.parameters())
        return {"loss": criterion(outputs, targets), "outputs": outputs}  # type: ignore[operator]

    listening(monkeypatch, train_step=cut)
    found = engine.overfit(job(data, tmp_path / "run", recipe={"train": "all"}))
    assert not found.learned and set(found.silent) == {"stem", "block", "head"}
    assert found.why.startswith("no gradient reaches ")
