"""Documents in tables: which columns hold them, and what is left out of them with which reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from hubft.base.errors import DataError
from hubft.data import reading
from hubft.data.rows import Rows
from hubft.job import Labels

KINDS = ("text", "images", "documents")
CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "x"}]


def read(path: Path, rows: list[dict[str, Any]], **labels: Any) -> Rows:
    path.write_text("\n".join(map(json.dumps, rows)))
    return reading.to_train(str(path), Labels(**labels), KINDS)


def documents(rows: Rows) -> list[Any]:
    source: Any = rows.source
    return [json.loads(source.open(row.place).getvalue()) for its in rows.parts.values() for row in its]


def test_they_are_found_by_the_names_of_their_columns(tmp_path: Path) -> None:
    pairs = read(tmp_path / "a.jsonl", [{"prompt": "a ", "completion": " b\n", "split": s} for s in ("train", "val")])
    assert pairs.kind == "documents" and pairs.columns == () and set(pairs.parts) == {"train", "val"}
    assert documents(pairs) == [{"prompt": "a ", "completion": " b\n"}] * 2, "not a blank is taken off"
    chats = read(tmp_path / "b.jsonl", [{"messages": CHAT, "id": 1}])
    assert documents(chats) == [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    assert documents(read(tmp_path / "c.jsonl", [{"text": "a b"}])) == [{"text": "a b"}]


def test_they_are_said_and_a_text_with_a_label_is_none(tmp_path: Path) -> None:
    rows = [{"question": "what is it", "answer": "that"}, {"question": "how is it", "answer": "so"}]
    said = read(tmp_path / "a.jsonl", rows, task="generation", input="question", target=("answer",))
    assert documents(said)[1] == {"prompt": "how is it", "completion": "so"}
    assert said.notes == ("columns: prompt 'question', completion 'answer'",)
    assert read(tmp_path / "b.jsonl", [{"text": "a b", "label": "x"}] * 2).kind == "text"
    assert read(tmp_path / "c.jsonl", [{"text": "a b", "label": "x"}] * 2, task="generation").kind == "documents"


def test_parquet_holds_messages_too(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist([{"messages": CHAT}] * 3), tmp_path / "a.parquet")
    found = reading.to_train(str(tmp_path / "a.parquet"), Labels(), KINDS)
    assert [one["messages"][1]["content"] for one in documents(found)] == ["b"] * 3


def test_what_is_none_is_left_out_with_its_reason(tmp_path: Path) -> None:
    bad = [[], "a", [{"role": 1, "content": "a"}], [{"role": "user", "content": "a"}], None]
    found = read(tmp_path / "a.jsonl", [{"messages": CHAT}, *({"messages": one} for one in bad)], task="generation")
    assert found.left_out == {
        "row 2": "it has no messages",
        "row 3": "its messages are no list",
        "row 4": "message 1 is no object with a role and a content, which are texts",
        "row 5": "none of its messages is of the role assistant: there is nothing to learn",
        "row 6": "it has no messages",
    }
    found = read(tmp_path / "b.jsonl", [{"prompt": "", "completion": "b"}, {"prompt": 1, "completion": "b"}])
    assert found.left_out == {"row 2": "its prompt is no text, but '1'"}


def test_choices_stand_beside_their_documents(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": " b", "choices": ["b", "c"]}, {"prompt": "a", "completion": " d"}]
    found = read(tmp_path / "a.jsonl", rows)
    assert documents(found) == [rows[0], {"prompt": "a", "completion": " d"}]
    assert "choices 'choices'" in found.notes[0]
    chats = read(tmp_path / "b.jsonl", [{"messages": CHAT, "choices": ["b", "c"]}])
    assert documents(chats)[0]["choices"] == ["b", "c"]
    assert documents(read(tmp_path / "c.jsonl", [{"text": "a b", "choices": ["b"]}], task="generation")) == [
        {"text": "a b"}
    ]
    assert "choices" not in documents(read(tmp_path / "d.jsonl", [{"prompt": "a", "completion": "b", "choices": 3}]))[0]
    bad: list[Any] = [["b"], ["b", " b "], ["c", "d"], ["b", " "], ["c", 1]]
    rows = [rows[0], *({"prompt": "a", "completion": "b", "choices": one} for one in bad[:4])]
    assert read(tmp_path / "e.jsonl", rows).left_out == {
        "row 2": "its 1 choices are not 2 to 26 texts that differ",
        "row 3": "its 2 choices are not 2 to 26 texts that differ",
        "row 4": "its answer 'b' is none of its choices: 'c', 'd'",
        "row 5": "its choices are no list of texts",
    }


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, r"has no columns prompt and completion, nor one of messages or text: it has 'q', 'a', 'b'; say"),
        ({"target": ("a",)}, "name the column of the prompts with"),
        ({"input": "q", "target": ("a", "b")}, "a document has one completion"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(tmp_path: Path, labels: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path / "a.jsonl", [{"q": "what is it", "a": "that one", "b": "c"}], task="generation", **labels)
