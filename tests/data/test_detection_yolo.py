"""Text files of YOLO in the layouts of its tools: every box in its place, and each wrong line told by its image."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import scenes
from PIL import Image
from scenes import Scene

from hubft.base.errors import DataError
from hubft.data import reading
from hubft.data.rows import Rows
from hubft.job import Labels

MADE = scenes.made(1, 12, most=4, least=2)
PARTS = {"train": MADE[:6], "val": MADE[6:9], "test": MADE[9:]}


def read(data: Path) -> Rows:
    return reading.to_train(str(data), Labels())


def cells(rows: Rows, part: str = "train") -> list[list[dict[str, Any]]]:
    """Return what is in the images by their names, corners in hundredths of a pixel."""
    named = sorted(rows.parts[part], key=lambda row: row.place.rpartition("/")[2])
    return [[{**box, "box": [round(one, 2) for one in box["box"]]} for box in row.values[0]] for row in named]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scenes.yolo(tmp_path, MADE)


@pytest.mark.parametrize("write", [scenes.yolo, scenes.yolo_roboflow])
def test_the_parts_of_an_export_are_the_parts_of_the_data(tmp_path: Path, write: Callable[[Path, Any], Path]) -> None:
    rows = read(write(tmp_path, PARTS))
    assert {part: cells(rows, part) for part in rows.parts} == {part: scenes.cells(its) for part, its in PARTS.items()}
    assert rows.columns == ("boxes",) and rows.names == {"boxes": scenes.LABELS}
    assert not rows.left_out and not rows.within


@pytest.mark.parametrize("write", [scenes.yolo, scenes.yolo_label_studio])
def test_without_parts_all_is_to_train(tmp_path: Path, write: Callable[[Path, Sequence[Scene]], Path]) -> None:
    rows = read(write(tmp_path, MADE))
    assert set(rows.parts) == {"train"} and cells(rows) == scenes.cells(MADE)


def test_the_file_that_names_the_classes_is_data_too(folder: Path) -> None:
    assert read(folder / "data.yaml").parts == read(folder).parts


def test_without_a_file_that_says_them_parts_are_folders(tmp_path: Path) -> None:
    scenes.yolo(tmp_path, {"train": MADE[:6], "val": MADE[6:]})
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("\n".join(scenes.LABELS))
    rows = read(tmp_path)
    assert cells(rows) == scenes.cells(MADE[:6]) and cells(rows, "val") == scenes.cells(MADE[6:])


def test_an_export_of_cvat_lists_images_of_its_own_folder(tmp_path: Path) -> None:
    scenes.yolo_label_studio(tmp_path / "made", MADE)
    (tmp_path / "made/images").rename(tmp_path / "obj_train_data")
    for path in (tmp_path / "made/labels").iterdir():
        path.rename(tmp_path / "obj_train_data" / path.name)
    shutil.rmtree(tmp_path / "made")
    (tmp_path / "obj.names").write_text("\n".join(scenes.LABELS))
    (tmp_path / "obj.data").write_text("classes = 3\ntrain = data/train.txt\nnames = data/obj.names\n")
    for name, numbers in {"train.txt": range(8), "valid.txt": range(8, 12)}.items():
        (tmp_path / name).write_text("".join(f"data/obj_train_data/{i:04}.png\n" for i in numbers))
    rows = read(tmp_path)
    assert cells(rows) == scenes.cells(MADE[:8]) and cells(rows, "val") == scenes.cells(MADE[8:])
    assert not rows.left_out
    (tmp_path / "obj_train_data/0002.png").unlink()
    assert read(tmp_path).left_out == {
        "data/obj_train_data/0002.png": "no such file",
        "obj_train_data/0002.txt": "labels of an image that is not there",
    }


@pytest.mark.parametrize(
    "said", ["/content/drive/set/images/train", "..\\images\\train", "images/train/", "./images/train"]
)
def test_a_path_of_another_machine_leads_to_the_folder_of_that_name(tmp_path: Path, said: str) -> None:
    scenes.yolo(tmp_path, {"train": MADE[:6], "val": MADE[6:]})
    names = "".join(f"  {i}: {label}\n" for i, label in enumerate(scenes.LABELS))
    text = f"path: ../datasets/mine\ntrain: {said}\nval: images/val\ntest:\nnames:\n{names}"
    (tmp_path / "data.yaml").write_text(text)
    rows = read(tmp_path)
    assert cells(rows) == scenes.cells(MADE[:6]) and cells(rows, "val") == scenes.cells(MADE[6:])


def test_a_part_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    scenes.yolo_roboflow(tmp_path, PARTS)
    shutil.rmtree(tmp_path / "test")
    rows = read(tmp_path)
    assert set(rows.parts) == {"train", "val"}
    assert "data.yaml names '../test/images' for test, which is not there" in rows.notes
    shutil.rmtree(tmp_path / "train")
    assert "names '../train/images' for train, which is not below" in refusal(tmp_path)


WRONG = {
    "empty": ("0 0.5 0.5 0 0.1", "it is empty"),
    "swapped": ("0 0.5 0.5 -0.2 0.1", "its corners are swapped"),
    "outside": ("0 1.5 0.5 0.2 0.1", "it lies outside of the image of 96 x 80 pixels"),
    "class": ("3 0.5 0.5 0.2 0.1", "unknown class 3; known are 0 to 2"),
    "negative": ("-1 0.5 0.5 0.2 0.1", "unknown class -1; known are 0 to 2"),
    "no class": ("0.5 0.5 0.5 0.2 0.1", "unknown class 0.5"),
    "word": ("disc 0.5 0.5 0.2 0.1", "is no line of numbers"),
    "score": ("0 0.5 0.5 0.2 0.1 0.93", "has 6 numbers: a box is class cx cy width height"),
    "three": ("0 0.5 0.5 0.2", "has 4 numbers"),
    "even": ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "has 8 numbers"),
    "pixels": ("0 40 30 20 10", "holds what is no share of the image, which is from 0 to 1"),
    "nan": ("0 nan 0.5 0.2 0.1", "holds what is no share of the image"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_line_is_left_out_and_its_image_stays(folder: Path, name: str) -> None:
    wrong, reason = WRONG[name]
    path = folder / "labels/0002.txt"
    first, *others = path.read_text().splitlines()
    path.write_text("\n\n".join([first, wrong, *others]))
    rows = read(folder)
    assert list(rows.within) == ["images/0002.png, box 2"] and reason in rows.within["images/0002.png, box 2"]
    assert cells(rows) == scenes.cells(MADE) and not rows.left_out


def test_a_polygon_is_the_box_around_it(folder: Path) -> None:
    with (folder / "labels/0000.txt").open("a") as file:
        file.write("1 0.25 0.5 0.75 0.25 0.5 1\n")
    rows = read(folder)
    assert cells(rows)[0][-1] == {"label": "square", "box": [24, 20, 72, 80]}
    assert "1 polygons are taken as the boxes around them" in rows.notes


def test_of_poses_the_box_counts(folder: Path) -> None:
    with (folder / "data.yaml").open("a") as file:
        file.write("kpt_shape: [2, 3]\n")
    path = folder / "labels/0000.txt"
    path.write_text("".join(f"{line} 0.1 0.1 2 0.2 0.2 2\n" for line in path.read_text().splitlines()))
    assert cells(read(folder)) == scenes.cells(MADE)


def test_an_image_without_labels_has_no_objects(folder: Path) -> None:
    (folder / "labels/0003.txt").unlink()
    (folder / "labels/0004.txt").write_text("")
    rows = read(folder)
    assert cells(rows)[3:5] == [[], []] and len(rows.parts["train"]) == 12
    assert "1 images have no file of labels, which means no objects: 'images/0003.png'" in rows.notes
    assert "2 images have no box: they are trained on as images without objects" in rows.notes


def test_labels_without_an_image_are_told(folder: Path) -> None:
    (folder / "images/0005.png").unlink()
    assert read(folder).left_out == {"labels/0005.txt": "labels of an image that is not there"}


def test_an_image_that_cannot_be_read_is_left_to_whoever_reads_images(folder: Path) -> None:
    path = folder / "images/0005.png"
    path.write_bytes(path.read_bytes()[:20])
    rows = read(folder)
    assert len(rows.parts["train"]) == 12 and cells(rows)[5] == []


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    lying = Image.new("RGB", (64, 40))
    exif = Image.Exif()
    exif[274] = 6
    scenes.yolo_label_studio(tmp_path, MADE[:1])
    lying.save(tmp_path / "images/a.jpg", exif=exif)
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 1 1\n")
    assert cells(read(tmp_path))[-1] == [{"label": "disc", "box": [0, 0, 40, 64]}]


# --- refused ----------------------------------------------------------------------------------------------------


def refusal(data: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(data)
    assert "\n" not in caught.value.typed()
    return caught.value.typed()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("names: 3", "names must be a list of the names of classes"),
        ("names: []", "names must be a list"),
        ("names: {0: a, 2: b}", "names must be a list"),
        ("names: [a, b, [c]]", "\"['c']\" is no name of a class"),
        ("names: [a, b, a]", "two classes are called 'a'"),
        ("names: [a, b", "is no YAML"),
        ("names: !!python/object/apply:os.system [true]", "is no YAML"),
        ("- a", "states no names of classes"),
        ("names: [a, b, c]\ntrain: {a: b}", "train must be a folder of images"),
    ],
)
def test_a_file_that_names_no_classes_is_refused(folder: Path, names: str, told: str) -> None:
    (folder / "data.yaml").write_text(f"{names}\n" if "train" in names or names == "- a" else f"{names}\nval: images\n")
    assert told in refusal(folder)


def test_an_image_in_two_parts_is_refused(tmp_path: Path) -> None:
    scenes.yolo(tmp_path, {"train": MADE})
    path = tmp_path / "data.yaml"
    path.write_text(path.read_text().replace("names:", "val: images/train\nnames:"))
    assert "'images/train/0000.png' is in two parts of" in refusal(tmp_path)


def test_images_without_any_labels_are_refused(folder: Path) -> None:
    shutil.rmtree(folder / "labels")
    assert "has no file of labels for any of 12 images" in refusal(folder)


def test_files_beyond_bounds_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubft.data.yolo.MAX_LABELS", 10)
    assert "bytes, more than 10" in refusal(folder)
    monkeypatch.setattr("hubft.data.yolo.MAX_NAMES", 10)
    assert "of more than 10 bytes" in refusal(folder)


def test_boxes_in_two_formats_are_refused(folder: Path) -> None:
    scenes.coco(folder, MADE)
    told = refusal(folder)
    assert "has boxes in 2 formats, COCO JSON (annotations/instances_default.json) and YOLO (data.yaml)" in told
    assert cells(read(folder / "data.yaml")) == scenes.cells(MADE)
