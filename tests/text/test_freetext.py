"""Which column of a table holds the texts, and what becomes of its cells."""

from pathlib import Path

import pyarrow.parquet
import pytest

from hubft import HubftError
from hubft.data import asked, reading
from hubft.job import Columns, Labels


def table(folder: Path, text: str, name: str = "rows.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("lines", "input", "target"),
    [
        ("text,label\ngood,1\nbad,0\n", "text", "label"),  # by its name: one word each
        ("stars,opinion\n5,I like it\n1,I do not\n", "opinion", "stars"),  # by its cells
        ("note,label\n好的电影,1\n差,0\n", "note", "label"),  # a script without blanks
        ("by,text,label\nAnn Lee,I like it,1\nBob Ray,I do not,0\n", "text", "label"),  # two by cells, one by name
        ('text,label\n,x\n"two\nlines",y\n', "text", "label"),
    ],
)
def test_the_column_of_texts_is_found(tmp_path: Path, lines: str, input: str, target: str) -> None:
    rows = reading.to_train(table(tmp_path, lines), Labels(), ("text",))
    assert rows.columns == (target,) and rows.notes[-1].startswith(f"columns: input {input!r}")
    assert rows.kind == "text"


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        (
            "first,second,label\na b,c d,1\nb a,d c,0\n",
            {},
            "more than one column that may hold texts, 'first', 'second'",
        ),
        ("number,label\n1,x\n2,y\n", {}, "no column that may hold texts: it has 'number', 'label'"),
        ("text,label\na b,1\n", {"images": "."}, "a column of text holds no paths; leave it out"),
        ("text,label\n,1\n", {"input": "text"}, "column 'text' of 'rows.csv' holds no texts"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, lines: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(HubftError, match=said):
        reading.to_train(table(tmp_path, lines), Labels(**options), ("text",))


def test_a_given_column_is_taken(tmp_path: Path) -> None:
    data = table(tmp_path, "text,title,label\nlong text,A title,1\nmore text,Another,0\n")
    rows = reading.to_train(data, Labels(input="title"), ("text",))
    assert [rows.source.open(row.place).read().decode() for row in rows.parts["train"]] == ["A title", "Another"]


def test_texts_stay_whole_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    odd = "  \U0001f468\u200d\U0001f469 e\u0301 \t\u0645\u0631 "
    rows = reading.to_train(table(tmp_path, f'text,label\n"{odd}",1\n  ,0\nNA,0\n'), Labels(), ("text",))
    assert [rows.source.open(row.place).read().decode() for row in rows.parts["train"]] == [odd, "NA"]
    assert rows.left_out == {"row 2": "'text' is empty"}


def test_a_table_of_parquet_has_its_texts_too(tmp_path: Path) -> None:
    columns = {"said": ["I like it", "I do not", None], "label": ["x", "y", "x"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    rows = reading.to_train(str(tmp_path / "rows.parquet"), Labels(), ("text",))
    assert [rows.source.open(row.place).read() for row in rows.parts["train"]] == [b"I like it", b"I do not"]
    assert rows.left_out == {"row 3": "'said' is empty"}


def test_equal_texts_are_rows_of_their_own(tmp_path: Path) -> None:
    rows = reading.to_train(table(tmp_path, "text,label\nthe same,1\nthe same,0\nthe same,1\n"), Labels(), ("text",))
    assert [row.values for row in rows.parts["train"]] == [("1",), ("0",), ("1",)]


def test_class_folders_hold_no_texts(tmp_path: Path) -> None:
    with pytest.raises(HubftError, match="class folders, which hold images; of text, give a table"):
        reading.to_train(str(tmp_path), Labels(), ("text",))


def test_what_is_asked_is_a_text_a_file_or_a_table(tmp_path: Path) -> None:
    rows = table(tmp_path, "text\nfirst of all\nthe second\n")
    file = table(tmp_path, "of a file", "one.txt")
    found = asked.texts(["Is this / it?", file, rows])
    read = [one.open() for one in found.inputs]
    assert [one.read_bytes() if isinstance(one, Path) else one.read() for one in read] == [
        *(b"Is this / it?", b"of a file", b"first of all", b"the second")
    ]
    assert [one.name for one in found.inputs] == ["Is this / it?", file, "rows.csv#0", "rows.csv#1"]


@pytest.mark.parametrize(("given", "said"), [("gone.csv", "does not exist"), (".", "is a folder")])
def test_what_cannot_be_asked_is_said(given: str, said: str) -> None:
    with pytest.raises(HubftError, match=said):
        asked.texts([given])


def test_columns_of_images_are_found_as_before(tmp_path: Path) -> None:
    with pytest.raises(HubftError, match="no column with paths of images"):
        reading.inputs(table(tmp_path, "text\nfirst of all\n"), Columns())
