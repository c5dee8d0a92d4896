"""Sentences of words with tags in tables: which columns hold them, and what is left out with which reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from hubft.base.errors import DataError
from hubft.data import reading
from hubft.data.rows import Rows
from hubft.data.words import Typed
from hubft.job import Columns, Labels

KINDS = ("text", "images", "documents", "words")
ROW = {"tokens": ["Anna", "sings"], "tags": ["B-PER", "O"]}


def read(path: Path, rows: list[dict[str, Any]], **labels: Any) -> Rows:
    path.write_text("\n".join(map(json.dumps, rows)))
    return reading.to_train(str(path), Labels(**labels), KINDS)


def words(rows: Rows) -> list[Any]:
    source: Any = rows.source
    return [json.loads(source.open(row.place).getvalue())["words"] for its in rows.parts.values() for row in its]


@pytest.mark.parametrize("names", [("tokens", "tags"), ("words", "labels"), ("tokens", "ner_tags")])
def test_they_are_found_by_the_names_of_their_columns(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = [{"id": i, names[0]: ["Anna", "sings"], names[1]: ["B-PER", "O"], "split": s} for i, s in
            enumerate(("train", "val"))]  # fmt: skip
    found = read(tmp_path / "a.jsonl", rows)
    assert (found.kind, found.task, found.columns, {*found.parts}) == ("words", "tokens", names[1:], {"train", "val"})
    assert words(found) == [["Anna", "sings"]] * 2 and found.parts["val"][0].values == (["B-PER", "O"],)
    assert found.notes == (f"columns: words '{names[0]}', tags '{names[1]}', split 'split'",)


def test_they_are_said_and_other_lists_are_none(tmp_path: Path) -> None:
    rows = [{"form": ["Anna"], "pos": ["NOUN"], "tags": ["x"]}] * 2
    assert words(read(tmp_path / "a.jsonl", rows, task="tokens", input="form", target=("pos",))) == [["Anna"]] * 2
    assert read(tmp_path / "b.jsonl", rows, input="form", target=("pos",)).kind == "words"
    assert read(tmp_path / "c.jsonl", [{"text": "a b", "tags": ["x"]}, {"text": "a c", "tags": ["y"]}]).kind == "text"
    assert read(tmp_path / "d.jsonl", [{**ROW, "text": "a b"}] * 2, task="generation").kind == "documents"
    for labels, said in (
        ({"input": "form"}, "has no two columns that are lists of words"),
        ({"pair": "pos"}, "words are of one sentence"),
        ({"target": ("pos", "form")}, "a word has one tag"),
    ):
        with pytest.raises(DataError, match=said):
            read(tmp_path / "a.jsonl", [{"form": ["Anna"], "pos": ["NOUN"]}], task="tokens", **labels)


def test_what_is_none_is_left_out_with_its_reason(tmp_path: Path) -> None:
    bad = [
        (["a"], ["O", "O"], "it has 1 words and 2 tags"),
        ([], [], "it has no words"),
        (None, ["O"], "it has no words"),
        ("a", ["O"], "its words are no list, but 'a'"),
        (["a"], None, "it has no tags"),
        (["a"], [7], "tag 1 is no text, but '7'"),
        (["a", "b"], ["O", None], "tag 2 is empty"),
        (["a", " "], ["O", "O"], "word 2 is empty"),
    ]
    rows = [ROW, *({"tokens": one, "tags": tags} for one, tags, _ in bad)]
    found = read(tmp_path / "a.jsonl", rows, task="tokens", input="tokens", target=("tags",))
    assert found.left_out == {f"row {number}": why for number, (*_, why) in enumerate(bad, 2)}
    assert words(found) == [["Anna", "sings"]]


def test_parquet_names_the_tags_of_its_numbers(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.Table.from_pylist([{"tokens": ["Anna", "sings"], "ner_tags": [1, 0]}] * 3)
    tags = {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "Sequence"}
    known = json.dumps({"info": {"features": {"ner_tags": tags}}})
    parquet.write_table(table.replace_schema_metadata({"huggingface": known}), tmp_path / "a.parquet")
    found = reading.to_train(str(tmp_path / "a.parquet"), Labels(), KINDS)
    assert found.names == {"ner_tags": ("O", "B-PER")} and found.parts["train"][0].values == (["B-PER", "O"],)


@pytest.mark.parametrize(("task", "inputs"), [("tokens", "words"), ("generation", "documents")])
@pytest.mark.parametrize("data", ["a.jsonl", "."])
def test_a_model_of_other_inputs_is_what_is_named(tmp_path: Path, task: str, inputs: str, data: str) -> None:
    read(tmp_path / "a.jsonl", [ROW] * 2)
    said = f"task {task} needs a model of {inputs}, .* family transformers, and this one takes images or text: take"
    with pytest.raises(DataError, match=said):
        reading.to_train(str(tmp_path / data), Labels(task=task), ("images", "text"))


def test_of_what_is_asked_about_the_words_alone_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"sentence": ["Anna", "sings"]}) + "\n" + json.dumps({"sentence": []}))
    found = reading.inputs(str(path), Columns(), "words")
    assert words(found) == [["Anna", "sings"]] and found.left_out == {"row 2": "it has no words"}
    (tmp_path / "b.txt").write_text("\ufeffAnna \n sings ", encoding="utf-8")
    stated = json.loads(Typed().open(str(tmp_path / "b.txt")).getvalue())
    assert stated == {"words": ["Anna", "sings"], "text": "Anna \n sings "}
    (tmp_path / "c.txt").write_text(" \n")
    for place, said in (("c.txt", "the text is empty"), ("d.txt", "no such file")):
        with pytest.raises(DataError, match=said):
            Typed().open(str(tmp_path / place))


def test_a_word_a_line_is_read_as_conll_has_it(tmp_path: Path) -> None:
    text = (
        "-DOCSTART- -X- O O\n\nAnna NNP B-NP B-PER\r\nsings VB O O\n\n\n  \n"
        "New York\tB-LOC\n\nlost\nwhole O\n\n" + "x O\n-DOCSTART- O\ny O\n"
    )
    (tmp_path / "a.conll").write_text(text, encoding="utf-8", newline="")
    found = reading.to_train(str(tmp_path / "a.conll"), Labels(), KINDS)
    assert found.kind == "words" and words(found) == [["Anna", "sings"], ["New York"], ["x"], ["y"]]
    assert [row.values[0] for row in found.parts["train"]] == [["B-PER", "O"], ["B-LOC"], ["O"], ["O"]]
    assert found.left_out == {"row 3": "it has 2 words and 1 tags"}
    asked = reading.inputs(str(tmp_path / "a.conll"), Columns(), "words")
    assert words(asked)[2] == ["lost", "whole"] and not asked.left_out
    (tmp_path / "b.conll").write_bytes(b"Anna\xff B-PER\n")
    with pytest.raises(DataError, match=r"'b\.conll' is not UTF-8 in line 1"):
        reading.to_train(str(tmp_path / "b.conll"), Labels(), KINDS)
