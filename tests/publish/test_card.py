"""The model card: valid for the Hub's own parser, in the order that a reader needs, and true."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import packages
import pytest
import torch
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt
from PIL import Image
from safetensors.torch import load_file

from hubft import Base, Head, Preprocess
from hubft.cli.main import app
from hubft.families.plugins import ROOT
from hubft.job import Job
from hubft.publish import card, lines, loading, markdown, measured
from hubft.publish.manifest import CARD, CONFIG, DELTA, PICTURE, ROLES, SELFTEST, WEIGHTS, File, Manifest
from hubft.tasks.classification import Classification

BASE = Base("toy:small", revision="1", license="cc0-1.0", hub="timm/toy.small", sha256="a" * 64)


def manifest(*more: str, **changes: Any) -> Manifest:
    """Return the manifest of a measured fine-tune; `more` are names of further files."""
    names = (WEIGHTS if changes.get("delta") is None else DELTA, SELFTEST, CARD, *more)
    task = Classification(packages.CLASSES)
    numbers = task.measure(torch.eye(3).repeat(8, 1)[:20], torch.arange(3).repeat(8)[:20]).plain()
    facts: dict[str, Any] = {
        "job": packages.toy_job(size=64).published(),
        "task": task,
        "inputs": Preprocess((64, 64), 72),
        "base": BASE,
        "metrics": numbers | packages.ACCURACY,
        "data": {"train": {"samples": 60, "sha256": "b" * 64}, "val": {"samples": 20, "sha256": "c" * 64}},
        "versions": {"python": "3.11.7", "hubft": "0.1.0"},
        "files": {name: File("0" * 64, 1, ROLES[name]) for name in names},
    }
    return Manifest(**facts | changes)


def parsed(text: str) -> dict[str, Any]:
    """Return the metadata as the Hub's library reads it, which refuses a broken model-index."""
    return ModelCard(text, ignore_metadata_errors=False).data.to_dict()


def code(text: str, language: str) -> list[str]:
    return [t.content for t in MarkdownIt().parse(ModelCard(text).text) if t.type == "fence" and t.info == language]


def test_the_metadata_is_what_the_hub_reads(tmp_path: Path) -> None:
    text = card.text(manifest(), "me/flowers")
    (tmp_path / CARD).write_text(text, encoding="utf-8")
    facts = metadata_load(tmp_path / CARD)
    assert facts is not None and facts.keys() == parsed(text).keys()
    index = facts.pop("model-index")
    assert facts == {
        "base_model": "timm/toy.small",
        "library_name": "hubft",
        "license": "cc0-1.0",
        "pipeline_tag": "image-classification",
        "tags": ["hubft", "toy", "image-classification"],
    }
    name, results = model_index_to_eval_results(index)
    assert name == "me/flowers"
    assert {(r.task_type, r.dataset_type, r.dataset_name) for r in results} == {
        ("image-classification", "imagefolder", "mine")
    }
    assert {r.metric_type: r.metric_value for r in results} == {
        "accuracy": 0.9,
        "accuracy_low": 0.8,
        "accuracy_high": 0.95,
    }


@pytest.mark.parametrize("hub", ["", "flowers", "../x", "a/b/c", "a b/c", "https://evil.example/x", "me/x\n---"])
def test_a_base_that_is_not_on_the_hub_is_no_link(hub: str) -> None:
    assert "base_model" not in parsed(card.text(manifest(base=replace(BASE, hub=hub))))


@pytest.mark.parametrize(
    ("license", "said"),
    [
        ("", {"license": "unknown"}),
        ("apache-2.0", {"license": "apache-2.0"}),
        ("cc-by-nc-4.0", {"license": "cc-by-nc-4.0"}),
        ("seer-license", {"license": "other", "license_name": "seer-license"}),
        ("My [license]\n---", {"license": "other", "license_name": "my-license"}),
    ],
)
def test_the_license_is_one_that_the_hub_knows_or_other(license: str, said: dict[str, str]) -> None:
    facts = parsed(card.text(manifest(base=replace(BASE, license=license))))
    assert {key: facts[key] for key in facts if key.startswith("license")} == said


def test_a_folder_s_name_is_no_identifier_of_the_hub() -> None:
    """`datasets: mnist` would be a link to a stranger's data; the name stands where the Hub shows a title."""
    facts = parsed(card.text(manifest(job=replace(packages.toy_job(), data="mnist"))))
    titles = [result.pop("dataset").pop("name") for result in facts["model-index"][0]["results"]]
    assert titles == ["mnist"] and "mnist" not in json.dumps(facts) and "datasets" not in facts


