"""Which folders are classes, which are parts of a split, and which are neither: each is told."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
import reading
from pictures import fill, noise
from PIL import Image

from hubft.base import files
from hubft.base.display import listed, look_alike
from hubft.base.errors import DataError
from hubft.data import asked, layout
from hubft.data.split import split
from hubft.images.samples import Sample

SIX = {"cat": range(6), "dog": range(10, 16)}


def classes(root: Path, start: int = 0, names: tuple[str, ...] = ("cat", "dog"), count: int = 6) -> Path:
    """Write a folder of images for each class, no two of them equal."""
    for i, name in enumerate(names):
        fill(root / name, range(start + 100 * i, start + 100 * i + count))
    return root


def written_by_hubft(folder: Path) -> Path:
    """Make what a finished run leaves behind, pictures included."""
    fill(folder / "report", range(900, 903))
    (folder / "job.json").write_text('{\n  "reference": "toy:small"}')
    fill(folder / "package", range(910, 912))
    (folder / "package" / "hubft.json").write_text("{}")
    return folder


def paths(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.place for sample in samples}


# --- what hubft wrote -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["runs/mine", "runs/a/b/mine", "mine", "cat/mine", "cat/deep/mine", "images/x"])
def test_a_run_is_no_data_wherever_it_lies(tmp_path: Path, place: str) -> None:
    root = classes(tmp_path)
    before = reading.read(root, 0.2, 0)
    written_by_hubft(root / place)
    after = reading.read(root, 0.2, 0)
    assert (after.task.classes, after.train, after.val) == (before.task.classes, before.train, before.val)
    assert after.fingerprint() == before.fingerprint() and not after.quarantined
    top = place if place.startswith("cat") else place.partition("/")[0]
    assert after.notes == (f"not used, written by hubft: {top!r}",)


def package(folder: Path) -> None:
    (folder / "hubft.json").write_text("{}")


def unfinished(folder: Path) -> None:
    (folder / ".writing-job.json").write_text("{")


@pytest.mark.parametrize("mark", [package, unfinished, files.marked])
def test_all_that_hubft_writes_is_known_by_a_file_in_it(tmp_path: Path, mark: object) -> None:
    root = classes(tmp_path)
    (root / "thing").mkdir()
    mark(root / "thing" if mark is unfinished else fill(root / "thing", range(900, 906)))  # type: ignore[operator]
    images = reading.read(root, 0.2, 0)
    assert (images.task.classes, images.notes) == (("cat", "dog"), ("not used, written by hubft: 'thing'",))


def test_the_cache_is_no_data_where_it_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBFT_CACHE", str(classes(tmp_path) / "cache"))
    files.made(files.cache("features"))
    images = reading.read(tmp_path, 0.2, 0)
    assert (images.task.classes, images.notes) == (("cat", "dog"), ("not used, written by hubft: 'cache'",))


def test_the_folder_of_runs_may_hold_a_log_and_a_class_may_hold_a_run(tmp_path: Path) -> None:
    written_by_hubft(classes(tmp_path) / "runs" / "mine")
    (tmp_path / "runs" / "log.txt").write_text("epoch 1")
    assert reading.read(tmp_path, 0.2, 0).task.classes == ("cat", "dog")
    fill(tmp_path / "runs", range(700, 706))
    assert reading.read(tmp_path, 0.2, 0).task.classes == ("cat", "dog", "runs"), "somebody jogs"


def test_a_file_that_others_call_job_json_makes_no_run(tmp_path: Path) -> None:
    (classes(tmp_path) / "cat" / "job.json").write_text('{"annotator": "me"}')
    images = reading.read(fill(tmp_path / "cat", range(20, 30)).parent, 0.2, 0)
    assert images.task.classes == ("cat", "dog") and list(images.quarantined) == ["cat/job.json"]


def test_a_run_itself_is_refused_as_data(tmp_path: Path) -> None:
    for read in (layout.to_train, layout.to_measure):
        with pytest.raises(DataError, match="was written by hubft and is no folder of images"):
            read(written_by_hubft(tmp_path))


# --- parts of a split -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", ["train", "Train", "training", "TRAINING"])
@pytest.mark.parametrize("val", ["val", "valid", "Validation", "dev", "eval"])
@pytest.mark.parametrize("between", ["{}", "{}/images", "images/{}", "Images/{}/images"])
def test_parts_have_many_names_and_images_in_between(tmp_path: Path, train: str, val: str, between: str) -> None:
    first, second = between.format(train), between.format(val)
    classes(tmp_path / first)
    classes(tmp_path / second, 50)
    images = reading.read(tmp_path, 0.2, 0)
    assert images.task.classes == ("cat", "dog") and len(images.train) == len(images.val) == 12
    assert all(path.startswith(f"{first}/") for path in paths(images.train))
    named = f"the parts are {first!r} for train, {second!r} for val"
    assert images.notes == (() if (first, second) == ("train", "val") else (named,))


def test_what_is_beside_the_parts_is_named(tmp_path: Path) -> None:
    classes(tmp_path / "train" / "images")
    classes(tmp_path / "valid" / "images", 50)
    (tmp_path / "train" / "labels").mkdir()
    fill(tmp_path / "extra", range(3))
    fill(tmp_path / "test" / "images", range(5))  # nobody has labelled it
    fill(tmp_path / "train" / "images", range(60, 62), "stray{}.png")
    fill(tmp_path, range(62, 63), "cover.jpg")
    images = reading.read(tmp_path, 0.2, 0)
    assert (len(images.train), len(images.val), images.test) == (12, 12, ())
    assert images.notes == (
        "the parts are 'train/images' for train, 'valid/images' for val",
        "2 images lie beside the class folders and belong to none: 'train/images/stray60.png', "
        "'train/images/stray61.png'",
        "1 images lie beside the class folders and belong to none: 'cover.jpg'",
        "not used, beside images/: 'train/labels'",
        "not used, beside the parts of the split: 'extra'",
        "not used, no class folders in it: 'test'",
    )


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val", "test"), ("Training", "Testing")])
def test_a_test_part_is_kept_apart(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for i, part in enumerate(parts):
        classes(tmp_path / part, 20 * i, count=10)
    images = reading.read(tmp_path, 0.2, 0)
    last = reading.read(tmp_path / parts[-1], 0.5, 0)
    assert paths(images.test) == {f"{parts[-1]}/{path}" for path in paths(last.train) | paths(last.val)}
    if len(parts) == 2:
        alone = reading.read(tmp_path / parts[0], 0.2, 0)
        assert paths(images.val) == {f"{parts[0]}/{path}" for path in paths(alone.val)}, "the same split rule"
    else:
        assert {path.partition("/")[0] for path in paths(images.val)} == {"val"}
    kept = f"4 images of {parts[0]}/ are held out to validate; " if len(parts) == 2 else ""
    assert images.notes[-1] == f"{kept}{parts[-1]}/ is measured once, at the end"
    prints = images.fingerprint()
    assert list(prints) == ["train", "val", "test"] and prints["test"]["samples"] == 20


def test_a_test_part_that_nobody_labelled_is_not_used(tmp_path: Path) -> None:
    for i, (part, names) in enumerate({"train": ("cat", "dog"), "val": ("cat", "dog"), "test": ("unknown",)}.items()):
        classes(tmp_path / part, 20 * i, names)
    images = reading.read(tmp_path, 0.2, 0)
    assert (images.test, images.notes) == ((), ("not used, none of its folders is a class of train/: 'test'",))


def test_a_class_may_be_called_as_a_part(tmp_path: Path) -> None:
    classes(tmp_path, names=("car", "train", "plane"))
    fill(tmp_path / "train" / "steam", range(40, 43))
    images = reading.read(tmp_path, 0.2, 0)
    assert images.task.classes == ("car", "plane", "train") and len(images.train) + len(images.val) == 21
    assert images.notes == (
        "taken for a class, as it holds images and lies beside other classes: 'train'",
        "3 files lie in folders below a class folder: they are of that class",
    )


def flat(root: Path) -> None:
    classes(root, names=("train", "test"))


def train_alone(root: Path) -> None:
    classes(root / "train")
    fill(root / "test", range(5))


def no_train(root: Path) -> None:
    classes(root / "val")
    classes(root / "test", 50)


def part_and_classes(root: Path) -> None:
    classes(root)
    classes(root / "test", 50)


def twice(root: Path) -> None:
    for i, name in enumerate(("train", "val", "valid")):
        classes(root / name, 20 * i)


def val_without_classes(root: Path) -> None:
    classes(root / "train")
    classes(root / "test", 50)
    fill(root / "val" / "images", range(300, 303))


def unzipped_deeper(root: Path) -> None:
    classes(root / "flowers" / "train")
    classes(root / "flowers" / "val", 50)


def strangers(root: Path) -> None:
    classes(root / "train")
    classes(root / "test", 50, ("cat", "eel"))


REFUSED = [
    (flat, "'test', 'train', are called as parts of a split, and hold no class folders; DATA holds train/CLASS"),
    (train_alone, "has train/ but no val/ or test/ with the same class folders; it holds 'test', 'train'; add one, or"),
    (no_train, "has the part 'val' of a split and no train/; it holds 'test', 'val'; add train/, or rename it"),
    (part_and_classes, "has the part 'test' of a split and no train/; it holds 'cat', 'dog', 'test'; add train/"),
    (twice, "has two folders for one part, 'val', 'valid': keep one of them"),
    (val_without_classes, "val': no usable image to validate on, for "),
    (unzipped_deeper, "has only the class 'flowers'; .* holds 'train', 'val': perhaps that is the one to give"),
    (strangers, "test' has classes that train/ lacks: 'eel'"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[make.__name__ for make, _ in REFUSED])
def test_a_refusal_names_the_folders_that_it_found(tmp_path: Path, make: object, said: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match=said):
        reading.read(tmp_path, 0.2, 0)


@pytest.mark.parametrize(
    ("parts", "taken"),
    [(("train", "val", "test"), "val"), (("train", "Testing"), "Testing"), (("valid",), "valid"), ((), "")],
)
def test_what_a_package_is_measured_on(tmp_path: Path, parts: tuple[str, ...], taken: str) -> None:
    for i, part in enumerate(parts or [""]):
        classes(tmp_path / part, 20 * i, count=3)
    samples, left_out = reading.labelled(tmp_path, ("cat", "dog"))
    assert len(samples) == 6 and all(sample.place.startswith(taken) for sample in samples) and not left_out
    assert layout.to_measure(tmp_path)[0].root == tmp_path / taken


def test_a_part_to_train_on_is_not_measured_by_accident(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    with pytest.raises(DataError, match=r"has train/ and nothing to measure on; it holds 'train'; .* give '.*train'"):
        reading.labelled(tmp_path, ("cat", "dog"))


# --- files and links --------------------------------------------------------------------------------------------


def test_a_files_content_tells_whether_it_is_an_image(tmp_path: Path) -> None:
    classes(tmp_path, count=30)
    for name, kind in {"a.jfif": "JPEG", "b": "PNG", "c.txt": "WEBP", "d.mp4": "BMP", "e.gif": "TIFF", "f.heic": "AVIF",
                       "g.png": "JPEG2000", "h.dat": "PPM"}.items():  # fmt: skip
        noise(500 + ord(name[0]), 32, 32).save(tmp_path / "cat" / name, kind)
    Image.new("P", (8, 8)).save(tmp_path / "cat" / "gif.png", "GIF")
    (tmp_path / "cat" / "video.png").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    (tmp_path / "dog" / "README").write_text("of dogs")
    images = reading.read(tmp_path, 0.2, 0)
    read = {path for path in paths(images.train + images.val) if not path.endswith(".png")}
    assert read == {f"cat/{name}" for name in ("a.jfif", "b", "c.txt", "d.mp4", "e.gif", "f.heic", "h.dat")}
    assert "cat/g.png" in paths(images.train + images.val)
    assert images.quarantined.keys() == {"cat/gif.png", "cat/video.png", "dog/README"}
    assert all(reason.startswith("not an image of a known format (") for reason in images.quarantined.values())
    found = asked.pictures([tmp_path / "cat"])
    assert {f"cat/{path.name}" for path in found.files} == {
        p for p in paths(images.train + images.val) if p[:3] == "cat"
    }
    (note,) = found.notes
    assert note.startswith("not used, not an image of a known format ("), "one rule for predict"
    assert note.endswith(": 'gif.png', 'video.png'")
    evaluated, left_out_too = reading.labelled(tmp_path, ("cat", "dog"))
    assert len(evaluated) == 68 and left_out_too == images.quarantined, "and for evaluate"


def test_what_is_no_image_counts_into_the_tenth(tmp_path: Path) -> None:
    classes(tmp_path)
    (tmp_path / "cat" / "labels.txt").write_text("cat")
    assert len(reading.read(tmp_path, 0.2, 0).quarantined) == 1
    (tmp_path / "dog" / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(
        DataError, match=r"^2 of 14 images in .* more than a tenth; mend them or .*; 'cat/labels.txt': "
    ):
        reading.read(tmp_path, 0.2, 0)


def test_one_rule_for_links(tmp_path: Path) -> None:
    root, outside = classes(tmp_path / "data"), classes(tmp_path / "outside", 50, ("eel", "more"))
    (outside / "more" / "round").symlink_to(outside / "more")
    (root / "eel").symlink_to(outside / "eel")
    (root / "cat" / "more").symlink_to(outside / "more")
    (root / "cat" / "file.png").symlink_to(fill(outside, range(400, 401)) / "400.png")
    (root / "cat" / "up").symlink_to(root)
    (root / "dog" / "cats").symlink_to(root / "cat")
    (root / "above").symlink_to(tmp_path)
    (root / "gone").symlink_to(root / "nowhere")
    (root / "loop").symlink_to(root / "loop")
    fill(root / ".hidden", range(3))
    images = reading.read(root, 0.2, 0)
    assert images.task.classes == ("cat", "dog", "eel")
    counts = {name: sum(p.startswith(name) for p in paths(images.train + images.val)) for name in images.task.classes}
    assert counts == {"cat": 13, "dog": 6, "eel": 6} and not images.quarantined
    assert images.notes == (
        "6 files lie in folders below a class folder: they are of that class",
        "not used, a link that leads nowhere: 'gone', 'loop'",
        "not used, a link to what is read anyway: 'above', 'cat/more/round', 'cat/up', 'dog/cats'",
        "not used, hidden: '.hidden'",
    )
    assert len(asked.pictures([root / "cat"]).files) == 13


def test_the_folder_may_be_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(classes(tmp_path))
    assert paths(reading.read(Path(), 0.2, 0).train) == paths(reading.read(tmp_path, 0.2, 0).train)


# --- names ------------------------------------------------------------------------------------------------------

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (COMPOSED, DECOMPOSED, f"'{COMPOSED}' look the same: U+0065 U+0301 against U+00E9"),
        ("cat", "cat ", "'cat' and 'cat ' look the same: nothing against U+0020"),
        (" cat", "cat", "U+0020 against nothing"),
        ("cat", "c\u200bat", r"'cat' and 'c\u200bat' look the same: nothing against U+200B"),
        ("a b", "a\xa0b", "U+0020 against U+00A0"),
        ("ok", "ok\ufe0f", "nothing against U+FE0F"),
    ],
)
def test_names_that_look_the_same_are_refused_with_their_code_points(
    tmp_path: Path, one: str, other: str, said: str
) -> None:
    classes(tmp_path / "one", names=(one, other, "dog"))
    with pytest.raises(DataError) as caught:
        reading.read(tmp_path / "one", 0.2, 0)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    classes(tmp_path / "two" / "train", names=(one, "dog"))
    classes(tmp_path / "two" / "val", 50, (other, "dog"))
    for read in (
        lambda: reading.read(tmp_path / "two", 0.2, 0),
        lambda: reading.labelled(tmp_path / "two", (one, "dog")),
    ):
        with pytest.raises(DataError, match="look the same: "):
            read()


def test_names_that_differ_to_the_eye_are_classes(tmp_path: Path) -> None:
    names = ("Cat", "cat", "c a t", "cät", "猫")
    assert not look_alike(names)
    assert reading.read(classes(tmp_path, names=names), 0.2, 0).task.classes == tuple(sorted(names))


def test_a_long_list_is_cut() -> None:
    assert listed(["a"]) == "'a'"
    assert listed("abcdefgh") == "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'"
    assert listed(map(str, range(10_005)), 3) == "'0', '1', '2' and 10,002 more"
    assert listed(["x" * 999, "a\nb"]) == f"'{'x' * 59}…', 'a\\nb'"


def test_a_refusal_is_short_whatever_the_number_of_classes(tmp_path: Path) -> None:
    for i in range(500):
        (tmp_path / "val" / f"class {i:04}").mkdir(parents=True)
        fill(tmp_path / "train" / f"klass {i:04}", range(0))
    with pytest.raises(DataError) as caught:
        reading.read(tmp_path, 0.2, 0)
    assert "and 492 more" in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(DataError) as caught:
        reading.labelled(tmp_path, tuple(f"known {i}" for i in range(500)))
    assert str(caught.value).count("and 492 more") == 2 and len(str(caught.value)) < 600


# --- pictures ---------------------------------------------------------------------------------------------------


def test_equal_pixels_are_one_picture_whatever_their_bytes(tmp_path: Path) -> None:
    root = classes(tmp_path / "data", count=10)
    for seed in range(10):
        noise(seed).save(root / "cat" / f"{seed}.webp", lossless=True)
    for seed in range(8):
        images = reading.read(root, 0.3, seed)
        train, val = ({s.place.partition(".")[0] for s in samples} for samples in (images.train, images.val))
        assert not train & val and len(images.val) == 6 + 3
    parted = tmp_path / "parted"
    classes(parted / "train", count=10)
    classes(parted / "val", 50, count=10)
    noise(3).save(parted / "val" / "cat" / "again.bmp")
    noise(4).save(parted / "train" / "dog" / "torn.tiff")
    assert reading.read(parted, 0.2, 0).notes == (
        "1 validation images are also training images: the score will look better than it is",
        "1 images have two labels with equal pixels",
    )


def test_the_split_of_different_pictures_goes_by_their_bytes_as_ever(tmp_path: Path) -> None:
    images = reading.read(classes(tmp_path, count=20), 0.2, 3)
    known = [Sample(s.place, s.target, s.sha256) for s in sorted(images.train + images.val, key=lambda s: s.place)]
    assert paths(tuple(split(known, lambda sample: (sample.target,), 0.2, 3)[1])) == paths(images.val)


def test_pictures_of_one_colour_are_counted(tmp_path: Path) -> None:
    root = classes(tmp_path, count=10)
    for i in range(10):
        Image.new("RGB", (9 + i, 5), (i, 2, 3)).save(root / "dog" / f"plain{i}.png")
    striped = Image.new("RGB", (9, 5), "red")
    striped.paste("blue", (0, 4, 9, 5))
    striped.save(root / "cat" / "striped.png")
    notes = reading.read(root, 0.2, 0).notes
    assert len(notes) == 1 and notes[0].startswith("10 images are of one colour: 'dog/plain") and "2 more" in notes[0]


def test_a_file_that_is_named_as_bytes_is_told(tmp_path: Path) -> None:
    classes(tmp_path)
    name = os.fsdecode(b"\xff.png")
    fill(tmp_path / ".a", range(1))
    Image.new("RGB", (5, 5)).save(tmp_path / "cat" / name)
    assert json.dumps(reading.read(tmp_path, 0.2, 0).notes, ensure_ascii=False).encode()
