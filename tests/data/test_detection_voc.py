"""Folders of Pascal VOC and their like: every box in its place, and each wrong object told by its image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scenes

from hubft.base.errors import DataError
from hubft.data import reading
from hubft.data.rows import Rows
from hubft.job import Labels

MADE = scenes.made(2, 12, most=4, least=2)
PARTS = {"train": MADE[:6], "val": MADE[6:9], "test": MADE[9:]}


def read(data: Path, **labels: Any) -> Rows:
    return reading.to_train(str(data), Labels(**labels))


def cells(rows: Rows, part: str = "train") -> list[list[dict[str, Any]]]:
    return [row.values[0] for row in sorted(rows.parts[part], key=lambda row: row.place.rpartition("/")[2])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scenes.voc(tmp_path, MADE)


def change(folder: Path, number: int, old: str, new: str) -> None:
    path = folder / f"Annotations/{number:04}.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize("write", [scenes.voc, scenes.voc_roboflow])
def test_the_parts_of_an_export_are_the_parts_of_the_data(tmp_path: Path, write: Callable[[Path, Any], Path]) -> None:
    rows = read(write(tmp_path, PARTS))
    assert {part: cells(rows, part) for part in rows.parts} == {part: scenes.cells(its) for part, its in PARTS.items()}
    assert rows.columns == ("boxes",) and rows.names == {"boxes": scenes.LABELS}
    assert not rows.left_out and not rows.within


@pytest.mark.parametrize("write", [scenes.voc, scenes.voc_roboflow])
def test_without_parts_all_is_to_train(tmp_path: Path, write: Callable[[Path, Any], Path]) -> None:
    rows = read(write(tmp_path, MADE) if write is scenes.voc else write(tmp_path, {"": MADE}))
    assert set(rows.parts) == {"train"} and cells(rows) == scenes.cells(MADE)


@pytest.mark.parametrize(("images", "annotations"), [("images", "annotations"), ("images", "Annotations")])
def test_folders_may_be_called_as_others_call_them(folder: Path, images: str, annotations: str) -> None:
    (folder / "JPEGImages").rename(folder / images)
    (folder / "Annotations").rename(folder / annotations)
    assert cells(read(folder)) == scenes.cells(MADE)


def test_both_parts_together_are_to_train(folder: Path) -> None:
    lists = folder / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("".join(f"{i:04}\n" for i in range(8)))
    (lists / "test.txt").write_text("".join(f"{i:04}\n" for i in range(8, 11)))
    (lists / "disc_trainval.txt").write_text("0011  1\n")
    rows = read(folder)
    assert cells(rows) == scenes.cells(MADE[:8]) and cells(rows, "test") == scenes.cells(MADE[8:11])
    assert "1 annotations are in no list of a part and are left out: 'Annotations/0011.xml'" in rows.notes
    (lists / "train.txt").write_text("0000\n0001\nmissing\n")
    rows = read(folder)
    assert len(rows.parts["train"]) == 2 and rows.left_out == {"train.txt: missing": "no annotation of this name"}


def test_corners_of_the_voc_itself_are_counted_from_1(folder: Path) -> None:
    for path in (folder / "Annotations").iterdir():
        path.write_text(
            path.read_text().replace("<size>", "<source><database>The VOC2007 Database</database></source><size>")
        )
    rows = read(folder)
    for cell, scene in zip(cells(rows), MADE, strict=True):
        for found, (_, x0, y0, x1, y1) in zip(cell, scene.boxes, strict=True):
            assert found["box"] == [max(0, x0 - 1), max(0, y0 - 1), x1, y1]


def test_masks_of_the_same_name_are_no_images(folder: Path) -> None:
    (folder / "SegmentationClass").mkdir()
    for path in (folder / "JPEGImages").iterdir():
        (folder / "SegmentationClass" / path.name).write_bytes(path.read_bytes())
    assert {row.place.partition("/")[0] for row in read(folder).parts["train"]} == {"JPEGImages"}


def test_an_image_that_is_called_otherwise_is_found_by_what_is_named(folder: Path) -> None:
    (folder / "JPEGImages/0003.png").rename(folder / "JPEGImages/picture.png")
    change(folder, 3, "0003.png", "C:\\photos\\picture.png")
    rows = read(folder)
    assert not rows.left_out
    named = {row.place: row.values[0] for row in rows.parts["train"]}
    assert named["JPEGImages/picture.png"] == scenes.cells(MADE)[3]


WRONG = {
    "empty": ("30", "5", "30", "9", "it is empty: [30, 5, 30, 9]"),
    "swapped": ("30", "5", "20", "9", "its corners are swapped: [30, 5, 20, 9]"),
    "outside": ("100", "5", "120", "9", "it lies outside of the image of 96 x 80 pixels: [100, 5, 120, 9]"),
    "no number": ("a", "5", "20", "9", "its bndbox must have 'xmin', 'ymin', 'xmax', 'ymax', numbers of pixels"),
    "nan": ("nan", "5", "20", "9", "its bndbox must have"),
}


def thing(*corners: str, more: str = "", name: str = "disc") -> str:
    sides = "".join(
        f"<{side}>{at}</{side}>" for side, at in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{sides}</bndbox></object>"


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_object_is_left_out_and_its_image_stays(folder: Path, name: str) -> None:
    *corners, reason = WRONG[name]
    change(folder, 2, "</segmented>", f"</segmented>{thing(*corners)}")
    rows = read(folder)
    assert list(rows.within) == ["JPEGImages/0002.png, box 1"]
    assert rows.within["JPEGImages/0002.png, box 1"].startswith(reason)
    assert cells(rows) == scenes.cells(MADE) and not rows.left_out


def test_an_object_without_a_name_or_a_box_is_left_out(folder: Path) -> None:
    change(folder, 2, "</segmented>", f"</segmented>{thing('1', '1', '9', '9', name=' ')}")
    change(folder, 4, "</segmented>", "</segmented><object><name>disc</name></object>")
    found = read(folder).within
    assert found["JPEGImages/0002.png, box 1"] == "it has no name"
    assert "and has 'None', 'None', 'None', 'None'" in found["JPEGImages/0004.png, box 1"]


def test_a_part_of_an_object_is_not_the_object(folder: Path) -> None:
    head = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    change(folder, 0, "</segmented>", f"</segmented>{thing('5', '6', '20', '21', more=head)}")
    assert cells(read(folder))[0][0] == {"label": "disc", "box": [5, 6, 20, 21]}


def test_what_is_difficult_counts_neither_way(folder: Path) -> None:
    change(folder, 0, "<difficult>0", "<difficult>1")
    first, *others = cells(read(folder))[0]
    assert first["crowd"] is True and not any("crowd" in one for one in others)


def test_images_and_annotations_that_do_not_meet_are_told(folder: Path) -> None:
    (folder / "JPEGImages/0003.png").unlink()
    MADE[0].image.save(folder / "JPEGImages/new.png")
    rows = read(folder)
    assert rows.left_out == {"Annotations/0003.xml": "no such file"} and len(rows.parts["train"]) == 11
    assert "1 images are in no annotation and are left out: 'JPEGImages/new.png'" in rows.notes


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<annotation><object>", "no XML: no element found"),
        ("", "no XML: no element found"),
        ("<html><annotation/></html>", "no annotation, but 'html'"),
        (BOMB, "it declares a type of document, which an annotation has no use for"),
        (
            BOMB.replace("<!DOCTYPE", '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE'),
            "it declares a type of document",
        ),
        ("<annotation>" + " " * (1 << 22) + "</annotation>", "4,194,329 bytes are more than 4,194,304"),
    ],
)
def test_a_damaged_annotation_is_left_out(folder: Path, text: str, told: str) -> None:
    encoding = "utf-16" if "utf-16" in text else "utf-8"
    (folder / "Annotations/0003.xml").write_text(text, encoding=encoding)
    rows = read(folder)
    assert list(rows.left_out) == ["Annotations/0003.xml"] and told in rows.left_out["Annotations/0003.xml"]
    assert len(rows.parts["train"]) == 11


# --- refused ----------------------------------------------------------------------------------------------------


def test_an_image_in_two_parts_is_not_taken_twice(tmp_path: Path) -> None:
    scenes.voc(tmp_path, {"train": MADE[:6], "val": MADE[6:]})
    with (tmp_path / "ImageSets/Main/val.txt").open("a") as file:
        file.write("0001\n")
    with pytest.raises(DataError, match=r"'Annotations/0001.xml' is in two lists, train and val: keep one"):
        read(tmp_path)


def test_images_lie_where_the_layout_has_them(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="whose images lie beside annotations: leave out") as caught:
        read(folder, images=str(tmp_path))
    assert "--images" in caught.value.typed()


def test_class_folders_with_annotations_beside_their_images_are_class_folders(tmp_path: Path) -> None:
    for name in ("ants", "bees"):
        scenes.voc_roboflow(tmp_path / name, {"": MADE})
    assert read(tmp_path).columns == ("class",)
