"""A package of texts, and one of sentences, on a Hub: what the command and the card say of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentences
import texts
from extras import needs
from loopback.hub import Hub, serving
from terminal import TOKEN, Terminal

from hubft import Job, engine
from hubft.job import Recipe

for module, extra in (("transformers", "transformers"), ("onnx", "onnx"), ("onnxruntime", "onnx")):
    needs(module, extra)

KINDS = {"text": ("reviews.csv", texts.table), "sentence": ("words.jsonl", sentences.table)}
EXAMPLES = {"text": "A text of yours.", "sentence": "Anna lives in Paris"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run on it, of each kind."""
    folder = tmp_path_factory.mktemp("made")
    model = texts.model(folder / "tiny")
    for kind, (name, table) in KINDS.items():
        data = table(folder / name)
        recipe = Recipe(epochs=1, batch_size=16, lr=3e-3)
        engine.finetune(Job(f"transformers:{model}", data, recipe=recipe, output=folder / kind))
    return folder


@pytest.fixture
def user(made: Path, tmp_path: Path, server: str) -> Iterator[Terminal]:
    with serving(Hub(token=TOKEN)) as hub:
        one = Terminal(hub, tmp_path, server)
        for kind, (name, _) in KINDS.items():
            shutil.copytree(made / kind / "package", one.work / kind)
            shutil.copyfile(made / name, one.work / name)
        yield one


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_pushed_with_an_export_and_the_card_speaks_of_its_inputs(user: Terminal, kind: str) -> None:
    pushed = user.run("push", kind, "me/words", "--with", "onnx:int8", "--data", KINDS[kind][0], "--max-drop", "90")
    assert pushed.code == 0 and f"on 16 validation {kind}s, agreement" in pushed.out, pushed.err
    files, (_, message) = user.hub.files("me/words"), user.hub.messages.values()
    card, reached = files["README.md"].decode(), f", 16 {kind}s)"
    assert "image" not in card and f"on held-out {kind}s: **" in card and f"`DATA` holds these {kind}s:" in card
    assert "pipeline_tag: token-classification" in card if kind == "sentence" else "text-classification" in card
    assert "      type: text\n" in card and "| `onnx/model_quantized.onnx` | ONNX Runtime | int8 |" in card
    assert f"hubft predict me/words '{EXAMPLES[kind]}'" in card and f'ask("{EXAMPLES[kind]}")' in card
    assert message.endswith(reached) and {"tokenizer.json", "onnx/model_quantized.onnx"} <= set(files)
    assert reached in user.run("show", kind).out
    assert reached in user.run("pull", "me/words").out.splitlines()[0]
