"""Tables of text: which column is what, which rows are used, and every refusal in one line."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pictures import fill, noise

from hubft.base.errors import DataError
from hubft.data import table
from hubft.data.rows import Rows
from hubft.data.source import Folder, below
from hubft.job import Labels

HEAD = "image,label\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with 0.png to 9.png; tables are written beside them."""
    return fill(tmp_path, range(10))


def write(folder: Path, text: str | bytes, name: str = "photos.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path | str, **labels: Any) -> Rows:
    return table.read(path, Labels(**labels))


def refusal(path: Path | str, **labels: Any) -> str:
    """Return what a table is refused for, as the command line prints it: one line."""
    with pytest.raises(DataError) as caught:
        read(path, **labels)
    assert "\n" not in caught.value.typed()
    return caught.value.typed()


def stated(rows: Rows, part: str = "train") -> list[tuple[Any, ...]]:
    return [(row.place, *row.values) for row in rows.parts[part]]


# --- what a table says ------------------------------------------------------------------------------------------


def test_a_csv_gives_a_row_a_line(photos: Path) -> None:
    rows = read(write(photos, HEAD + "0.png,cat\n\n1.png,dog\n"))
    assert stated(rows) == [("0.png", "cat"), ("1.png", "dog")]
    assert [row.number for row in rows.parts["train"]] == [1, 2]
    assert rows.columns == ("label",) and rows.notes == ("columns: input 'image', target 'label'",)
    assert rows.source.open("1.png") == photos / "1.png" and not rows.left_out and not rows.names


@pytest.mark.parametrize("text", ["NA", "None", "nan", "null", "NULL", "1", "007", "2024-01-02", "True"])
def test_a_text_that_others_take_for_a_gap_or_a_number_is_a_value(photos: Path, text: str) -> None:
    assert stated(read(write(photos, HEAD + f"0.png,{text}\n"))) == [("0.png", text)]
    line = json.dumps({"image": "0.png", "label": text})
    assert stated(read(write(photos, line, "a.jsonl"))) == [("0.png", text)]


@pytest.mark.parametrize("empty", ["", '""', "  "])
def test_an_empty_cell_is_a_gap(photos: Path, empty: str) -> None:
    assert stated(read(write(photos, HEAD + f"0.png,{empty}\n1.png,cat\n"))) == [("0.png", None), ("1.png", "cat")]


def test_a_target_that_is_empty_everywhere_is_left_to_the_task(photos: Path) -> None:
    assert stated(read(write(photos, HEAD + "0.png,\n1.png,\n"))) == [("0.png", None), ("1.png", None)]


@pytest.mark.parametrize("name,between", [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("A.CSV", ",")])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_ends_of_lines_and_a_mark_are_seen(
    photos: Path, name: str, between: str, mark: bytes, end: str
) -> None:
    lines = [f"image{between}label", f"0.png{between}Käse", f'1.png{between}"a{between}b"', ""]
    rows = read(write(photos, mark + end.join(lines).encode(), name))
    assert stated(rows) == [("0.png", "Käse"), ("1.png", f"a{between}b")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_json_keeps_its_types(photos: Path, name: str) -> None:
    values: list[Any] = [1, 1.0, True, "1", ["a", "b"], [], None, "", float("nan"), [1, None]]
    lines = [json.dumps({"image": f"{i}.png", "label": value}) for i, value in enumerate(values)]
    found = [row.values[0] for row in read(write(photos, "\n".join(lines), name)).parts["train"]]
    expected = [1, 1.0, True, "1", ["a", "b"], [], None, None, None, [1]]
    assert [*map(repr, found)] == [*map(repr, expected)]


def test_a_json_file_may_be_an_array_and_lack_keys(photos: Path) -> None:
    rows = read(write(photos, json.dumps([{"image": "0.png"}, {"image": "1.png", "label": "x"}], indent=1), "a.json"))
    assert stated(rows) == [("0.png", None), ("1.png", "x")]


def test_equal_texts_are_kept_once(photos: Path) -> None:
    rows = read(write(photos, HEAD + "0.png,a cat\n1.png,a cat\n")).parts["train"]
    assert rows[0].values is rows[1].values


def test_numbers_that_are_equal_and_of_another_type_stay_apart(photos: Path) -> None:
    lines = [json.dumps({"image": f"{i}.png", "label": one}) for i, one in enumerate([True, 1, 1.0])]
    rows = read(write(photos, "\n".join(lines), "a.jsonl")).parts["train"]
    assert [type(row.values[0]) for row in rows] == [bool, int, float]


# --- which column is what ---------------------------------------------------------------------------------------


def test_the_input_is_the_column_whose_files_are_there(photos: Path) -> None:
    rows = read(write(photos, "id,what,file\n1,cat,0.png\n2,dog,1.png\n"), target=("what",))
    assert stated(rows) == [("0.png", "cat"), ("1.png", "dog")]


def test_the_tables_of_fastai_are_taken_as_they_are(photos: Path) -> None:
    rows = read(write(photos, "fname,labels,is_valid\n0.png,chair car,True\n1.png,dog,False\n"))
    assert stated(rows) == [("1.png", "dog")] and stated(rows, "val") == [("0.png", "chair car")]
    assert rows.notes == ("columns: input 'fname', target 'labels', split 'is_valid'",)


def test_of_two_columns_of_images_the_one_called_so_is_taken(photos: Path) -> None:
    path = write(photos, "mask,image,label\n0.png,1.png,x\n")
    assert stated(read(path)) == [("1.png", "x")]
    assert stated(read(path, input="mask", target=("label",))) == [("0.png", "x")]
    message = refusal(write(photos, "left,right,label\n0.png,1.png,x\n"))
    assert "'left', 'right'" in message and message.endswith("--input COLUMN")


def test_the_index_of_a_data_frame_is_no_label(photos: Path) -> None:
    assert stated(read(write(photos, ",image,kind\n0,0.png,x\n"))) == [("0.png", "x")]


def test_of_several_columns_the_one_called_a_label_is_the_target(photos: Path) -> None:
    assert read(write(photos, "image,age,Category\n0.png,3,x\n")).columns == ("Category",)
    message = refusal(write(photos, "image,age,height\n0.png,3,4\n"))
    assert "'image', 'age', 'height'" in message and "--target COLUMN" in message
    assert "--target COLUMN" in refusal(write(photos, "image\n0.png\n"))
    assert "--target COLUMN" in refusal(write(photos, "image,label,class\n0.png,3,4\n"))


def test_several_targets_keep_the_order_in_which_they_are_given(photos: Path) -> None:
    rows = read(write(photos, "image,a,b\n0.png,1,2\n"), target=("b", "a"))
    assert rows.columns == ("b", "a") and stated(rows) == [("0.png", "2", "1")]


def test_a_column_that_is_not_there_is_refused_with_those_that_are(photos: Path) -> None:
    path = write(photos, "image,colour\n0.png,red\n")
    message = refusal(path, target=("color",))
    assert "'color'" in message and "--target" in message and "'image', 'colour'" in message
    assert "Did you mean 'colour'?" in message
    for role in ("input", "split", "group"):
        assert f"--{role}" in refusal(path, **{role: "nothing"})


def test_a_column_has_one_role(photos: Path) -> None:
    message = refusal(write(photos, HEAD + "0.png,red\n"), target=("label",), group="label")
    assert "'label'" in message and "--target" in message and "--group" in message


def test_an_input_of_which_no_file_is_there_is_refused(photos: Path) -> None:
    for path in (write(photos, HEAD + "gone.png,red\n"), write(photos, "fname,label\nsub/0.png,red\n")):
        message = refusal(path)
        assert ".png'" in message and str(photos) in message and "--images FOLDER" in message
    assert "--images FOLDER" in refusal(write(photos, HEAD + "gone.png,red\n"), input="image")
    assert "--input COLUMN" in refusal(write(photos, "a,b\nx,y\n"))
    assert "--input" in refusal(write(photos, HEAD + ",red\n"), input="image")


def test_a_single_file_that_is_gone_is_told_when_it_is_opened(photos: Path) -> None:
    rows = read(write(photos, HEAD + "0.png,a\ngone.png,b\n"))
    assert len(rows.parts["train"]) == 2 and not rows.left_out
    with pytest.raises(DataError, match="no such file"):
        rows.source.open("gone.png")


# --- where paths lead -------------------------------------------------------------------------------------------


def test_images_says_where_paths_begin(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("elsewhere"), HEAD + f"0.png,a\n{photos / '1.png'},b\n")
    rows = read(path, images=str(photos))
    assert stated(rows) == [("0.png", "a"), ("1.png", "b")] and rows.source == Folder(photos)
    message = refusal(path, images=str(photos / "0.png"))
    assert "no folder" in message and "--images" in message


def test_rows_that_lead_nowhere_are_left_out_with_the_reason(photos: Path) -> None:
    fill(photos / "sub", range(1))
    lines = [
        "0.png,a",
        ",b",
        "../x.png,c",
        "/etc/x.png,d",
        "sub\\0.png,e",
        "C:\\x.png,f",
        "./1.png,g",
        "sub/../2.png,h",
    ]
    rows = read(write(photos, HEAD + "\n".join([*lines, "http://a.b/c.png,i", "sub/,j", ".,k", "a\0b,l"]) + "\n"))
    assert stated(rows) == [("0.png", "a"), ("sub/0.png", "e"), ("1.png", "g"), ("2.png", "h")]
    outside = f"leads out of {str(photos)!r}"
    assert rows.left_out == {
        "row 2": "path is empty",
        "row 3": f"'../x.png' {outside}",
        "row 4": f"'/etc/x.png' {outside}",
        "row 6": f"'C:\\\\x.png' {outside}",
        "row 9": "'http://a.b/c.png' is a URL, no file",
        "row 10": "'sub/' is a folder",
        "row 11": "'.' is a folder",
        "row 12": "path holds a NUL",
    }


def test_a_folder_that_is_a_link_is_known_by_both_of_its_paths(photos: Path) -> None:
    link = photos / "link"
    (photos / "real").mkdir()
    link.symlink_to(photos / "real")
    assert below(str(photos / "real" / "a.png"), link) == below(str(link / "a.png"), link) == "a.png"


@pytest.mark.parametrize("place", ["sub", "gone.png", "n" * 300 + ".png"])
def test_what_is_no_file_is_refused_when_it_is_opened(photos: Path, place: str) -> None:
    (photos / "sub").mkdir()
    with pytest.raises(DataError, match=r"regular file|no such file"):
        Folder(photos).open(place)


def test_rows_that_repeat_are_left_out_and_those_that_contradict_are_told(photos: Path) -> None:
    rows = read(write(photos, HEAD + "0.png,a\n0.png,a\n1.png,b\n./1.png,c\n"))
    assert stated(rows) == [("0.png", "a"), ("1.png", "b")]
    assert rows.left_out == {"row 4": "'1.png' is in row 3 too, with other labels"}
    assert rows.notes[1] == "left out, 1 rows that say again what an earlier row says"


# --- the split --------------------------------------------------------------------------------------------------

SPLIT = "image,label,split\n"


@pytest.mark.parametrize(
    "column,values",
    [
        ("split", ("train", "val", "test")),
        ("Split", ("Training", "VALIDATION", "testing")),
        ("subset", ("train", "dev", "test")),
        ("partition", (" train", "valid ", "test")),
    ],
)
def test_a_split_column_is_found_and_kept(photos: Path, column: str, values: tuple[str, ...]) -> None:
    lines = [f"{i}.png,x,{value}" for i, value in enumerate(values * 2)]
    rows = read(write(photos, f"image,label,{column}\n" + "\n".join(lines)))
    for i, part in enumerate(("train", "val", "test")):
        assert stated(rows, part) == [(f"{i}.png", "x"), (f"{i + 3}.png", "x")]
        assert rows.titles[part] == f"{column} == {values[i]!r}"


def test_a_column_of_yes_and_no_splits_by_its_name(photos: Path) -> None:
    lines = [json.dumps({"image": f"{i}.png", "label": "x", "is_test": i == 1}) for i in range(2)]
    rows = read(write(photos, "\n".join(lines), "a.jsonl"), split="is_test")
    assert stated(rows) == [("0.png", "x")] and stated(rows, "test") == [("1.png", "x")] and "val" not in rows.parts


def test_a_column_that_names_no_part_is_no_split_unless_it_is_given(photos: Path) -> None:
    path = write(photos, "image,label,subset\n0.png,x,A\n")
    assert "split" not in read(path).notes[0] and not read(path).titles
    message = refusal(path, split="subset")
    assert "row 1" in message and "'A'" in message and "train" in message and "test" in message


def test_a_value_that_is_no_part_is_refused_with_its_row(photos: Path) -> None:
    message = refusal(write(photos, SPLIT + "0.png,x,train\n1.png,x,trian\n"))
    assert "row 2" in message and "'trian'" in message and "validation" in message


def test_a_split_without_training_rows_is_refused(photos: Path) -> None:
    assert "no part to train on" in refusal(write(photos, SPLIT + "0.png,x,test\n1.png,x,val\n"))


def test_a_row_without_a_part_is_left_out(photos: Path) -> None:
    assert read(write(photos, SPLIT + "0.png,x,train\n1.png,x,\n")).left_out == {"row 2": "'split' is empty"}


def test_a_path_in_two_parts_is_refused(photos: Path) -> None:
    message = refusal(write(photos, SPLIT + "0.png,x,train\n1.png,x,val\n0.png,x,val\n"))
    assert "'0.png'" in message and "row 1" in message and "row 3" in message


def test_a_group_stays_on_one_side(photos: Path) -> None:
    head = "image,label,split,who\n"
    rows = read(write(photos, head + "0.png,x,train,A\n1.png,x,val,B\n2.png,x,train,\n3.png,x,val,\n"), group="who")
    assert [row.group for row in rows.parts["train"]] == ["A", ""]
    message = refusal(write(photos, head + "0.png,x,train,A\n1.png,x,val,A\n"), group="who")
    assert "'A'" in message and "'who'" in message and "train" in message and "val" in message


# --- what is no table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,text,said",
    [
        ("a.csv", "", "no columns"),
        ("a.csv", "\n\n", "no columns"),
        ("a.jsonl", "", "no rows"),
        ("a.csv", "image,label\n", "no rows"),
        ("a.csv", "0.png,cat\n1.png,dog\n", "first line must name the columns"),
        ("a.csv", "image,label,label\n0.png,1,2\n", "more than one column 'label'"),
        ("a.csv", HEAD + "0.png,a\n1.png,b,c\n", "row 2 has 3 cells"),
        ("a.csv", HEAD + "0.png,a\n1.png\n", "row 2 has 1 cells"),
        ("a.csv", HEAD + '0.png,"a\n1.png,b\n', "does not end"),
        ("a.csv", HEAD.encode() + b"0.png,a\n1.png,K\xe4se\n", "not UTF-8 in line 3"),
        ("a.csv", (HEAD + "0.png,a\n").encode("utf-16"), "UTF-16"),
        ("a.csv", (HEAD + "0.png,a\n").encode("utf-16-le"), "UTF-16"),
        ("a.csv", b"PAR1....", "is Parquet"),
        ("a.csv", b"PK\x03\x04...", "Excel"),
        ("a.tsv", b"\x1f\x8b\x08...", "gzip"),
        ("a.parquet", "image,label\n", "no Parquet"),
        ("a.parquet", "", "no Parquet"),
        ("a.parquet", b"PAR1" + b"x" * 50, "cut or damaged"),
        ("a.jsonl", '{"image": "0.png", "label": 1}\n\n[1]\n', "line 3"),
        ("a.jsonl", '{"image": "0.png", "label": 1}\n{"image": \n', "line 2"),
        ("a.jsonl", '[{"image": "0.png", "label": 1}]', "name it a.json"),
        ("a.json", '[{"image": "0.png", "label": 1}, 2]', "row 2"),
        ("a.json", '[{"image": "0.png"', "no JSON"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.xlsx", b"PK", "'.csv', '.tsv'"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(photos: Path, name: str, text: str | bytes, said: str) -> None:
    message = refusal(write(photos, text, name))
    assert said in message and repr(name) in message


def test_a_picture_called_a_table_is_told(photos: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        noise(1).save(photos / name, format="PNG")
        assert "is an image" in refusal(photos / name)


def test_a_target_that_holds_an_object_is_left_out(photos: Path) -> None:
    lines = [json.dumps({"image": f"{i}.png", "label": one}) for i, one in enumerate(["x", {"a": 1}, [[1]]])]
    rows = read(write(photos, "\n".join(lines), "a.jsonl"))
    assert rows.left_out == {"row 2": "'label' holds an object", "row 3": "'label' holds a list of lists"}


def test_nothing_at_a_path_and_addresses_are_told(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "gone.csv")
    assert "URL" in refusal("https://example.org/a.csv")
    (tmp_path / "a.csv").mkdir()
    assert "holds no table" in refusal(tmp_path / "a.csv")


# --- a table among its images -----------------------------------------------------------------------------------


def test_metadata_among_the_images_of_each_part(tmp_path: Path) -> None:
    for part, suffix in (("train", "csv"), ("validation", "jsonl")):
        fill(tmp_path / part, range(2))
        lines = {
            "csv": "file_name,kind\n0.png,a\n1.png,b\n",
            "jsonl": '{"file_name": "0.png", "kind": "a"}\n{"file_name": "../x", "kind": "a"}\n',
        }
        write(tmp_path / part, lines[suffix], f"metadata.{suffix}")
    rows = read(tmp_path)
    assert stated(rows) == [("train/0.png", "a"), ("train/1.png", "b")]
    assert stated(rows, "val") == [("validation/0.png", "a"), ("x", "a")]
    assert rows.titles["val"] == "validation/metadata.jsonl" and rows.source.open("train/0.png").is_file()


def test_metadata_above_the_folders_of_a_split_takes_them_for_its_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        fill(tmp_path / part, range(1))
    rows = read(write(tmp_path, "file_name,kind\ntrain/0.png,a\ntest/0.png,b\n", "metadata.csv").parent)
    assert stated(rows) == [("train/0.png", "a")] and stated(rows, "test") == [("test/0.png", "b")]
    fill(tmp_path, range(1))
    write(tmp_path, "file_name,kind\ntrain/0.png,a\n0.png,b\n", "metadata.csv")
    assert "'0.png'" in refusal(tmp_path) and "split" in refusal(tmp_path)


def test_two_tables_for_the_same_images_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train", range(1))
    for folder in (tmp_path, tmp_path / "train"):
        write(folder, "file_name,kind\n0.png,a\n", "metadata.csv")
    assert "keep one" in refusal(tmp_path)
    write(tmp_path / "train", '{"file_name": "0.png", "kind": "a"}', "metadata.jsonl")
    assert "keep one" in refusal(tmp_path)


def test_what_is_a_table_and_what_is_a_folder_of_classes(photos: Path) -> None:
    classes = fill(photos / "classes" / "cat", range(1)).parent
    assert not table.is_table(classes) and not table.is_table(photos / "gone")
    write(classes, "name,born\nme,1970\n", "metadata.csv")
    assert not table.is_table(classes), "a table that names no files describes something else"
    write(classes, "file_name,kind\ncat/0.png,1\n", "metadata.csv")
    assert table.is_table(classes) and stated(read(classes)) == [("cat/0.png", "1")]
    assert table.is_table("datasets:owner/name") and table.is_table("gone.csv") and table.is_table(photos / "0.png")
    (classes / "hubft.json").write_text("{}")
    assert not table.is_table(classes), "written by hubft"


# --- the house --------------------------------------------------------------------------------------------------


def test_rows_can_be_sent_to_another_process(photos: Path) -> None:
    rows = read(write(photos, HEAD + "0.png,a\n"))
    assert pickle.loads(pickle.dumps(rows)) == rows


def test_a_table_of_text_is_read_without_torch_and_arrow(photos: Path) -> None:
    path = write(photos, HEAD + "0.png,a\n")
    code = (
        "import sys; from hubft.data import table; from hubft.job import Labels; "
        f"table.read({str(path)!r}, Labels()); print({{'torch', 'pyarrow', 'datasets', 'pandas'}} & sys.modules.keys())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "set()\n"
