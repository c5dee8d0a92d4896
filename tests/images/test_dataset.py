"""A folder of images: what can be decoded, what is left out and why, what is held out, what is refused."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy
import pytest
import reading
from pictures import fill, noise
from PIL import Image

from hubft.base.errors import DataError
from hubft.data.split import split
from hubft.families import plugins
from hubft.images.decode import decode, depth
from hubft.images.samples import Sample
from hubft.images.samples import white as white_of_all

HYMENOPTERA = plugins.ROOT.parent / "shared" / "data" / "hymenoptera"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, text: bytes = b"") -> bytes:
    """Return a PNG whose header claims that size; `text` becomes a compressed comment."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    comment = chunk(b"zTXt", b"k\0\0" + zlib.compress(text)) if text else b""
    return b"\x89PNG\r\n\x1a\n" + header + comment + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


JPEG = encoded(noise(0, 64, 48), "JPEG")
BAD = {
    "empty.jpg": (b"", "not an image of a known format"),
    "page.jpg": (b"<html>404</html>", "not an image of a known format"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "cannot be decoded: image file is truncated"),
    "short.png": (encoded(noise(1), "PNG")[:-40], "cannot be decoded: "),
    "float.tiff": (
        encoded(Image.new("F", (8, 8), 0.5), "TIFF"),
        "cannot be decoded: pixels of mode F have no known range",
    ),
    "int.tiff": (
        encoded(Image.new("I", (8, 8), 70000), "TIFF"),
        "cannot be decoded: pixels of mode I have no known range",
    ),
    "large.png": (png(10_001, 10_001), "10001 x 10001 pixels are more than 100000000"),
    "strip.png": (
        encoded(Image.new("L", (2, 2001)), "PNG"),
        "of 2 x 2001 pixels one side is more than 1000 times the other",
    ),
    "bomb.png": (png(30_000, 30_000), "cannot be decoded: Image size"),
    "comment.png": (png(8, 8, bytes(20_000_000)), "cannot be decoded: Decompressed data too large"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_decoded_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    for source in (tmp_path / name, BytesIO(content)):
        with pytest.raises(DataError, match=f"^{reason}") as caught:
            decode(source)
        assert "0x" not in str(caught.value), "an address in memory tells the user nothing"


def unreadable(folder: Path) -> dict[str, str]:
    """Make what is no regular file, under names of images; return name -> reason."""
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "linked.jpg").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.jpg")
    return dict.fromkeys(("dangling.jpg", "loop.jpg", "linked.jpg", "pipe.jpg"), "not a regular file")


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in (*unreadable(tmp_path), "folder.jpg", "absent.jpg"):
        with pytest.raises(DataError, match=r"^not a regular file$"):  # opening the pipe would block for ever
            decode(tmp_path / name)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb_of_8_bits(mode: str) -> None:
    grey = Image.new("RGB", (6, 4), (102, 102, 102)).convert(mode, dither=Image.Dither.NONE)
    options: dict[str, object] = {"transparency": 3} if mode == "P" else {}
    if mode == "YCbCr":
        options["compression"] = "tiff_lzw"  # Pillow 12 cannot read such files that are not compressed
    image = decode(BytesIO(encoded(grey, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG", **options)))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert abs(numpy.asarray(image).mean() - (0 if mode == "1" else 102)) <= 1


def test_what_is_transparent_is_laid_over_white() -> None:
    """The colour below alpha is arbitrary, and often one for the whole picture: a drawing that lives in alpha alone."""
    drawing = Image.new("RGBA", (3, 1), (9, 99, 199, 255))
    drawing.putpixel((1, 0), (9, 99, 199, 0))
    drawing.putpixel((2, 0), (0, 0, 0, 51))
    deep = numpy.array([[257, 514]], numpy.uint16)
    key = Image.frombytes("P", (2, 1), bytes((0, 1)))
    key.putpalette((9, 99, 199, 0, 0, 0))
    pictures = {
        encoded(drawing, "PNG"): [(9, 99, 199), (255, 255, 255), (204, 204, 204)],
        encoded(Image.frombytes("LA", (2, 1), bytes((0, 0, 0, 255))), "PNG"): [(255, 255, 255), (0, 0, 0)],
        encoded(key, "PNG", transparency=1): [(9, 99, 199), (255, 255, 255)],
        encoded(key, "PNG", transparency=bytes((255, 51))): [(9, 99, 199), (204, 204, 204)],
        encoded(key.convert("RGB"), "PNG", transparency=(0, 0, 0)): [(9, 99, 199), (255, 255, 255)],
        encoded(Image.frombytes("L", (2, 1), bytes((7, 8))), "PNG", transparency=8): [(7, 7, 7), (255, 255, 255)],
        encoded(Image.fromarray(deep), "PNG", transparency=514): [(1, 1, 1), (255, 255, 255)],
    }
    for content, wanted in pictures.items():
        image = decode(BytesIO(content))
        assert image.mode == "RGB" and numpy.asarray(image).reshape(-1, 3).tolist() == list(map(list, wanted))


def test_opaque_pictures_keep_their_bits() -> None:
    levels = numpy.arange(256, dtype=numpy.uint8)
    colours = numpy.stack([levels, levels[::-1], numpy.roll(levels, 77)], axis=-1)[None]
    opaque = Image.fromarray(numpy.concatenate([colours, numpy.full((1, 256, 1), 255, numpy.uint8)], axis=-1))
    assert (numpy.asarray(decode(BytesIO(encoded(opaque, "PNG")))) == colours).all()
    every = Image.fromarray(numpy.arange(65536, dtype=numpy.uint16).reshape(256, 256))
    grey = numpy.asarray(decode(BytesIO(encoded(every, "PNG"))))
    assert (grey == (numpy.arange(65536) // 257).reshape(256, 256, 1)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF"])
def test_16_bits_are_scaled_not_saturated(kind: str) -> None:
    levels = numpy.array([[0, 257 * 65 - 1, 257 * 128, 65535]], dtype=numpy.uint16)
    content = big_endian(levels) if kind == "big-endian TIFF" else encoded(Image.fromarray(levels), kind)
    image = decode(BytesIO(content))
    assert numpy.asarray(image).tolist() == [[[0] * 3, [64] * 3, [128] * 3, [255] * 3]]
    image = decode(BytesIO(content), white=65 * 257 - 1)
    assert numpy.asarray(image).tolist() == [[[0] * 3, [255] * 3, [255] * 3, [255] * 3]]
    assert depth(BytesIO(content)) == (65535, False)


def big_endian(levels: numpy.ndarray) -> bytes:
    """Return a TIFF of 16-bit grey with the byte order of other machines, which Pillow reads as mode I;16B."""
    data, (height, width) = levels.astype(">u2").tobytes(), levels.shape
    short = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: height}
    tags = [struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in short.items()]
    tags.append(struct.pack(">HHII", 279, 4, 1, len(data)))
    return struct.pack(">2sHIH", b"MM", 42, 8, len(tags)) + b"".join(tags) + bytes(4) + data


@pytest.mark.parametrize(
    ("peaks", "white"),
    [([15], 255), ([255], 255), ([256, 3], 511), ([4095, 0], 4095), ([4096], 8191), ([65535], 65535)],
)
def test_what_is_white_is_taken_from_the_training_images(tmp_path: Path, peaks: list[int], white: int) -> None:
    for number, highest in enumerate(peaks):
        levels = numpy.full((2, 2), highest, numpy.uint16)
        levels[0, 0] = number
        encode(tmp_path / "train" / "cat" / f"{number}.png", Image.fromarray(levels))
    encode(tmp_path / "val" / "cat" / "0.png", Image.fromarray(numpy.full((2, 2), 60000, numpy.uint16)))
    for part in ("train", "val"):
        encode(tmp_path / part / "dog" / "0.png", Image.new("L", (2, 2), 200))
    assert white_of_all(reading.read(tmp_path, 0.2, 0).train) == white


def test_without_16_bit_grey_nothing_is_known_of_its_white(parted: Path) -> None:
    assert white_of_all(reading.read(parted, 0.2, 0).train) == 0


def encode(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image, "PNG"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_lying_picture_keeps_its_proportions_when_it_is_scaled_down(form: str) -> None:
    lying = Image.new("RGB", (160, 80), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(lying, form, exif=exif)
    assert decode(BytesIO(content)).size == (80, 160) and decode(BytesIO(content), side=20).size == (20, 40)


def test_a_picture_is_turned_upright_by_its_exif_tag() -> None:
    lying = Image.new("RGB", (8, 4), "blue")
    lying.paste("red", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the left of what is stored is the top of what is meant
    image = decode(BytesIO(encoded(lying, "PNG", exif=exif)))
    assert image.size == (4, 8)
    assert (image.getpixel((2, 0)), image.getpixel((2, 7))) == ((255, 0, 0), (0, 0, 255))


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """A folder with train/ and val/, classes cat and dog, six and two images each."""
    for part, (cats, dogs) in {"train": (0, 10), "val": (6, 16)}.items():
        count = 6 if part == "train" else 2
        fill(tmp_path / "d" / part / "dog", range(dogs, dogs + count))
        fill(tmp_path / "d" / part / "cat", range(cats, cats + count))
    return tmp_path / "d"


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """One folder of class folders: forty cats, twenty dogs."""
    fill(tmp_path / "d" / "dog", range(100, 120))
    return fill(tmp_path / "d" / "cat", range(40)).parent


def test_train_and_val_are_taken_as_they_are(parted: Path) -> None:
    images = reading.read(parted, 0.5, 0)
    assert images.task.classes == ("cat", "dog")
    assert [s.target for s in images.train] == [0] * 6 + [1] * 6
    assert [s.place for s in images.val] == ["val/cat/6.png", "val/cat/7.png", "val/dog/16.png", "val/dog/17.png"]
    assert (images.quarantined, images.notes) == ({}, ())


@pytest.mark.parametrize(("holdout", "held"), [(0.2, [8, 4]), (0.5, [20, 10]), (0.01, [1, 1]), (0.9, [36, 18])])
def test_one_folder_is_split_by_class(single: Path, holdout: float, held: list[int]) -> None:
    images = reading.read(single, holdout, 0)
    assert [sum(s.target == label for s in images.val) for label in (0, 1)] == held
    assert len(images.train) == 60 - sum(held) and not {*images.train} & {*images.val}


def contents(samples: tuple[Sample, ...]) -> set[tuple[int, str]]:
    return {(s.target, s.sha256) for s in samples}


def test_what_is_held_out_depends_on_the_content_not_on_names(single: Path, tmp_path: Path) -> None:
    before = reading.read(single, 0.2, 0)
    for i, path in enumerate(sorted(single.glob("*/*"), key=lambda p: p.read_bytes())):
        place = tmp_path / "other" / path.parent.name / f"deep {i % 3}" / f"{i}.PNG"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    after = reading.read(tmp_path / "other", 0.2, 0)
    assert contents(after.val) == contents(before.val) and contents(after.train) == contents(before.train)
    assert after.fingerprint() == before.fingerprint()


def test_the_split_has_a_seed(single: Path) -> None:
    held = [contents(reading.read(single, 0.2, seed).val) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize("seed", range(8))
def test_equal_bytes_stay_on_one_side(seed: int) -> None:
    samples = [Sample(f"{label}/{i}", label, f"sha{i // 2}") for label in (0, 1) for i in range(10)]
    train, val = split(samples, lambda sample: (sample.target,), 0.3, seed)
    assert not {s.sha256 for s in train} & {s.sha256 for s in val}
    assert sorted((*train, *val), key=str) == sorted(samples, key=str)
    assert all(any(s.target == label for s in val) for label in (0, 1))
    assert split(samples[::-1], lambda sample: (sample.target,), 0.3, seed)[1][::-1] == val


def test_fingerprints_change_with_the_content_and_with_the_label(parted: Path) -> None:
    first = reading.read(parted, 0.2, 0).fingerprint()
    assert (first["train"]["samples"], first["val"]["samples"]) == (12, 4)
    (parted / "train" / "cat" / "0.png").rename(parted / "train" / "cat" / "renamed.png")
    assert reading.read(parted, 0.2, 0).fingerprint() == first
    noise(99).save(parted / "train" / "cat" / "1.png")
    second = reading.read(parted, 0.2, 0).fingerprint()
    assert second["train"] != first["train"] and second["val"] == first["val"]
    (parted / "val" / "cat" / "6.png").rename(parted / "val" / "dog" / "6.png")
    third = reading.read(parted, 0.2, 0).fingerprint()
    assert third["val"] != first["val"] and third["train"] == second["train"]


def test_what_cannot_be_used_is_quarantined_with_its_reason(single: Path) -> None:
    fill(single / "dog", range(120, 140))
    reasons = {f"cat/{name}": reason for name, reason in unreadable(single / "cat").items()}
    del reasons["cat/linked.jpg"]  # a link to a folder
    for name in ("empty.jpg", "truncated.jpg"):
        (single / "dog" / name).write_bytes(BAD[name][0])
        reasons[f"dog/{name}"] = BAD[name][1]
    (single / "dog" / "notes.txt").write_text("none")
    (single / "dog" / "moving.gif").write_bytes(b"GIF89a")
    reasons |= dict.fromkeys(("dog/notes.txt", "dog/moving.gif"), "not an image of a known format (JPEG, PNG,")
    images = reading.read(single, 0.2, 0)
    assert len(images.train) + len(images.val) == 80
    assert images.notes == ("not used, a link to what is read anyway: 'cat/linked.jpg'",)
    assert images.quarantined.keys() == reasons.keys()
    assert all(images.quarantined[name].startswith(reason) for name, reason in reasons.items())


@pytest.mark.parametrize("part", ["train", "val"])
def test_more_than_a_tenth_unreadable_is_the_folders_fault(tmp_path: Path, part: str) -> None:
    for other in ("train", "val"):
        fill(tmp_path / other / "cat", range(9))
        fill(tmp_path / other / "dog", range(10, 19))
    (tmp_path / part / "cat" / "a.jpg").write_bytes(b"")
    (tmp_path / part / "cat" / "b.jpg").write_bytes(b"")
    assert len(reading.read(tmp_path, 0.2, 0).quarantined) == 2  # 2 of 20
    (tmp_path / part / "dog" / "c.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=rf"^3 of 21 images in '.*{part}' cannot be used, .*; '{part}/cat/a.jpg': not"):
        reading.read(tmp_path, 0.2, 0)


def test_hidden_files_and_folders_are_ignored(single: Path) -> None:
    before = reading.read(single, 0.2, 0)
    for place in (single / "cat" / ".ipynb_checkpoints" / "deeper", single / "dog"):
        fill(place, range(200, 203), ".{}.png" if place.name == "dog" else "{}.png")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (single / "cat" / name).write_bytes(b"x")
    (single / "README.md").write_text("beside the classes")
    assert reading.read(single, 0.2, 0) == before


@pytest.mark.parametrize("name", ["ünïcödé 图 🐶.jpg".encode(), b"bad\xff.JPG", b"a\nb[red].Jpeg"])
def test_names_of_any_bytes_are_read_and_reported(single: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(single / "dog") + b"/" + name)).write_bytes(JPEG)
    Path(os.fsdecode(os.fsencode(single / "cat") + b"/" + name)).write_bytes(b"")
    images = reading.read(single, 0.2, 0)
    assert len(images.train) + len(images.val) == 61
    assert list(images.quarantined) == ["cat/" + name.decode("utf-8", "backslashreplace")]
    json.dumps(images.quarantined, ensure_ascii=False).encode()


def test_a_folder_named_as_an_image_is_a_folder(single: Path) -> None:
    fill(single / "cat" / "x.jpg", range(200, 202))
    images = reading.read(single, 0.2, 0)
    assert (len(images.train) + len(images.val), images.quarantined) == (62, {})


def no_folder(root: Path) -> None:
    shutil.rmtree(root)


def a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("")


def no_classes(root: Path) -> None:
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")


def no_val(root: Path) -> None:
    shutil.rmtree(root / "val")


def one_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "dog")


def empty_class(root: Path) -> None:
    (root / "train" / "eel").mkdir()


def class_of_text(root: Path) -> None:
    (root / "train" / "eel").mkdir()
    (root / "train" / "eel" / "eel.txt").write_text("eel")


def stranger(root: Path) -> None:
    fill(root / "val" / "eel", range(1))


def empty_val(root: Path) -> None:
    shutil.rmtree(root / "val" / "cat")
    shutil.rmtree(root / "val" / "dog")


def strange_bytes(root: Path) -> None:
    fill(Path(os.fsdecode(os.fsencode(root) + b"/train/\xff")), range(30, 32))


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (no_folder, r"'.*' is no folder; DATA holds train/CLASS/\* with val/CLASS/\* or test/CLASS/\*, or CLASS/\*"),
        (a_file, "is no table by its name: known are "),
        (no_classes, "has no class folders; two or more folders of images"),
        (no_val, r"has train/ but no val/ or test/ .*; it holds 'train'; add one, or give '.*train' to split it"),
        (one_class, r"'.*train' has only the class 'cat'; two or more"),
        (empty_class, "nothing usable to train on in class 'eel'"),
        (class_of_text, "nothing usable to train on in class 'eel'"),
        (stranger, r"'.*val' has classes that train/ lacks: 'eel'"),
        (empty_val, "no usable image to validate on"),
        (strange_bytes, r"the name of the class folder '\\udcff' is not UTF-8: rename it"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused(
    parted: Path, break_it: Callable[[Path], None], said: str
) -> None:
    break_it(parted)
    with pytest.raises(DataError, match=said):
        reading.read(parted, 0.2, 0)


def test_the_only_image_of_a_class_is_trained_on(single: Path) -> None:
    fill(single / "eel", range(300, 301))
    images = reading.read(single, 0.2, 0)
    assert [sample.place for sample in images.train if sample.target == 2] == ["eel/300.png"]
    assert images.notes == ("validation has no image of class 'eel'",)


def test_notes_tell_what_a_user_should_know(parted: Path) -> None:
    shutil.copy(parted / "train" / "cat" / "0.png", parted / "val" / "cat" / "again.png")
    shutil.copy(parted / "train" / "cat" / "1.png", parted / "train" / "dog" / "torn.png")
    shutil.rmtree(parted / "val" / "dog")
    assert reading.read(parted, 0.2, 0).notes == (
        "1 validation images are also training images: the score will look better than it is",
        "1 images have two labels with equal pixels",
        "validation has no image of class 'dog'",
    )


def test_labelled_images_are_found_for_known_classes(parted: Path) -> None:
    samples, quarantined = reading.labelled(parted, ("bat", "cat", "dog"))
    assert [(s.place, s.target) for s in samples] == [
        ("val/cat/6.png", 1), ("val/cat/7.png", 1), ("val/dog/16.png", 2), ("val/dog/17.png", 2)
    ]  # fmt: skip
    assert quarantined == {}
    assert reading.labelled(parted / "val", ("cat", "dog"))[0][0].place == "cat/6.png"


@pytest.mark.parametrize(
    ("folder", "classes", "said"),
    [
        ("val", ("cat",), r"val' has unknown classes 'dog'; known are 'cat'"),
        ("absent", ("cat", "dog"), "is no folder"),
        ("val/cat", ("cat", "dog"), "val/cat' has no class folders; DATA holds"),
        ("hollow", ("cat", "dog"), "no usable image with a label"),
    ],
)
def test_images_that_do_not_fit_the_classes_are_refused(
    parted: Path, folder: str, classes: tuple[str, ...], said: str
) -> None:
    (parted / "hollow" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=said):
        reading.labelled(parted / folder, classes)


@pytest.mark.skipif(not HYMENOPTERA.is_dir(), reason="the photographs are not beside the checkout")
def test_the_photographs_of_the_tutorial() -> None:
    images = reading.read(HYMENOPTERA, 0.2, 0)
    assert (images.task.classes, len(images.train), len(images.val)) == (("ants", "bees"), 244, 153)
    assert list(images.quarantined) == ["train/ants/imageNotFound.gif"]
    assert "not an image of a known format (JPEG, PNG," in images.quarantined["train/ants/imageNotFound.gif"]
