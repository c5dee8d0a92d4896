"""Parquet: shards and their parts, the types of cells, and images inside of a file."""

import json
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import fill, noise
from PIL import Image

from hubft.base.errors import DataError
from hubft.data import parquet, table
from hubft.data.rows import Rows
from hubft.job import Labels


def png(seed: int) -> bytes:
    file = BytesIO()
    noise(seed).save(file, format="PNG")
    return file.getvalue()


def inside(seeds: range, form: str = "struct") -> pa.Table:
    """Return a table with an image and its class a row, the bytes alone or as `datasets` stores them."""
    images: list[Any] = [png(seed) for seed in seeds]
    if form == "struct":
        images = [{"bytes": one, "path": f"{seed}.png"} for seed, one in zip(seeds, images, strict=True)]
    return pa.table({"image": images, "label": ["ab"[seed % 2] for seed in seeds]})


def write(path: Path, data: pa.Table, group: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(data, path, row_group_size=group)
    return path


def read(path: Path, **labels: Any) -> Rows:
    return table.read(path, Labels(**labels))


def refusal(path: Path, **labels: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **labels)
    assert "\n" not in caught.value.typed()
    return caught.value.typed()


def pixels(source: Any, place: str) -> bytes:
    return Image.open(source.open(place)).tobytes()


# --- rows -------------------------------------------------------------------------------------------------------


def test_cells_keep_their_types(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    columns = {
        "path": ["0.png", "1.png", "2.png", None],
        "whole": pa.array([1, None, 3, 4], pa.int8()),
        "real": [0.5, float("nan"), None, 1.0],
        "flag": [True, False, None, True],
        "text": pa.array(["NA", "", None, "x"]).dictionary_encode(),
        "many": [["a", "b"], [], None, ["c"]],
        "day": pa.array([0, 1, None, 2], pa.date32()),
        "bytes": [b"a", None, b"", b"c"],
        "object": [{"a": 1}] * 4,
    }
    path = write(tmp_path / "a.parquet", pa.table(columns))
    rows = read(path, input="path", target=("whole", "real", "flag", "text", "many", "day"))
    assert [row.values for row in rows.parts["train"]] == [
        (1, 0.5, True, "NA", ["a", "b"], "1970-01-01"),
        (None, None, False, None, [], "1970-01-02"),
        (3, None, None, None, None, None),
    ]
    assert rows.left_out == {"row 4": "path is empty"}
    assert "holds bytes" in refusal(path, input="path", target=("bytes",))
    assert read(path, input="path", target=("object",)).left_out["row 1"] == "'object' holds an object"


def test_the_names_of_classes_beside_the_schema_are_used(tmp_path: Path) -> None:
    features = {"label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    data = inside(range(3)).set_column(1, "label", [[2, 0, -1]])
    written = write(tmp_path / "a.parquet", data.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    ))  # fmt: skip
    rows = read(written)
    assert [row.values for row in rows.parts["train"]] == [("emu",), ("cat",), (None,)]
    assert rows.names == {"label": ("cat", "dog", "emu")}


@pytest.mark.parametrize("folder", ["", "data/", "split"])
def test_shards_are_one_table_and_their_names_say_the_part(tmp_path: Path, folder: str) -> None:
    names = {"train-00000-of-00002": range(4), "train-00001-of-00002": range(4, 6), "test-00000-of-00001": range(6, 9)}
    for name, seeds in names.items():
        file = f"{name.partition('-')[0]}/{name[-5:]}-{seeds[0]}" if folder == "split" else f"{folder}{name}"
        write(tmp_path / f"{file}.parquet", inside(seeds))
    assert table.is_table(tmp_path)
    rows = read(tmp_path)
    assert {part: len(found) for part, found in rows.parts.items()} == {"train": 6, "test": 3}
    for part, first in (("train", 0), ("test", 6)):
        for seed, row in enumerate(rows.parts[part], first):
            assert pixels(rows.source, row.place) == noise(seed).tobytes() and row.values == ("ab"[seed % 2],)
    if not folder:
        assert rows.parts["train"][4].place == "train-00001-of-00002.parquet#0" and rows.parts["train"][4].number == 1
        assert rows.titles["train"] == "train-00000-of-00002.parquet or train-00001-of-00002.parquet"


def test_files_without_a_part_are_all_to_train_on_or_told(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", inside(range(2)))
    write(tmp_path / "b.parquet", inside(range(2, 4)))
    assert len(read(tmp_path).parts["train"]) == 4
    write(tmp_path / "train.parquet", inside(range(4, 7)))
    rows = read(tmp_path)
    assert len(rows.parts["train"]) == 3 and "'a.parquet', 'b.parquet'" in rows.notes[0]


def test_shards_without_one_to_train_on_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "test.parquet", inside(range(2)))
    assert "no part to train on" in refusal(tmp_path)


@pytest.mark.parametrize(
    "other,said",
    [
        ({"image": [b"x"], "label": [1]}, ("'label'", "string", "int64")),
        ({"image": [b"x"]}, ("'label'", "string", "missing")),
        ({"image": [b"x"], "label": ["a"], "more": ["a"]}, ("'more'", "missing", "string")),
    ],
)
def test_shards_of_different_columns_are_refused(tmp_path: Path, other: dict[str, Any], said: tuple[str, ...]) -> None:
    write(tmp_path / "train-0.parquet", inside(range(2), "bytes"))
    write(tmp_path / "train-1.parquet", pa.table(other))
    message = refusal(tmp_path)
    assert all(word in message for word in (*said, "train-0.parquet", "train-1.parquet"))


def test_no_rows_and_columns_twice_are_refused(tmp_path: Path) -> None:
    assert "no rows" in refusal(write(tmp_path / "a.parquet", inside(range(0)).cast(inside(range(1)).schema)))
    twice = pa.Table.from_arrays([pa.array(["a"])] * 2, ["label", "label"])
    assert "more than one column 'label'" in refusal(write(tmp_path / "b.parquet", twice))


def test_a_file_that_is_cut_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", inside(range(40)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "cut or damaged" in refusal(path)
    path.write_bytes(data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :])
    assert "cut or damaged" in refusal(path)


def test_metadata_may_be_parquet(tmp_path: Path) -> None:
    fill(tmp_path / "train", range(2))
    write(tmp_path / "train" / "metadata.parquet", pa.table({"file_name": ["0.png", "1.png"], "kind": [1, 2]}))
    rows = read(tmp_path)
    assert [(row.place, row.values) for row in rows.parts["train"]] == [("train/0.png", (1,)), ("train/1.png", (2,))]
    assert rows.source.open("train/1.png") == tmp_path / "train" / "1.png"


# --- images inside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["struct", "bytes"])
@pytest.mark.parametrize("memory", [0, 2000, 1 << 40], ids=["none", "little", "enough"])
def test_images_are_opened_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, memory: int
) -> None:
    monkeypatch.setattr(parquet, "available_memory", lambda: memory)
    rows = read(write(tmp_path / "a.parquet", inside(range(40), form)))
    places = [row.place for row in rows.parts["train"]]
    assert places == [f"a.parquet#{i}" for i in range(40)]
    for i in (*range(39, -1, -1), *range(0, 40, 7)):
        assert pixels(rows.source, f"a.parquet#{i}") == noise(i).tobytes()
    kept = rows.source._files["a.parquet"].kept  # type: ignore[attr-defined]
    assert len(kept) == (14 if memory > 2000 else 1)


