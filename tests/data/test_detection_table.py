"""Boxes in a column of a table, and what the command line says of data with boxes before torch is imported."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scenes

from hubft.base.errors import DataError
from hubft.data import reading
from hubft.data.rows import Rows
from hubft.job import Columns, Labels

MADE = scenes.made(3, 12, most=4, least=2)
CELLS = scenes.cells(MADE)


def read(data: Path, **labels: Any) -> Rows:
    return reading.to_train(str(data), Labels(**labels))


def cells(rows: Rows) -> list[Any]:
    return [row.values[0] for row in rows.parts["train"]]


def lines(folder: Path, column: list[Any], **more: list[Any]) -> Path:
    """Write a table of JSON Lines beside the images that it names."""
    for i, scene in enumerate(MADE):
        scene.image.save(folder / f"{i}.png")
    columns = {"image": [f"{i}.png" for i in range(len(MADE))], "boxes": column, **more}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "photos.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / "photos.jsonl"


def test_a_column_of_boxes_is_taken_as_it_is(tmp_path: Path) -> None:
    number = [float(i) for i in range(len(MADE))]
    rows = read(lines(tmp_path, CELLS, camera=["a", "b"] * 6, weight=number), group="camera")
    assert rows.columns == ("boxes",) and cells(rows) == CELLS and not rows.within
    assert [(row.number, row.group) for row in rows.parts["train"][:2]] == [(1, "a"), (2, "b")]


def test_the_parts_of_a_table_stay(tmp_path: Path) -> None:
    path = lines(tmp_path, CELLS, split=["train"] * 8 + ["val"] * 4)
    assert [len(its) for its in read(path).parts.values()] == [8, 4]
    measured = reading.to_measure(str(path), Labels(target=("boxes",)), Columns())
    assert [row.values[0] for row in measured.parts["val"]] == CELLS[8:]


def test_an_image_nobody_looked_at_is_no_image_without_objects(tmp_path: Path) -> None:
    rows = read(lines(tmp_path, [None, [], *CELLS[2:]]))
    assert cells(rows) == [None, [], *CELLS[2:]]
    assert "1 images have no box: they are trained on as images without objects" in rows.notes


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"label": "disc", "box": [9, 5, 9, 8]}, "it is empty: [9, 5, 9, 8]"),
        ({"label": "disc", "box": [19, 5, 9, 8]}, "its corners are swapped: [19, 5, 9, 8]"),
        ({"label": "disc", "box": [990, 5, 999, 8]}, "it lies outside of the image of 96 x 80 pixels"),
        ({"label": "disc", "box": [1, 2, 3]}, "its box is '[1, 2, 3]', not [x0, y0, x1, y1] in pixels"),
        ({"label": "disc", "box": ["a", 2, 3, 4]}, "not [x0, y0, x1, y1] in pixels"),
        ({"label": "disc"}, "its box is 'None'"),
        ({"label": "", "box": [1, 2, 3, 4]}, "it has no label"),
        ({"label": True, "box": [1, 2, 3, 4]}, "it has no label"),
        ({"label": "disc", "box": [1, 2, 3, 4], "score": 1}, "has 'score'; known are 'label', 'box', 'crowd'"),
    ],
)
def test_a_wrong_box_is_left_out_and_its_row_stays(tmp_path: Path, wrong: dict[str, Any], reason: str) -> None:
    rows = read(lines(tmp_path, [*CELLS[:2], [wrong, *CELLS[2]], *CELLS[3:]]))
    assert list(rows.within) == ["2.png, box 1"] and reason in rows.within["2.png, box 1"]
    assert cells(rows) == CELLS


def test_parquet_has_boxes_beside_paths_or_bytes(tmp_path: Path) -> None:
    lines(tmp_path, CELLS)
    first = {**CELLS[0][0], "crowd": True}
    stated = [[first, *CELLS[0][1:]], *CELLS[1:]]
    pq.write_table(pa.table({"image": [f"{i}.png" for i in range(12)], "boxes": stated}), tmp_path / "a.parquet")
    assert cells(read(tmp_path / "a.parquet")) == stated
    packed = []
    for scene in MADE:
        scene.image.save(file := BytesIO(), format="PNG")
        packed.append({"bytes": file.getvalue(), "path": None})
    far = [[{"label": "disc", "box": [100, 0, 120, 9]}, *CELLS[0]], *CELLS[1:]]
    pq.write_table(pa.table({"image": packed, "boxes": far}), tmp_path / "b.parquet")
    rows = read(tmp_path / "b.parquet")
    assert cells(rows) == CELLS and list(rows.within) == ["b.parquet#0, box 1"]


def test_too_many_wrong_boxes_stop_the_run(tmp_path: Path) -> None:
    swapped = [[{"label": one["label"], "box": one["box"][::-1]} for one in cell] for cell in CELLS]
    with pytest.raises(DataError, match="cannot be used, more than a tenth"):
        read(lines(tmp_path, [*swapped[:3], *CELLS[3:]]))


def test_lists_of_other_objects_are_left_alone(tmp_path: Path) -> None:
    others = [[{"role": "user", "content": "a"}]] * len(MADE)
    assert cells(read(lines(tmp_path, others))) == others


# --- on the command line ----------------------------------------------------------------------------------------


def test_wrong_data_is_told_in_a_line_before_torch_is_imported(tmp_path: Path) -> None:
    folder = scenes.coco(tmp_path / "data", MADE)
    (folder / "annotations/instances_default.json").write_text('{"images": 1, "annotations": [], "categories": []}')
    code = (
        "import sys; from hubft.cli import main\n"
        f"sys.argv[1:] = ['finetune', 'torchvision:ssdlite320_mobilenet_v3_large', {str(folder)!r}]\n"
        "try: main.main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.stdout.split() == ["2", "False"], ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1 and "its 'images' must be a list of objects" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