@pytest.mark.parametrize(
    "wrong",
    [None, 0.9, [], {}, {"value": "0.9"}, packages.ACCURACY["accuracy"] | {"value": 1e999}]
    + [packages.ACCURACY["accuracy"] | {key: wrong} for key in ("value", "n") for wrong in ("<b>", -1, 10**4000, True)]
    + [packages.ACCURACY["accuracy"] | {key: wrong} for key in ("low", "high") for wrong in ("<b>", -1, 1e999, 2)]
    + [packages.ACCURACY["accuracy"] | {"low": None}, packages.ACCURACY["accuracy"] | {"low": 0.96}]
    + [packages.ACCURACY["accuracy"] | {"better": wrong} for wrong in (None, "<b>", [], {})],
)
def test_what_was_not_measured_is_not_stated(wrong: object) -> None:
    others = {"uncompressed": wrong, "test": {"accuracy": wrong}}
    stated = manifest(metrics={"accuracy": wrong, "recall": [wrong] * 3, **others})
    text = card.text(stated)
    assert "model-index" not in parsed(text) and "ccuracy" not in text and "recall" not in text
    assert "Before" not in text and "On test" not in text and "| 0 | `ant` |\n" in text
    assert measured.headline(stated) == ""
    some = manifest(metrics={"accuracy": wrong, "recall": [packages.ACCURACY["accuracy"], wrong, wrong]})
    assert card.text(some).count("not measured") == 2


@pytest.mark.parametrize("headline", [None, 3, ["accuracy"], "loss", "gone", "<b>", {"value": 1}])
def test_a_headline_that_is_no_number_is_not_stated(headline: object) -> None:
    text = card.text(manifest(metrics={"headline": headline, "loss": 0.3, **packages.ACCURACY}))
    assert "model-index" not in parsed(text) and "ccuracy" not in text


def test_a_metric_of_a_stranger_is_shown_and_does_nothing() -> None:
    name = "<b>[x](https://evil.example)|\n---"
    text = card.text(manifest(metrics={"headline": name, name: packages.ACCURACY["accuracy"], **packages.ACCURACY}))
    spans = [t for t in MarkdownIt().enable("table").parse(ModelCard(text).text) if t.type == "inline"]
    shown = [child for span in spans for child in span.children or [] if "evil" in child.content]
    assert len(shown) == 2 and {child.type for child in shown} == {"code_inline"}
    kinds = [metric["type"] for result in parsed(text)["model-index"][0]["results"] for metric in result["metrics"]]
    assert len(kinds) == 3 and all(re.fullmatch(r"[\w.-]+", kind) for kind in kinds)


def test_the_reader_finds_the_result_the_picture_and_the_ways_to_load_first() -> None:
    text = ModelCard(card.text(manifest(PICTURE, CONFIG))).text
    wanted = [
        "# `toy:small` fine-tuned on `mine`",
        "Classifies images into 3 classes: `ant`, `bee`, `cat`.",
        "Accuracy on held-out images: **90.0 % (95 % interval 80.0 to 95.0 %, 40 images)**.",
        f"]({PICTURE})",
        "## Load it",
        "def rgb",
        "timm.create_model",
        "torch.hub.load",
        "hubft predict",
        "## Measured on held-out images",
        "| `accuracy` | 90.0 % (95 % interval 80.0 to 95.0 %, 40 images) |",
        "## Outputs",
        "| output | class | recall | precision |",
        "| 0 | `ant` | 100.0 % (95 % interval 64.6 to 100.0 %, 7 images) | 100.0 % (",
        "## Reproduce it",
        "hubft finetune toy:small DATA --size 64",
        f"| training | `60` | `{'b' * 64}` |",
        f"| held out | `20` | `{'c' * 64}` |",
        "| base | `toy:small` |",
        "| version of `python` | `3.11.7` |",
    ]
    places = [text.find(words) for words in wanted]
    assert -1 not in places and places == sorted(places)
    assert len(text.splitlines()) < 120


def test_without_a_picture_none_is_shown() -> None:
    assert PICTURE not in card.text(manifest(CONFIG))


def test_what_compression_cost_is_said() -> None:
    before = {"uncompressed": {"accuracy": packages.ACCURACY["accuracy"] | {"value": 0.91}}}
    job = packages.toy_job(compress="bf16")
    text = card.text(manifest(job=job, metrics=packages.ACCURACY | before))
    assert "Before compression with `bf16`: 91.0 % (95 % interval 80.0 to 95.0 %, 40 images).\n" in text