def test_few_row_groups_are_kept_where_not_all_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", inside(range(40), "bytes"))
    whole = sum(len(png(seed)) for seed in range(40))
    monkeypatch.setattr(parquet, "available_memory", lambda: parquet.SHARE * whole // 2)
    source = read(path).source
    for i in range(40):
        source.open(f"a.parquet#{i}")
    assert len(source._files["a.parquet"].kept) == parquet.GROUPS  # type: ignore[attr-defined]


def test_a_row_group_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "available_memory", lambda: 100)
    with pytest.raises(DataError, match="row_group_size"):
        read(write(tmp_path / "a.parquet", inside(range(3)))).source.open("a.parquet#0")


@pytest.mark.parametrize("place", ["a.parquet#3", "a.parquet#-1", "a.parquet#", "a.parquet", "b.parquet#0"])
def test_a_row_that_is_not_there_is_refused(tmp_path: Path, place: str) -> None:
    source = read(write(tmp_path / "a.parquet", inside(range(3)))).source
    with pytest.raises(DataError):
        source.open(place)


def test_a_row_without_an_image_is_told_when_it_is_opened(tmp_path: Path) -> None:
    fill(tmp_path, range(7, 8))
    images = [{"bytes": png(0), "path": None}, {"bytes": None, "path": None}, None, {"bytes": None, "path": "7.png"}]
    rows = read(write(tmp_path / "a.parquet", pa.table({"image": images, "label": [1, 2, 3, 4]})))
    for row in rows.parts["train"][1:3]:
        with pytest.raises(DataError, match="no image"):
            rows.source.open(row.place)
    assert rows.source.open("a.parquet#3") == tmp_path / "7.png"


