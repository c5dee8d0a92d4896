"""Shards of WebDataset: their samples as rows of a table, read from their places, in any order and process."""

import json
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from extras import needs
from pictures import noise
from PIL import Image
from shards import labelled, opened, png, read, refusal, write

from hubft.base.errors import DataError
from hubft.data import reading, table, tar
from hubft.data.source import Folder
from hubft.job import Labels


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- which samples there are, and what stands in them -----------------------------------------------------------------


def test_samples_are_rows_in_the_order_of_their_shards(tmp_path: Path) -> None:
    data = tmp_path / "birds"
    for part, seeds in (("train-000000", range(4)), ("train-000001", range(4, 7)), ("val-000000", range(7, 9))):
        write(data / f"{part}.tar", labelled(seeds))
    rows = read(data)
    assert {part: len(found) for part, found in rows.parts.items()} == {"train": 7, "val": 2}
    assert [row.place for row in rows.parts["train"]][3:5] == ["train-000000.tar#0003", "train-000001.tar#0004"]
    assert [row.values for row in rows.parts["val"]] == [("1",), ("0",)]
    assert rows.names == {"cls": ("0", "1")}, "numbers of classes, however many there are, are no quantities"
    for seed, row in enumerate(rows.parts["train"]):
        assert opened(rows, row.place) == png(seed)


def test_what_the_library_webdataset_writes_is_read(tmp_path: Path) -> None:
    webdataset = needs("webdataset", "dev")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for seed in range(6):
            writer.write({"__key__": f"x/{seed}", "png": png(seed), "cls": seed % 2, "json": {"price": seed / 4}})
    rows = read(tmp_path / "a.tar", target=("cls", "price"))
    assert [row.values for row in rows.parts["train"]] == [(str(seed % 2), seed / 4) for seed in range(6)]
    assert opened(rows, "a.tar#x/5") == png(5)


def test_a_pattern_names_shards_and_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, seeds in enumerate((range(3), range(3, 6), range(6, 9))):
        write(tmp_path / f"in/train-{i:06d}.tar", labelled(seeds))
    write(tmp_path / "in/val-000000.tar", labelled(range(9, 12)))
    monkeypatch.chdir(tmp_path)
    assert len(read("in/train-{000000..000001}.tar").parts["train"]) == 6
    both = read("in/{train,val}-000000.tar")
    assert {part: len(found) for part, found in both.parts.items()} == {"train": 3, "val": 3}
    assert both.parts["val"][0].place == "val-000000.tar#0009"
    assert reading.is_there("in/train-{000000..000001}.tar") and not reading.is_there("out/train-{0..1}.tar")
    assert reading.absolute("in/train-{0..1}.tar") == f"{tmp_path}/in/train-{{0..1}}.tar"
    assert "'in/train-000003.tar' does not exist" in refusal("in/train-{000002..000003}.tar")
    assert "1 to 100,000" in refusal("in/train-{0..99999999999}.tar")
    assert "1 to 100,000" in refusal("in/train-{3..1}.tar")
    assert "no pattern" in refusal("in/train-{0..{1}.tar")


def test_columns_are_ends_of_members_and_keys_of_json(tmp_path: Path) -> None:
    members = dict[str, bytes]()
    for seed in range(4):
        facts = {
            "price": seed / 2,
            "tags": ["a", "b"][: seed % 2 + 1],
            "cls": "bird",
            "split": ["train", "val"][seed % 2],
        }
        members |= {f"{seed}.left.PNG": png(seed), f"{seed}.png": png(9), f"{seed}.cls": b"3\n"}
        members |= {f"{seed}.json": json.dumps(facts).encode(), f"{seed}.caption.txt": b"two words"}
    rows = read(write(tmp_path / "a.tar", members), target=("price", "tags", "json.cls", "caption.txt"))
    assert {part: len(its) for part, its in rows.parts.items()} == {"train": 2, "val": 2}, "by the column split"
    assert rows.parts["val"][0].values == (0.5, ["a", "b"], "bird", "two words")
    assert opened(rows, "a.tar#1") == png(9), "of two pictures that which is called so"
    assert any("'json.cls'" in note for note in rows.notes)
    left = read(tmp_path / "a.tar", target=("cls",), input="left.png")
    assert opened(left, "a.tar#1") == png(1) and left.parts["train"][0].values == ("3",)
    assert "'price'" in refusal(tmp_path / "a.tar", target=("nothing",))


