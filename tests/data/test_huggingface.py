"""Data sets of the library `datasets`: saved in a folder, and by their name."""

import pickle
import sys
from collections.abc import Iterator
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from extras import needs
from pictures import fill, noise
from PIL import Image

from hubft.base.errors import DataError
from hubft.data import table
from hubft.data.rows import Rows
from hubft.job import Labels

datasets = needs("datasets", "datasets")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def png(seed: int) -> bytes:
    file = BytesIO()
    noise(seed).save(file, format="PNG")
    return file.getvalue()


def made(seeds: range, **more: Any) -> Any:
    """Return a set with an image, a class and a list of classes a row."""
    names = datasets.ClassLabel(names=["cat", "dog", "emu"])
    columns = {
        "image": [{"bytes": png(seed), "path": None} for seed in seeds],
        "label": [seed % 3 for seed in seeds],
        "kinds_of": [[seed % 3, 2] for seed in seeds],
        "price": [seed / 2 for seed in seeds],
    }
    kinds = {
        "image": datasets.Image(),
        "label": names,
        "kinds_of": datasets.Sequence(names),
        "price": datasets.Value("float32"),
    }
    return datasets.Dataset.from_dict(
        columns | more, datasets.Features(kinds | {k: datasets.Value("string") for k in more})
    )


def saved(folder: Path, data: Any) -> Path:
    data.save_to_disk(str(folder))
    return folder


def read(data: Path | str, **labels: Any) -> Rows:
    return table.read(data, Labels(**labels))


def refusal(data: Path | str, **labels: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(data, **labels)
    assert "\n" not in caught.value.typed()
    return caught.value.typed()


def opened(source: Any, place: str) -> bytes:
    return Image.open(source.open(place)).tobytes()


def test_a_saved_set_gives_its_splits_classes_and_images(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", datasets.DatasetDict(train=made(range(5)), validation=made(range(5, 7))))
    assert table.is_table(folder)
    rows = read(folder)
    assert [row.values for row in rows.parts["train"]] == [("cat",), ("dog",), ("emu",), ("cat",), ("dog",)]
    assert rows.names == {"label": ("cat", "dog", "emu")} and rows.titles["val"] == "validation"
    for seed, row in enumerate((*rows.parts["train"], *rows.parts["val"])):
        assert opened(rows.source, row.place) == noise(seed).tobytes()
    assert [(row.place, row.number) for row in rows.parts["val"]] == [("validation#0", 1), ("validation#1", 2)]


def test_lists_and_numbers_keep_their_types(tmp_path: Path) -> None:
    rows = read(saved(tmp_path / "set", made(range(2))), target=("kinds_of", "price"))
    assert [row.values for row in rows.parts["train"]] == [(["cat", "emu"], 0.0), (["dog", "emu"], 0.5)]
    assert rows.names == {"kinds_of": ("cat", "dog", "emu")} and not rows.titles


def test_a_set_that_was_shuffled_keeps_its_order(tmp_path: Path) -> None:
    data = made(range(6)).select([4, 0, 5])
    rows = read(saved(tmp_path / "set", data))
    assert [opened(rows.source, row.place) for row in rows.parts["train"]] == [noise(i).tobytes() for i in (4, 0, 5)]


def test_one_split_alone_may_be_split_by_a_column(tmp_path: Path) -> None:
    data = made(range(3), split=["train", "test", "train"])
    rows = read(saved(tmp_path / "set", datasets.DatasetDict(train=data)), target=("label",), split="split")
    assert [len(rows.parts[part]) for part in ("train", "test")] == [2, 1]


def test_splits_that_are_no_part_are_told(tmp_path: Path) -> None:
    rows = read(saved(tmp_path / "set", datasets.DatasetDict(train=made(range(2)), unsupervised=made(range(3)))))
    assert len(rows.parts["train"]) == 2 and "'unsupervised'" in rows.notes[0]
    message = refusal(saved(tmp_path / "two", datasets.DatasetDict(train=made(range(2)), training=made(range(3)))))
    assert "'train', 'training'" in message


def test_a_damaged_folder_is_told(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", made(range(2)))
    (folder / "dataset_info.json").write_text("{")
    assert "cannot be loaded" in refusal(folder)


def test_a_name_is_loaded_at_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def load(name: str, revision: str | None = None) -> Any:
        asked.append((name, revision))
        return datasets.DatasetDict(train=made(range(2)))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(read("datasets:owner/name").parts["train"]) == 2
    read("datasets:owner/name@abc")
    assert asked == [("owner/name", None), ("owner/name", "abc")]


def test_a_name_that_cannot_be_loaded_is_told() -> None:
    assert "'datasets:owner/no-such-set' cannot be loaded" in refusal("datasets:owner/no-such-set")


def test_images_of_a_folder_are_opened_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fill(tmp_path / "files", range(2))
    paths = [str(files / f"{i}.png") for i in range(2)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    data = datasets.Dataset.from_dict({"image": paths, "label": ["a", "b"]}, features)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: datasets.DatasetDict(train=data))
    rows = read("datasets:owner/name")
    assert [opened(rows.source, row.place) for row in rows.parts["train"]] == [noise(i).tobytes() for i in range(2)]
    (files / "1.png").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        rows.source.open("train#1")


def test_the_images_are_sent_to_another_process_by_their_paths(tmp_path: Path) -> None:
    source = read(saved(tmp_path / "set", made(range(200)))).source
    assert len(pickle.dumps(source)) < 20_000 < 200 * len(png(0))
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(opened, (source, "all#150")) == noise(150).tobytes()


@pytest.mark.parametrize("place", ["all#2", "all#x", "all", "test#0"])
def test_a_row_that_is_not_there_is_refused(tmp_path: Path, place: str) -> None:
    source = read(saved(tmp_path / "set", made(range(2)))).source
    with pytest.raises(DataError, match="no row"):
        source.open(place)


def test_without_the_library_what_to_type_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hubft.data.huggingface", raising=False)
    monkeypatch.delattr("hubft.data.huggingface", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal("datasets:owner/name").endswith("pip install 'hubft[datasets]'")