def test_a_column_of_paths_in_structs_is_one_of_paths(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": None, "path": f"{i}.png"} for i in range(2)], kind)
    rows = read(write(tmp_path / "a.parquet", pa.table({"image": images, "label": [1, 2]})))
    assert [row.place for row in rows.parts["train"]] == ["0.png", "1.png"]
    assert rows.source.open("1.png") == tmp_path / "1.png"


def open_all(source: Any, places: list[str]) -> list[bytes]:
    return [pixels(source, place) for place in places]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_other_processes_open_the_same_images(tmp_path: Path, method: str) -> None:
    rows = read(write(tmp_path / "a.parquet", inside(range(12))))
    places = [row.place for row in rows.parts["train"]]
    expected = open_all(rows.source, places)
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        assert list(pool.map(open_all, [rows.source] * 2, [places, places[::-1]])) == [expected, expected[::-1]]


def test_threads_open_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "available_memory", lambda: 2000)
    rows = read(write(tmp_path / "a.parquet", inside(range(40))))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: pixels(rows.source, row.place), rows.parts["train"]))
    assert found == [noise(i).tobytes() for i in range(40)]


def test_a_copy_that_was_sent_keeps_row_groups_only(tmp_path: Path) -> None:
    source = read(write(tmp_path / "a.parquet", inside(range(40)))).source
    source.open("a.parquet#0")
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    copy = pickle.loads(sent)
    assert pixels(copy, "a.parquet#39") == noise(39).tobytes() and not copy._files["a.parquet"].keep
    assert source._files["a.parquet"].keep  # type: ignore[attr-defined]


def test_the_bytes_are_not_read_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_columns: list[str] = []
    plain = pq.ParquetFile.iter_batches

    def spied(self: Any, size: int, columns: list[str], **options: Any) -> Any:
        read_columns.extend(columns if size != parquet.PROBED else [])
        return plain(self, size, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spied)
    assert len(read(write(tmp_path / "a.parquet", inside(range(10)))).parts["train"]) == 10
    assert set(read_columns) == {"label"}


def test_bytes_beside_paths_are_not_taken_for_images(tmp_path: Path) -> None:
    fill(tmp_path, range(1))
    data = pa.table({"path": ["0.png"], "image": [png(0)], "label": ["a"], "hash": [b"x"]})
    assert (
        read(write(tmp_path / "a.parquet", data.drop_columns("hash")), input="path").parts["train"][0].place == "0.png"
    )
    message = refusal(write(tmp_path / "b.parquet", data.rename_columns(["file", "image_bytes", "label", "hash"])))
    assert "'image_bytes', 'hash', 'file'" in message and "--input COLUMN" in message
    (tmp_path / "train").mkdir()
    among = write(
        tmp_path / "train" / "metadata.parquet", data.rename_columns(["file_name", "thumbnail", "label", "hash"])
    )
    fill(among.parent, range(1))
    assert read(tmp_path).parts["train"][0].place == "train/0.png"
    assert "holds bytes" in refusal(tmp_path, input="thumbnail")


def test_a_title_of_many_shards_is_short(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / f"train-{i}.parquet", inside(range(i, i + 1)))
    assert read(tmp_path).titles == {"train": "train-0.parquet and 4 more"}
