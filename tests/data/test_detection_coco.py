"""COCO JSON as tools write it: every box in its place, whatever the ids; what is wrong is told by image and number."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import scenes
from PIL import ExifTags, Image
from scenes import Scene

from hubft.base.errors import DataError
from hubft.data import reading
from hubft.data.rows import Rows
from hubft.images.decode import decode
from hubft.job import Columns, Labels

MADE = scenes.made(0, 12, most=4, least=2)
PARTS = {"train": MADE[:6], "val": MADE[6:9], "test": MADE[9:]}


def read(data: Path, **labels: Any) -> Rows:
    return reading.to_train(str(data), Labels(**labels))


def cells(rows: Rows, part: str = "train") -> list[list[dict[str, Any]]]:
    return [row.values[0] for row in sorted(rows.parts[part], key=lambda row: row.place.rpartition("/")[2])]


def change(folder: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change a file of annotations in place."""
    data = json.loads((folder / name).read_text())
    edit(data)
    (folder / name).write_text(json.dumps(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scenes.coco(tmp_path, MADE)


FILE = "annotations/instances_default.json"


@pytest.mark.parametrize("write", [scenes.coco, scenes.coco_roboflow])
def test_the_parts_of_an_export_are_the_parts_of_the_data(tmp_path: Path, write: Callable[[Path, Any], Path]) -> None:
    rows = read(write(tmp_path, PARTS))
    assert {part: cells(rows, part) for part in rows.parts} == {part: scenes.cells(its) for part, its in PARTS.items()}
    assert rows.columns == ("boxes",) and rows.names == {"boxes": scenes.LABELS}
    assert not rows.left_out and not rows.within
    for row in rows.parts["val"]:
        assert decode(rows.source.open(row.place)).size == MADE[0].image.size


@pytest.mark.parametrize("write", [scenes.coco, scenes.coco_label_studio])
def test_without_parts_all_is_to_train(tmp_path: Path, write: Callable[[Path, Sequence[Scene]], Path]) -> None:
    rows = read(write(tmp_path, MADE))
    assert set(rows.parts) == {"train"} and cells(rows) == scenes.cells(MADE)


def test_a_file_of_annotations_alone_is_data_too(folder: Path, tmp_path: Path) -> None:
    assert read(folder / FILE).parts == read(folder).parts
    (folder / FILE).rename(tmp_path / "elsewhere.json")
    (tmp_path / "other").mkdir()
    (tmp_path / "elsewhere.json").rename(tmp_path / "other" / "mine.json")
    rows = read(tmp_path / "other" / "mine.json", images=str(folder / "images"))
    assert cells(rows) == scenes.cells(MADE) and rows.parts["train"][0].place == "0000.png"


def test_parts_are_called_as_coco_calls_them(tmp_path: Path) -> None:
    scenes.coco(tmp_path, {"train": MADE[:6], "val": MADE[6:]})
    for part in ("train", "val"):
        (tmp_path / "images" / part).rename(tmp_path / f"{part}2017")
        (tmp_path / f"annotations/instances_{part}.json").rename(tmp_path / f"annotations/instances_{part}2017.json")
        other = {"images": [], "annotations": [], "categories": []}
        (tmp_path / f"annotations/person_keypoints_{part}2017.json").write_text(json.dumps(other))
    rows = read(tmp_path)
    assert [len(rows.parts[part]) for part in ("train", "val")] == [6, 6]
    assert rows.parts["val"][0].place == "val2017/0006.png"


def test_ids_may_begin_anywhere_and_have_gaps(folder: Path) -> None:
    def spread(data: dict[str, Any]) -> None:
        for one in data["categories"]:
            one["id"] = {1: 90, 2: 0, 3: 7}[one["id"]]
        for one in data["annotations"]:
            one["category_id"] = {1: 90, 2: 0, 3: 7}[one["category_id"]]
        data["categories"].append({"id": 5, "name": "unused"})

    change(folder, FILE, spread)
    rows = read(folder)
    assert cells(rows) == scenes.cells(MADE) and rows.names["boxes"] == ("square", "triangle", "disc")
    assert "1 classes have no box and are left out: 'unused'" in rows.notes


WRONG = {
    "empty": ({"bbox": [5, 5, 0, 4]}, "it is empty: [5, 5, 5, 9]"),
    "swapped": ({"bbox": [20, 5, -8, 4]}, "its corners are swapped: [20, 5, 12, 9]"),
    "outside": ({"bbox": [200, 5, 8, 4]}, "it lies outside of the image of 96 x 80 pixels: [200, 5, 208, 9]"),
    "category": ({"category_id": 9}, "unknown category '9'; known are '1 disc', '2 square', '3 triangle'"),
    "no box": ({"bbox": None}, "its bbox is 'None', not [x, y, width, height] in pixels"),
    "not finite": ({"bbox": [5, 5, float("nan"), 4]}, "its bbox is '[5, 5, nan, 4]', not [x, y, width, height]"),
    "huge": ({"bbox": [5, 5, 10**400, 4]}, "not [x, y, width, height] in pixels"),
    "three": ({"bbox": [5, 5, 3]}, "its bbox is '[5, 5, 3]', not [x, y, width, height] in pixels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_box_is_left_out_and_its_image_stays(folder: Path, name: str) -> None:
    wrong, reason = WRONG[name]
    change(folder, FILE, lambda data: data["annotations"].insert(1, {**data["annotations"][0], **wrong}))
    rows = read(folder)
    assert list(rows.within) == ["images/0000.png, box 2"] and not rows.left_out
    assert reason in rows.within["images/0000.png, box 2"]
    assert cells(rows) == scenes.cells(MADE)


def test_a_box_that_is_said_twice_counts_once(folder: Path) -> None:
    change(folder, FILE, lambda data: data["annotations"].extend(data["annotations"]))
    rows = read(folder)  # though half of all boxes: they say nothing wrong
    assert cells(rows) == scenes.cells(MADE)
    assert set(rows.within.values()) == {"another box of this image has its label and place"}


def test_a_box_that_reaches_beyond_its_image_is_clipped(folder: Path) -> None:
    known = len(MADE[0].boxes)
    more = [{"bbox": [90, 70, 20, 20]}, {"bbox": [-0.4, 0, 10, 80.3]}]
    change(
        folder,
        FILE,
        lambda data: data["annotations"].extend({**data["annotations"][0], "id": 0, **one} for one in more),
    )
    rows = read(folder)
    assert [one["box"] for one in cells(rows)[0][known:]] == [[90, 70, 96, 80], [0, 0, 9.6, 80]]
    told = f"1 boxes reach beyond their image and are clipped to it: 'images/0000.png, box {known + 1}'"
    assert told in rows.notes and not rows.within


def test_a_crowd_is_marked(folder: Path) -> None:
    change(folder, FILE, lambda data: data["annotations"][0].update(iscrowd=1))
    first, *others = cells(read(folder))[0]
    assert first["crowd"] is True and not any("crowd" in one for one in others)


def test_an_image_without_boxes_is_labelled(folder: Path) -> None:
    change(
        folder,
        FILE,
        lambda data: data.update(annotations=[one for one in data["annotations"] if one["image_id"] != 3]),
    )
    rows = read(folder)
    assert cells(rows)[2] == [] and "1 images have no box: they are trained on as images without objects" in rows.notes


def test_images_and_annotations_that_do_not_meet_are_told(folder: Path) -> None:
    (folder / "images/0003.png").unlink()
    MADE[0].image.save(folder / "images/new.png")
    change(folder, FILE, lambda data: data["annotations"].append({**data["annotations"][0], "image_id": 77}))
    number = sum(len(scene.boxes) for scene in MADE) + 1
    rows = read(folder)
    assert rows.left_out == {"0003.png": "no such file"} and len(rows.parts["train"]) == 11
    assert rows.within == {f"{FILE}, annotation {number}": "unknown image '77'"}
    assert "1 images are in no annotation and are left out: 'images/new.png'" in rows.notes


def test_an_annotation_of_an_image_of_another_size_is_not_used(folder: Path) -> None:
    MADE[3].image.resize((48, 40)).save(folder / "images/0003.png")
    rows = read(folder)
    assert rows.left_out == {"images/0003.png": "its annotation is of 96 x 80 pixels, and the image has 48 x 40"}


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
@pytest.mark.parametrize("form", ["jpg", "tif"])
def test_boxes_of_an_image_that_lies_are_turned_with_it(tmp_path: Path, turn: int, form: str) -> None:
    lying = Image.new("RGB", (64, 40), "white")
    lying.paste("black", (8, 8, 24, 24))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    lying.save(tmp_path / f"a.{form}", exif=exif, quality=100)
    data = scenes.annotations([(f"a.{form}", Scene(lying, [("disc", 8, 8, 24, 24)]))])
    (tmp_path / "a.json").write_text(json.dumps(data))
    rows = read(tmp_path)
    upright = decode(tmp_path / f"a.{form}")
    x0, y0, x1, y1 = map(int, cells(rows)[0][0]["box"])
    assert upright.size == (40, 64)
    assert upright.convert("L").point(lambda value: 255 * (value < 128)).getbbox() == (x0, y0, x1, y1)
    assert any("lie by their EXIF tag" in note for note in rows.notes)


def test_boxes_that_were_drawn_on_the_upright_image_stay(tmp_path: Path) -> None:
    lying = Image.new("RGB", (64, 40))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying.save(tmp_path / "a.jpg", exif=exif)
    upright = Scene(Image.new("RGB", (40, 64)), [("disc", 8, 16, 24, 60)])
    (tmp_path / "a.json").write_text(json.dumps(scenes.annotations([("a.jpg", upright)])))
    assert cells(read(tmp_path)) == scenes.cells([upright])


@pytest.mark.parametrize(
    "stated", ["images\\0003.png", "/home/someone/pictures/0003.png", "../../data/0003.png", "./images/0003.png"]
)
def test_a_path_of_another_machine_leads_to_the_file_of_that_name(folder: Path, stated: str) -> None:
    change(folder, FILE, lambda data: data["images"][3].update(file_name=stated))
    rows = read(folder)
    assert cells(rows) == scenes.cells(MADE) and not rows.left_out


def test_equal_names_in_two_parts_are_not_mixed_up(tmp_path: Path) -> None:
    for part, its in {"train": MADE[:4], "valid": MADE[4:8]}.items():
        scenes.coco_roboflow(tmp_path, {part: its})
    (tmp_path / "train/0002.png").unlink()
    rows = read(tmp_path)
    assert rows.left_out == {"0002.png": "no such file"}
    assert cells(rows, "val") == scenes.cells(MADE[4:8])


def test_what_is_measured_is_one_part(tmp_path: Path) -> None:
    rows = reading.to_measure(str(scenes.coco(tmp_path, PARTS)), Labels(), Columns())
    assert set(rows.parts) == {"val"} and cells(rows, "val") == scenes.cells(PARTS["val"])


# --- refused ----------------------------------------------------------------------------------------------------


def refusal(data: Path, **labels: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(data, **labels)
    assert "\n" not in caught.value.typed()
    return caught.value.typed()


def test_more_than_a_tenth_of_wrong_boxes_stops_the_run(folder: Path) -> None:
    def swap(data: dict[str, Any]) -> None:
        for one in data["annotations"][::4]:
            one["bbox"][2] *= -1

    change(folder, FILE, swap)
    assert "cannot be used, more than a tenth; mend them or take them away; 'images/0000.png, box 1'" in refusal(folder)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda data: data.update(images={}), "its 'images' must be a list of objects"),
        (lambda data: data["images"][1].update(id=1), "two images have the id 1: '0001.png' is the second"),
        (lambda data: data["images"][1].pop("file_name"), "image 2 must have an id and a file_name"),
        (lambda data: data["categories"][1].update(id=1), "two categories have the id 1: 'disc', 'square'"),
        (lambda data: data["categories"][1].update(name=""), "category 2 must have an id and a name"),
    ],
)
def test_a_file_that_is_none_is_refused(folder: Path, edit: Callable[[dict[str, Any]], None], told: str) -> None:
    change(folder, FILE, edit)
    assert told in refusal(folder)


def test_damaged_json_is_refused(folder: Path) -> None:
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(text[:-40])
    assert "is no JSON" in refusal(folder)
    (folder / FILE).write_text('{"images": [], "annotations": ' + "[" * 100_000 + ', "categories": []')
    assert "is no JSON" in refusal(folder)


def test_a_file_beyond_bounds_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubft.data.coco.MAX_BYTES", 1000)
    assert "bytes, more than 1,000" in refusal(folder)


def test_files_of_no_part_are_refused_together(folder: Path) -> None:
    (folder / "annotations/more.json").write_bytes((folder / FILE).read_bytes())
    (folder / FILE).rename(folder / "annotations/first.json")
    assert "no name says which is to train on: give one of them" in refusal(folder)
    (folder / "annotations/instances_train.json").write_bytes((folder / "annotations/first.json").read_bytes())
    rows = read(folder)
    assert cells(rows) == scenes.cells(MADE)


def test_a_part_beside_others_without_a_name_is_told(folder: Path) -> None:
    for name in ("instances_train.json", "instances_extra.json"):
        (folder / "annotations" / name).write_bytes((folder / FILE).read_bytes())
    rows = read(folder)
    assert set(rows.passed) == {"annotations/instances_default.json", "annotations/instances_extra.json"}


def test_options_of_tables_have_no_meaning(folder: Path) -> None:
    assert refusal(folder, target=("a",)).startswith("--target a: ")
    assert "holds boxes in a format of its own, which has no columns" in refusal(folder, split="a")


def test_no_image_at_all_is_refused(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.unlink()
    assert "has no image with annotations that is there: 0000.png: no such file" in refusal(folder)


# --- what is no COCO JSON ---------------------------------------------------------------------------------------


def test_a_table_of_json_stays_a_table(tmp_path: Path) -> None:
    MADE[0].image.save(tmp_path / "0.png")
    row = {"image": "0.png", "label": "a"}
    (tmp_path / "a.json").write_text(json.dumps([row, row]))
    assert read(tmp_path / "a.json").columns == ("label",)
    more = {**row, "note": 'holds "images", "annotations" and "categories"'}
    (tmp_path / "b.json").write_text("\n".join(json.dumps(one) for one in (more, more)))
    assert read(tmp_path / "b.json", target=("label",)).columns == ("label",)
