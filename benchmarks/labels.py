"""Tables of pictures with several labels, with a number, and with both, that hubft and its peers are compared on.

    python benchmarks/labels.py NAME OUT [--train 192] [--val 60] [--test 600] [--seed 0] [--cache FOLDER]

Writes OUT/images/* and OUT/table.csv with the columns `image`, `split` (train, val or test) and those of the labels:
the same bytes for the same seed, other pictures for another. What is in a part does not depend on how many the others
have, but that the cells to test on are drawn first and those to validate on second. No system looks at the test part
while it trains. The pictures are made of what `datasets.py` takes out of packages and fonts.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
from PIL import Image

SIDE = 224
MARGIN = SIDE // 16  # nothing is drawn beyond: a model of timm that evaluates on the middle 7/8 sees all that is there
POOLS = {"train": 0.6, "val": 0.15, "test": 0.25}  # shares of the drawings of a kind
KINDS = 8
MOST = 4  # drawings on a canvas, one a quarter
WEIGHTS = {
    "sans": ("DejaVuSans", "DejaVuSans-Bold"),
    "mono": ("DejaVuSansMono", "DejaVuSansMono-Bold"),
    "serif": ("DejaVuSerif", "DejaVuSerif-Bold"),
    "times": ("STIXGeneral", "STIXGeneralBol"),
    "modern": ("cmr10", "cmb10"),
}
SIZES = (32, 72)  # pixels of an em
SOURCES = {
    "cells": f"{datasets.SOURCES['cells'].replace(', intact or broken', '')}: how probable a defect is",
    "canvas": "one to four drawings on a noisy ground, which kinds are there: Microsoft's Fluent emoji in "
    "@lobehub/fluent-emoji-3d (MIT), their kinds from emoji-datasource-google (MIT)",
    "faces": "three letters on 224 x 224 pixels, turned and noisy, by typeface, weight and size: matplotlib's DejaVu, "
    "STIX and Computer Modern (free licences)",
}


@dataclass(frozen=True)
class Row:
    """A picture with its cells of the table."""

    split: str
    name: str
    cells: dict[str, str]
    picture: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SOURCES, metavar="NAME", help=", ".join(SOURCES))
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--train", type=int, default=192, metavar="N", help="pictures to train on")
    parser.add_argument("--val", type=int, default=60, metavar="N", help="pictures to validate on")
    parser.add_argument("--test", type=int, default=600, metavar="N", help="pictures to measure on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "hubft" / "datasets")
    given = parser.parse_args()
    numbers = {"train": given.train, "val": given.val, "test": given.test}
    if min(numbers.values()) < 1:
        parser.error("each part has one picture or more")
    if given.out.exists():
        raise SystemExit(f"{given.out} exists: remove it, or name another folder")
    write(given.out, MAKERS[given.name](numbers, given.seed, given.cache))
    print(f"{given.out / 'table.csv'}: {', '.join(f'{n} to {part}' for part, n in numbers.items())}")
    print(f"{given.name}: {SOURCES[given.name]}")


def write(out: Path, rows: Iterator[Row]) -> None:
    """Write pictures and table whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as unfinished:
        whole = Path(unfinished) / out.name
        (whole / "images").mkdir(parents=True)
        table: list[dict[str, str]] = []
        for row in rows:
            (whole / "images" / row.name).write_bytes(row.picture)
            table.append({"image": f"images/{row.name}", "split": row.split} | row.cells)
        with (whole / "table.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        whole.rename(out)


def cells(numbers: dict[str, int], seed: int, cache: Path) -> Iterator[Row]:
    """Yield solar cells, each probability of a defect in its proportion."""
    rest, parts = datasets.graded(cache), {}
    for split in ("test", "val", "train"):
        parts[split], rest = datasets.part(rest, numbers[split], seed)
    for split in numbers:
        for cell in parts[split]:
            yield Row(split, cell.name, {"probability": f"{float(cell.label):.6g}"}, cell.read())


def canvas(numbers: dict[str, int], seed: int, cache: Path) -> Iterator[Row]:
    """Yield canvases; no drawing is in two parts."""
    pools = pooled(datasets.drawn(cache), seed)
    for split, number in numbers.items():
        for i in range(number):
            picture, kinds = composed(random.Random(f"canvas {seed} {split} {i}"), pools[split])
            yield Row(split, f"{split}-{i:04}.png", {"kinds": ";".join(kinds)}, datasets.png(picture))


def pooled(samples: list[datasets.Sample], seed: int) -> dict[str, dict[str, list[Image.Image]]]:
    """Return the drawings of each part by kind; flags are left out."""
    kinds: dict[str, list[Image.Image]] = defaultdict(list)
    for sample in samples:
        if sample.label != "Flags":
            kinds[sample.label].append(Image.open(io.BytesIO(sample.read())))  # decoded when it is drawn
    if len(kinds) != KINDS:
        raise SystemExit(f"the package has drawings of {len(kinds)} kinds, not of {KINDS}")
    pools: dict[str, dict[str, list[Image.Image]]] = {split: {} for split in POOLS}
    for kind, those in sorted(kinds.items()):
        random.Random(f"{kind} {seed}").shuffle(those)
        begin = 0.0
        for split, share in POOLS.items():
            end = begin + share
            pools[split][kind] = those[round(begin * len(those)) : round(end * len(those))]
            begin = end
    return pools


def composed(draws: random.Random, pool: dict[str, list[Image.Image]]) -> tuple[Image.Image, list[str]]:
    """Return one to four drawings, each in a quarter of its own, and the kinds that they are of, in order."""
    colour = tuple(draws.randint(0, 255) for _ in range(3))
    ground = Image.frombytes("RGB", (SIDE, SIDE), draws.randbytes(3 * SIDE * SIDE))
    ground = Image.blend(Image.new("RGB", ground.size, colour), ground, draws.uniform(0.1, 0.4))
    half, kinds = SIDE // 2 - MARGIN, set()
    for quarter in draws.sample(range(4), draws.randint(1, MOST)):
        kind = draws.choice(list(pool))
        drawing = draws.choice(pool[kind]).convert("RGBA")
        drawing = drawing.rotate(draws.uniform(-15, 15), Image.Resampling.BILINEAR)
        size = draws.randint(half // 2, half)
        drawing = drawing.resize((size, size))
        left, top = (MARGIN + half * place + draws.randint(0, half - size) for place in divmod(quarter, 2))
        ground.paste(drawing, (left, top), drawing)
        kinds.add(kind)
    return ground, sorted(kinds)


def faces(numbers: dict[str, int], seed: int, cache: Path) -> Iterator[Row]:
    """Yield specimens; typefaces and weights in turn, so that each part has as many of each as can be."""
    fonts = [
        (face, weight, font)
        for face, both in WEIGHTS.items()
        for weight, font in zip(("regular", "bold"), both, strict=True)
    ]
    for split, number in numbers.items():
        for i in range(number):
            face, weight, font = fonts[i % len(fonts)]
            picture, size = datasets.specimen(random.Random(f"faces {seed} {split} {i}"), font, SIZES)
            told = {"typeface": face, "weight": weight, "size": str(size)}
            yield Row(split, f"{split}-{i:04}.png", told, datasets.png(picture))


MAKERS = {"cells": cells, "canvas": canvas, "faces": faces}


if __name__ == "__main__":
    main()
