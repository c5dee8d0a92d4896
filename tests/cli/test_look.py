"""`hubft data` and `hubft features`: what is wrong with data is found, and nothing of it is changed."""

import csv
import json
import sys
from pathlib import Path

import language
import numpy
import pictures
import pytest
import scenes
import texts
from commands import Hubft
from extras import needs
from PIL import Image
from pyarrow import parquet
from safetensors import safe_open
from safetensors.torch import load_file

from hubft.base import digest
from hubft.run import facts

QUICK = ("--reference", "toy:small", "--device", "cpu")


def findings(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Return the lines of findings.csv by their kinds."""
    found: dict[str, list[dict[str, str]]] = {}
    with (folder / "findings.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault(line["finding"], []).append(line)
    return found


def bytes_of(folder: Path) -> dict[str, str]:
    return {str(path): digest.of_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Class folders with one fault of each kind, by the names of files."""
    root = pictures.folder(tmp_path / "insects", ("ants", "bees", "wasps"), train=24, val=6)
    (root / "train" / "ants" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    train, val = root / "train", root / "val"
    whole = Image.open(train / "bees" / "0.png")
    whole.save(train / "bees" / "copy.png")
    whole.save(val / "bees" / "leak.png")
    Image.open(train / "wasps" / "1.png").save(train / "ants" / "torn.png")
    with Image.open(train / "ants" / "2.png") as image:
        pixels = numpy.asarray(image).astype(int)
    Image.fromarray((pixels + 1).clip(0, 255).astype(numpy.uint8)).save(train / "ants" / "near.png")
    (train / "wasps" / "3.png").rename(train / "bees" / "swapped.png")
    return root


def test_one_fault_of_each_kind_is_found_and_nothing_is_changed(hubft: Hubft, faulty: Path) -> None:
    needs("cleanlab", "labels")
    before = bytes_of(faulty)
    ran = hubft("data", faulty, *QUICK, "--output", "seen")
    assert ran.code == 0, ran.err
    assert bytes_of(faulty) == before
    assert ["ants", "26", "6"] in ran.cells() and ["wasps", "23", "6"] in ran.cells()
    found = findings(Path("seen"))
    assert [line["place"] for line in found["quarantined"]] == ["train/ants/cut.png"]
    assert {line["place"] for line in found["duplicate"]} == {"train/bees/copy.png", "train/wasps/1.png"}
    assert [(line["place"], line["part"]) for line in found["leak"]] == [("val/bees/leak.png", "val")]
    assert "bees/0.png in training" in found["leak"][0]["detail"]
    assert "ants/torn.png" in found["two labels"][0]["detail"]
    near = found["near-duplicate"][0]
    assert {"train/ants/near.png", "train/ants/2.png"} == {near["place"], near["detail"].split()[1]}
    suspicious = [line["place"] for line in found["label"]]
    assert "train/bees/swapped.png" in suspicious[:3] and "train/ants/torn.png" in suspicious
    told = json.loads(Path("seen/data.json").read_text(encoding="utf-8"))
    assert told["names"]["bees"] == {"train": 26, "val": 7}
    assert told["sizes"]["width"] == {"least": 40, "median": 40, "most": 40}
    assert told["findings"]["leak"] == 1 and told["reference"] == "toy:small"
    with Image.open("seen/contact.png") as sheet:
        assert sheet.size[0] > 800
    assert "exists: give another --output" in hubft("data", faulty, *QUICK, "--output", "seen").err


def test_without_its_backbone_the_rest_is_told_and_a_line_says_what_to_type(
    hubft: Hubft, faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(facts.DEFAULT, "images", "nowhere:model")
    ran = hubft("data", faulty, "--output", "seen")
    assert ran.code == 0, ran.err
    assert "suspicious labels are left out" in ran.out and "--reference" in ran.out
    assert {"quarantined", "duplicate", "leak", "two labels"} == findings(Path("seen")).keys()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A table of pictures with a number, several labels and a colour; one of each is wrong in the last row, and one
    colour is not known."""
    random, rows = numpy.random.default_rng(0), []
    (tmp_path / "photos").mkdir()
    for i in range(60):
        place, bright = i % 3, float(random.uniform(0, 90))
        noise = random.normal(40 + bright, 10, (36, 40, 3))
        noise[..., place] += 70
        Image.fromarray(noise.clip(0, 255).astype(numpy.uint8)).save(tmp_path / "photos" / f"{i}.png")
        colour = ("red", "green", "blue")[place]
        rows.append([f"photos/{i}.png", bright, f"{colour};day" if i % 2 else f"{colour};night", colour])
    rows[59][1:] = [9000.0, "red;day", "red"]
    rows[1][3] = ""
    with (tmp_path / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["photo", "price", "tags", "colour"], *rows])
    return tmp_path / "photos.csv"


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["price"], {"9000"}),
        (["tags"], {"blue: without"}),
        (["price", "colour"], {"price: 9000", "colour: red"}),
    ],
)
def test_labels_of_other_kinds_are_judged_column_by_column(
    hubft: Hubft, photos: Path, targets: list[str], said: set[str]
) -> None:
    needs("cleanlab", "labels")
    named = [word for target in targets for word in ("--target", target)]
    ran = hubft("data", photos, *named, *QUICK, "--output", "seen")
    assert ran.code == 0, ran.err
    found = [
        line["detail"].partition(",")[0] for line in findings(Path("seen"))["label"] if "photos/59.png" in line["place"]
    ]
    assert said <= set(found)


def test_boxes_and_documents_have_counts_and_sizes(hubft: Hubft, tmp_path: Path) -> None:
    made = scenes.made(0, 12)
    scenes.voc_roboflow(tmp_path / "shelves", {"train": made[:9], "val": made[9:]})
    ran = hubft("data", tmp_path / "shelves", "--output", "boxes")
    assert ran.code == 0 and "left out" in ran.out, ran.err
    told = json.loads(Path("boxes/data.json").read_text(encoding="utf-8"))
    objects = sum(len(scene.boxes) for scene in made)
    assert sum(number for its in told["names"].values() for number in its.values()) == objects
    ran = hubft("data", language.table(tmp_path / "questions.jsonl"), "--output", "documents")
    assert ran.code == 0, ran.err
    told = json.loads(Path("documents/data.json").read_text(encoding="utf-8"))
    assert told["task"] == "generation" and told["sizes"]["characters"]["least"] > 1
    assert not Path("documents/contact.png").exists()


def test_texts_are_looked_at_through_a_model_of_texts(hubft: Hubft, tmp_path: Path) -> None:
    needs("cleanlab", "labels")
    model = texts.model(tmp_path / "bert")
    table = texts.table(tmp_path / "reviews.csv", 80, (("the lovely great warm bright film", "bad"),))
    ran = hubft("data", table, "--reference", f"transformers:{model}", "--device", "cpu", "--output", "seen")
    assert ran.code == 0, ran.err
    found = findings(Path("seen"))
    details = {line["detail"] for line in found["label"]}
    assert details <= {"good, more likely bad", "bad, more likely good"} and details
    assert all(line["place"].startswith("reviews.csv#") for line in found["label"])
    assert [row[0] for row in ran.cells() if row[0].startswith("good: ")][:1] == ["good: 40"]
    assert " the " in ran.out and not Path("seen/contact.png").exists()


def test_features_lie_beside_their_paths_and_targets_and_classifiers_are_compared(
    hubft: Hubft, tmp_path: Path, own_cache: Path
) -> None:
    data = pictures.folder(tmp_path / "insects", train=24, val=8)
    words = ("features", "toy:small", data, "-o", "insects.safetensors", "--device", "cpu")
    ran = hubft(*words, "--classifier", "logistic,knn,centroid,boosting")
    assert ran.code == 0, ran.err
    rows = parquet.read_table("insects.parquet").to_pylist()
    matrix = load_file("insects.safetensors")["features"]
    assert matrix.shape == (96, 32) and len(rows) == 96
    assert {(row["path"].split("/")[-2], row["part"]) for row in rows if row["target"] == "bees"} == {
        ("bees", "train"),
        ("bees", "val"),
    }
    with safe_open("insects.safetensors", "pt") as file:
        assert file.metadata()["reference"] == "toy:small"
    table = [row for row in ran.cells() if row[0] in ("logistic", "knn", "centroid", "boosting")]
    assert [row[0] for row in table] == ["logistic", "knn", "centroid", "boosting"]
    assert all(float(row[1].split()[0]) > 0.5 for row in table[:3])
    assert table[0][2] == "-" and all("[" in row[2] for row in table[1:])
    kept = set((own_cache / "features").iterdir())
    assert hubft("data", data, *QUICK).code == 0
    assert hubft("finetune", "toy:small", data, "--device", "cpu", "--epochs", 0).code == 0
    assert set((own_cache / "features").iterdir()) == kept, "all of them take the same features from the cache"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--classifier", "forest"), "none of logistic, ridge, knn, centroid, boosting"),
        (("--classifier", "ridge"), "logistic does"),
        (("-o", "features.npy"), "a new file that ends in .safetensors"),
    ],
)
def test_features_refuses_in_one_line_and_writes_nothing(
    hubft: Hubft, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    data = pictures.folder(tmp_path / "insects", train=6, val=2)
    output = () if "-o" in words else ("-o", "features.safetensors")
    ran = hubft("features", "toy:small", data, *output, *words)
    assert ran.code == 2 and said in ran.err and len(ran.err.splitlines()) == 1
    assert not list(Path().glob("features.*"))


def test_a_table_of_numbers_has_a_ridge_and_features_of_each_row(hubft: Hubft, photos: Path) -> None:
    ran = hubft("features", "toy:small", photos, "--target", "price", "-o", "p.safetensors", "--device", "cpu",
                "--classifier", "ridge,knn,boosting")  # fmt: skip
    assert ran.code == 0, ran.err
    assert [row[0] for row in ran.cells()][-3:] == ["ridge", "knn", "boosting"]
    assert parquet.read_table("p.parquet").column("target").to_pylist().count(9000.0) == 1


def test_without_the_library_of_labels_the_rest_is_told(
    hubft: Hubft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    ran = hubft("data", pictures.folder(tmp_path / "insects"), *QUICK)
    assert ran.code == 0, ran.err
    said = " ".join((ran.out + ran.err).split())
    assert "suspicious labels are left out: they need the library cleanlab: pip install 'hubft[labels]'" in said