def test_texts_are_inputs_where_a_model_takes_texts(tmp_path: Path) -> None:
    members = {
        f"{i}.{end}": text for i in range(3) for end, text in (("txt", b"it is %d" % i), ("cls", b"%d" % (i % 2)))
    }
    rows = read(write(tmp_path / "a.tar", members), kinds=("text",))
    assert rows.kind == "text" and opened(rows, "a.tar#2") == b"it is 2"


def test_a_folder_with_other_folders_beside_its_archive_holds_classes(tmp_path: Path) -> None:
    write(tmp_path / "birds.tar", labelled(range(2)))
    for name in "ab":
        (tmp_path / name).mkdir()
        noise(0).save(tmp_path / name / "0.png")
    assert isinstance(read(tmp_path).source, Folder)


# --- what is kept, and shards that change -----------------------------------------------------------------------------


def test_a_shard_is_indexed_once_until_it_is_another(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = write(tmp_path / "in" / "a.tar", labelled(range(4))), []
    plain = tar.read

    def counted(*given: Any) -> Any:
        made.append(given)
        return plain(*given)

    monkeypatch.setattr(tar, "read", counted)
    first = read(path)
    assert read(path).parts == first.parts and len(made) == 1
    (kept,) = (cache / "shards").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert read(path).parts == first.parts and len(made) == 2, "what is kept was cut"
    write(path, labelled(range(3)))
    assert len(read(path).parts["train"]) == 3 and len(made) == 3
    assert len([*(cache / "shards").iterdir()]) == 1


def test_a_shard_that_changes_while_it_is_used_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", labelled(range(4)))
    rows = read(path)
    opened(rows, "a.tar#0001")
    sent = pickle.loads(pickle.dumps(rows.source))
    content = path.read_bytes()
    os.utime(path, ns=(1, 1))
    for source in (rows.source, sent):
        with pytest.raises(DataError, match=r"'a\.tar' is not the file any more that was indexed"):
            source.open("a.tar#0001")
    path.unlink()
    assert content
    with pytest.raises(DataError, match=r"'a\.tar' cannot be read"):
        pickle.loads(pickle.dumps(rows.source)).open("a.tar#0001")


# --- any order, any process -------------------------------------------------------------------------------------------


def open_all(source: Any, places: list[str]) -> list[bytes]:
    return [Image.open(source.open(place)).tobytes() for place in places]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_other_processes_and_threads_open_the_same_pictures(tmp_path: Path, method: str) -> None:
    for i in range(3):
        write(tmp_path / f"in/{i}.tar", labelled(range(4 * i, 4 * i + 4)))
    rows = read(tmp_path / "in")
    places = [row.place for row in rows.parts["train"]]
    expected = [noise(seed).tobytes() for seed in range(12)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda place: open_all(rows.source, [place])[0], places)) == expected
    assert len(pickle.dumps(rows.source)) < 1000, "what lies in shards is not sent along"
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        assert list(pool.map(open_all, [rows.source] * 2, [places, places[::-1]])) == [expected, expected[::-1]]


def test_a_table_is_read_of_shards_without_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {f"{seed}.png": png(seed) for seed in range(3)})
    rows = table.read(path, Labels(), labelled=False)
    assert [row.place for row in rows.parts["train"]] == ["a.tar#0", "a.tar#1", "a.tar#2"]
    assert "no column left that may hold labels" in refusal(path)