def test_the_ways_to_load_are_python_and_commands_that_exist() -> None:
    for text in (card.text(m, hub) for m in (manifest(CONFIG), manifest()) for hub in ("", "me/x")):
        pixels, *python = code(text, "python")
        compile(pixels, "card", "exec")
        assert len(python) == 3
        for block in python:
            compile(block, "card", "exec")
        assert all(("me/x" in block) != (loading.HERE in block) for block in python)
        assert len({"me/x" in text, loading.HERE in text}) == 2
        for line in code(text, "bash"):
            command, _, options = app.parse_args(line.split()[1:], exit_on_error=False, print_error=False)
            assert command.__name__ in ("predict", "finetune") and options is not None
        assert ("timm" in parsed(text)["tags"]) == ("timm.create_model" in text)


def test_the_ways_to_load_a_folder_load_it(tmp_path: Path) -> None:
    trained = packages.write(tmp_path / "p", packages.toy_job())
    blocks = code((tmp_path / "p" / CARD).read_text(encoding="utf-8"), "python")
    inputs = torch.rand(1, 3, 32, 32)
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "image.jpg")
    places = {loading.HERE: tmp_path / "p", lines.PLACE: ROOT, '"image.jpg"': repr(str(tmp_path / "image.jpg"))}
    ran: dict[str, Any] = {}
    for block in blocks:
        for place, there in places.items():
            block = block.replace(place, str(there))
        exec(block, ran)
        if "model = " in block:
            assert type(ran["model"]).__name__ == "Small" and ran["logits"].shape == (1, 3)
            assert torch.equal(ran["model"](inputs), trained(inputs))
    assert ran["state"].keys() == trained.state_dict().keys() == load_file(tmp_path / "p" / WEIGHTS).keys()


def test_a_delta_says_what_it_needs() -> None:
    job = replace(packages.toy_job(package="delta"), head=Head(outputs=3))
    text = card.text(manifest(job=job, delta={}, base=replace(BASE, requires="toy-model")))
    needed = "This package holds only what differs from its base `toy:small`, which is needed"
    assert f"{needed}; its weights come with the distribution `toy-model`." in text
    assert DELTA in text and WEIGHTS not in text and "pip install toy-model" not in text
    without = card.text(manifest(job=job, delta={}))
    assert f"{needed}.\n" in without and "distribution" not in without


def test_the_command_holds_what_is_not_a_default() -> None:
    job = packages.toy_job(compress="bf16", size=64)
    assert card.command(job) == "hubft finetune toy:small DATA --size 64 --compress bf16"
    odd = Job("toy:a b\x1b[31m\u202e", "d")
    assert card.command(odd) == "hubft finetune 'toy:a b?[31m?' DATA"


def test_many_classes_are_cut() -> None:
    names = tuple(f"class {i}" for i in range(card.ROWS + 5))
    text = card.text(manifest(task=Classification(names), metrics={}))
    assert f"into {card.ROWS + 5} classes: `class 0`" in text and f"`class 7` and {card.ROWS - 3} more." in text
    assert len(re.findall(r"^\| \d+ \| `class", text, re.MULTILINE)) == card.ROWS
    assert "And 5 more, in hubft.json.\n" in text


@pytest.mark.parametrize(
    ("name", "span", "shown"),
    [
        ("ant", "`ant`", "ant"),
        ("a`b", "``a`b``", "a`b"),
        ("`", "`` ` ``", "`"),
        ("a``b`", "``` a``b` ```", "a``b`"),
        (" a", "`  a `", " a"),
        ("a|b", r"`a\x7cb`", r"a\x7cb"),
        ("a\\", "`a\\`", "a\\"),
        ("x\ny", r"`x\ny`", r"x\ny"),
        ("o\u200bk\u034f", r"`o\u200bk\u034f`", r"o\u200bk\u034f"),
        ("w" * 100, f"`{'w' * 79}…`", "w" * 79 + "…"),
    ],
)
def test_foreign_text_is_a_code_span(name: str, span: str, shown: str) -> None:
    assert markdown.inert(name) == span
    table = MarkdownIt().enable("table").parse(f"| a | b |\n| --- | --- |\n| {span} | x |")
    cells = [token.children or [] for token in table if token.type == "inline"][2:]
    assert [[(t.type, t.content) for t in cell] for cell in cells] == [[("code_inline", shown)], [("text", "x")]]


def test_nothing_is_shown_as_empty() -> None:
    assert markdown.inert("") == "(empty)"
