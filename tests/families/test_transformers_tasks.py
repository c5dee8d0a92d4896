"""The family `transformers` with labels of every kind, and with pairs of texts."""

import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import texts
from commands import Hubft
from extras import needs

from hubft import Job, engine
from hubft.base.errors import HubftError
from hubft.families.plugins import ROOT
from hubft.job import Labels, Recipe
from hubft.share import inference, load

transformers = needs("transformers", "transformers")
RECIPE = Recipe(epochs=4, batch_size=16, lr=3e-3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.model(tmp_path_factory.mktemp("model") / "tiny", initializer_range=0.2)


def table(path: Path, columns: tuple[str, ...], row: Callable[[str, str], tuple[Any, ...]], number: int = 160) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *(row(text, label) for text, label in texts.rows(number))])
    return path


def finetuned(model: Path, data: Path, **labels: Any) -> engine.Result:
    return engine.finetune(
        Job(f"transformers:{model}", data, labels=Labels(**labels), recipe=RECIPE, output=data.with_suffix(""))
    )


def config(result: engine.Result) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads((result.run.package / "config.json").read_text())
    return {key: stated[key] for key in ("problem_type", "id2label", "label2id", "pad_token_id")}


def test_several_labels(model: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "many.csv", ("text", "tags"), lambda text, label: (text, f"{label};{_noun(text)}"))
    made = finetuned(model, data)
    assert made.metrics.head.value > 0.5
    names = ("bad", *sorted(texts.NOUNS[:2]), "good", "other")
    assert config(made) == {
        "problem_type": "multi_label_classification",
        "id2label": {str(i): name for i, name in enumerate(sorted(names))},
        "label2id": {name: i for i, name in enumerate(sorted(names))},
        "pad_token_id": 0,
    }
    opened = load.opened(load.package(made.run.package))
    said = next(inference.predict(opened, "the lovely film")).said["probabilities"]
    pipe = transformers.pipeline("text-classification", str(made.run.package), top_k=None)
    assert {one["label"]: one["score"] for one in pipe(["the lovely film"])[0]} == pytest.approx(said, abs=1e-5)


def _noun(text: str) -> str:
    return next((noun for noun in texts.NOUNS[:2] if noun in text), "other")


def test_numbers_in_the_users_unit(model: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "stars.csv", ("text", "stars"), lambda text, label: (text, 40.0 + 2.5 * (label == "good")))
    made = finetuned(model, data, task="regression")
    assert config(made) == {
        "problem_type": "regression",
        "id2label": {"0": "stars"},
        "label2id": {"stars": 0},
        "pad_token_id": 0,
    }
    opened = load.opened(load.package(made.run.package))
    said = next(inference.predict(opened, "the lovely film")).said
    pipe = transformers.pipeline("text-classification", str(made.run.package))
    assert pipe("the lovely film", function_to_apply="none")[0]["score"] == pytest.approx(said["stars"], rel=1e-5)
    assert 38 < said["stars"] < 45


def test_several_heads(model: Path, tmp_path: Path) -> None:
    data = table(
        tmp_path / "heads.csv", ("text", "label", "words"), lambda text, label: (text, label, len(text.split()) + 0.5)
    )
    made = finetuned(model, data, target=("label", "words"))
    opened = load.opened(load.package(made.run.package))
    said = next(inference.predict(opened, "the lovely film")).said
    assert set(said) == {"label", "words"}
    assert not (made.run.package / "config.json").exists(), "transformers has no model of several heads"


def paired(path: Path, number: int = 160) -> Path:
    """Return a table of two texts, which are alike where both praise or both blame."""
    draw, rows = random.Random(0), texts.rows(number)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("first", "second", "verdict"))
        for text, label in rows:
            other, its = draw.choice(rows)
            writer.writerow((text, other, "alike" if label == its else "unlike"))
        writer.writerow(("the film", "", "alike"))
    return path


PAIR = ("the lovely film", "a dull grey book")
ASK = """
import sys, torch
model = torch.hub.load({root!r}, "finetuned", {package!r}, source="local")
found = model.preprocess.encode(*{pair!r})
inputs = {{name: torch.tensor([its]) for name, its in
          (("input_ids", found.ids), ("attention_mask", [1] * len(found.ids)), ("token_type_ids", found.type_ids))}}
ours = model(**inputs).logits
from transformers import AutoModelForSequenceClassification, pipeline
theirs = AutoModelForSequenceClassification.from_pretrained({package!r}).eval()(**inputs).logits
assert torch.equal(ours, theirs) and 1 in found.type_ids
said = pipeline("text-classification", {package!r})({{"text": {pair[0]!r}, "text_pair": {pair[1]!r}}})
assert abs(said["score"] - float(ours.softmax(1).max())) < 1e-6
print("the same:", said["label"], said["score"])
"""


def test_a_pair_of_texts(model: Path, tmp_path: Path, hubft: Hubft) -> None:
    data = paired(tmp_path / "pairs.csv")
    made = finetuned(model, data, input="first", pair="second")
    assert json.loads((made.run.report / "results.json").read_text())["quarantined"] == {"row 161": "'second' is empty"}
    package = made.run.package
    inputs = json.loads((package / "hubft.json").read_text())["inputs"]
    assert inputs["pair"] and inputs["types"] and inputs["length"] == 32, "as long as its tokenizer says"
    load.load(package, prove=True)
    opened = load.opened(load.package(package))
    answer = next(inference.predict(opened, " ||| ".join(PAIR))).said
    code = ASK.format(root=str(ROOT), package=str(package), pair=PAIR)
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    *_, label, score = ran.stdout.split()
    assert label == answer["class"] and float(score) == pytest.approx(answer["probability"], abs=1e-5)

    asked = hubft("predict", package, data, "--input", "first", "--pair", "second", "--json")
    lines = [json.loads(line) for line in asked.out.splitlines()]
    assert len(lines) == 160 and asked.code == 0, asked.err
    measured = json.loads(hubft("evaluate", package, data, "--json").out)
    assert measured["accuracy"]["n"] == 160
    alone = hubft("predict", package, "the lovely film")
    assert alone.code == 1 and "takes pairs of texts: write two with ||| between them" in alone.out + alone.err


def test_what_cannot_be_a_pair_is_refused(model: Path, tmp_path: Path, hubft: Hubft) -> None:
    data = paired(tmp_path / "pairs.csv", 40)
    made = finetuned(model, data, input="first", pair="second")
    with pytest.raises(HubftError, match="say which column has the second ones with"):
        engine.finetune(Job(f"package:{made.run.package}", data, labels=Labels(input="first", target=("verdict",))))
    single = texts.table(tmp_path / "single.csv", 40)
    ran = hubft("finetune", f"transformers:{model}", single, "--pair", "second")
    assert ran.code == 2 and "has no column 'second', which --pair names" in ran.err
    one = finetuned(model, single)
    ran = hubft("evaluate", one.run.package, data, "--input", "first", "--pair", "second")
    assert ran.code == 2 and "--pair second: the package takes one text at a time; leave it out" in ran.err
