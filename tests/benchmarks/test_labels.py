"""The tables of the benchmarks: the same for the same seed, parts of the asked sizes, and the columns of each set."""

import csv
import importlib.util
import io
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COLUMNS = {"cells": ["probability"], "canvas": ["kinds"], "faces": ["typeface", "weight", "size"]}
COLOURS = {kind: tuple(int(digit) * 255 for digit in f"{n:03b}") for n, kind in enumerate("ABCDEFGH")}


def module(monkeypatch, name):
    """Return a script of the benchmarks, under its name only while the test runs: a library is called `datasets`."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, found)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def labels(monkeypatch):
    """The script, its packages replaced: 40 cells of each probability, 20 drawings of each of 8 kinds, and flags."""
    datasets = module(monkeypatch, "datasets")

    def graded(cache):
        for n, probability in enumerate(["0.0", "0.3333333333333333", "0.6666666666666666", "1.0"] * 40):
            yield datasets.Sample(probability, f"cell{n:04}.png", lambda n=n: datasets.png(Image.new("L", (4, 4), n)))

    def drawn(cache):
        for kind in [*COLOURS, "Flags"]:
            for n in range(20):
                yield datasets.Sample(kind, f"{kind}{n}.webp", lambda kind=kind, n=n: webp(kind, n))

    monkeypatch.setattr(datasets, "graded", lambda cache: list(graded(cache)))
    monkeypatch.setattr(datasets, "drawn", lambda cache: list(drawn(cache)))
    return module(monkeypatch, "labels")


@pytest.fixture
def run(labels, monkeypatch):
    """`run(NAME, OUT, ...)` is the command; returns the rows of the table, the bytes in place of the picture's path."""

    def command(name, out, *options):
        monkeypatch.setattr(sys, "argv", ["labels.py", name, str(out), *map(str, options)])
        labels.main()
        with (out / "table.csv").open(encoding="utf-8", newline="") as file:
            return [row | {"image": (out / row["image"]).read_bytes()} for row in csv.DictReader(file)]

    return command


def webp(kind, n):
    """A square in the colour of its kind; the n-th drawing is known by its blue's last bits."""
    *some, blue = COLOURS.get(kind, (9, 9, 9))
    file = io.BytesIO()
    Image.new("RGBA", (32, 32), (*some, abs(blue - n), 255)).save(file, "WEBP", lossless=True)
    return file.getvalue()


def part(rows, name):
    return [row for row in rows if row["split"] == name]


@pytest.mark.parametrize("name", COLUMNS)
def test_the_same_seed_gives_the_same_table_and_pictures_in_parts_of_the_asked_sizes(run, tmp_path, name):
    words = ("--train", 20, "--val", 10, "--test", 30)
    first = run(name, tmp_path / "a", *words)
    assert first == run(name, tmp_path / "b", *words) and list(first[0]) == ["image", "split", *COLUMNS[name]]
    assert [row["split"] for row in first] == ["train"] * 20 + ["val"] * 10 + ["test"] * 30
    assert len({row["image"] for row in first}) == 60
    other = run(name, tmp_path / "c", *words, "--seed", 1)
    assert {row["image"] for row in part(first, "test")} != {row["image"] for row in part(other, "test")}


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_measured_on_depends_on_neither_of_the_others(run, tmp_path, name):
    some = run(name, tmp_path / "some", "--train", 8, "--val", 8, "--test", 30)
    more = run(name, tmp_path / "more", "--train", 20, "--val", 12, "--test", 30)
    assert part(some, "test") == part(more, "test")


def test_cells_have_each_probability_in_its_proportion(run, tmp_path):
    rows = run("cells", tmp_path / "out", "--train", 20, "--val", 8, "--test", 40)
    for name, number in (("train", 5), ("val", 2), ("test", 10)):
        counts = Counter(row["probability"] for row in part(rows, name))
        assert counts == dict.fromkeys(("0", "0.333333", "0.666667", "1"), number)


def test_a_canvas_has_one_to_four_drawings_of_the_kinds_that_are_said(run, tmp_path):
    rows = run("canvas", tmp_path / "out", "--train", 30, "--val", 4, "--test", 30)
    for row in rows:
        kinds = row["kinds"].split(";")
        assert kinds == sorted(set(kinds)) and 1 <= len(kinds) <= 4 and set(kinds) <= set(COLOURS)
        picture = Image.open(io.BytesIO(row["image"]))
        assert picture.size == (224, 224) and picture.mode == "RGB"
    assert len({row["kinds"] for row in rows}) > 20


def test_no_drawing_is_in_two_parts(labels, tmp_path):
    pools = labels.pooled(labels.datasets.drawn(tmp_path), 0)
    for kind in COLOURS:
        seen = [{one.convert("RGB").getpixel((0, 0)) for one in pools[split][kind]} for split in labels.POOLS]
        assert [len(those) for those in seen] == [12, 3, 5] and len(set.union(*seen)) == 20
    again, other = (labels.pooled(labels.datasets.drawn(tmp_path), seed)["test"]["A"] for seed in (0, 1))
    assert [one.tobytes() for one in again] == [one.tobytes() for one in pools["test"]["A"]]
    assert [one.tobytes() for one in again] != [one.tobytes() for one in other]


def test_nothing_is_drawn_where_an_evaluation_does_not_look(labels):
    """With a still ground, whatever differs from it is a drawing."""
    pool = {kind: [Image.new("RGBA", (32, 32), (*colour, 255))] for kind, colour in COLOURS.items()}
    for seed in range(40):
        draws = random.Random(seed)
        draws.randbytes = lambda n: bytes([128]) * n
        picture, _ = labels.composed(draws, pool)
        picture.paste(picture.getpixel((0, 0)), (14, 14, 210, 210))
        assert len(picture.getcolors()) == 1


def test_faces_have_as_many_of_each_typeface_and_weight_and_sizes_in_bounds(run, tmp_path, labels):
    rows = run("faces", tmp_path / "out", "--train", 20, "--val", 10, "--test", 30)
    counts = Counter((row["typeface"], row["weight"]) for row in part(rows, "train"))
    assert set(counts.values()) == {2} and len(counts) == 10
    assert all(labels.SIZES[0] <= int(row["size"]) <= labels.SIZES[1] for row in rows)
    assert len({row["size"] for row in rows}) > 20


def test_a_wrong_request_leaves_nothing(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("faces", tmp_path / "out", "--val", 0)
    assert "each part has one picture or more" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="cannot draw 158 pictures"):
        run("cells", tmp_path / "out", "--test", 158)
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit, match="out exists: remove it"):
        run("faces", tmp_path / "out")
