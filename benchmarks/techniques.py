"""What single techniques of hubft are worth, each by a measurement of its own.

    python benchmarks/techniques.py labels --data FOLDER --out RUNS.jsonl [--seeds 5] [--images 10000] [--side 64]

`labels`: how many swapped labels `hubft data` finds. Images of FOLDER (CLASS/*, or train/CLASS/* and val/CLASS/*) are
drawn, each class in its proportion, and scaled to --side pixels; --share of them get another class by chance. The
suspicious labels in findings.csv are in order: `found` is the share of the swaps among the first of them, as many as
2 % of the images; `taken` are those that are taken for wrong, and `found_taken` the share of the swaps among these.
Another seed draws other images, other swaps and other classes.

Every run is a line of --out, and one that is there is not done again. With --show nothing runs.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
from accuracy import spread
from kept import Runs
from PIL import Image

FIRST = 0.02  # of the images, whose labels a user would look at
KINDS = ("label", "unlikely label")  # of findings, in the order in which they stand
SHOWN = ("images", "swapped", "found", "taken", "found_taken", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("technique", choices=("labels",))
    parser.add_argument("--data", type=Path, required=True, help="a folder of class folders")
    parser.add_argument("--out", type=Path, required=True, metavar="RUNS.jsonl")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, help="do this one alone, in this process, and print its line")
    parser.add_argument("--images", type=int, default=10_000, help="as many as there are, if there are fewer")
    parser.add_argument("--side", type=int, default=64, help="pixels of an image")
    parser.add_argument("--share", type=float, default=0.01, help="of labels that are swapped")
    parser.add_argument("--reference", default="pip:efficientnet_lite0")
    parser.add_argument("--size", type=int, default=64, help="pixels that the backbone sees; 0: its own size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    if given.seed is not None:
        print(json.dumps(swapped(given, given.seed)))
        return
    facts = {name: getattr(given, name) for name in ("reference", "size", "side", "share")}
    key = {"technique": given.technique, "data": given.data.name, "asked": given.images, **facts}
    runs = Runs(given, key)
    for seed in () if given.show else range(given.seeds):
        runs.once(key | {"seed": seed}, [sys.executable, __file__, *sys.argv[1:], "--seed", str(seed)])
    show(runs, key)


def show(runs: Runs, key: dict[str, object]) -> None:
    """Print the table."""
    lines = runs.of(**key)
    print("| seed | images | swapped | found in the first 2 % | taken for wrong | found among these | seconds |")
    print(f"| {' | '.join(['---'] * (len(SHOWN) + 1))} |")
    for line in lines:
        cells = [f"{line[name]:.3f}" if isinstance(line[name], float) else str(line[name]) for name in SHOWN]
        print(f"| {line['seed']} | {' | '.join(cells)} |")
    if lines:
        print(f"found: {spread([100 * line['found'] for line in lines], '.1f')} of a hundred swaps")


def swapped(given: argparse.Namespace, seed: int) -> dict[str, object]:
    """Return what one look at images with swapped labels finds."""
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder, given.data.name), Path(folder, "seen")
        samples = drawn(given.data, given.images, seed)
        wrong = write(samples, data, given.share, given.side, seed)
        began = time.perf_counter()
        words = ["data", data, "--reference", given.reference, "--size", given.size, "--output", output]
        subprocess.run([sys.executable, "-m", "hubft", *map(str, words)], check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - began
        with (output / "findings.csv").open(encoding="utf-8", newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["finding"] in KINDS]
    first = {line["place"] for line in lines[: round(FIRST * len(samples))]}
    taken = {line["place"] for line in lines if line["finding"] == KINDS[0]}
    shares = {"found": len(wrong & first) / len(wrong), "found_taken": len(wrong & taken) / len(wrong)}
    return {"images": len(samples), "swapped": len(wrong), **shares, "taken": len(taken), "seconds": round(seconds, 1)}


def drawn(folder: Path, number: int, seed: int) -> list[datasets.Sample]:
    """Return so many of a folder's images, each class in its proportion; all, if there are no more."""
    parts = [folder / part for part in ("train", "val") if (folder / part).is_dir()] or [folder]
    every = [
        datasets.Sample(sample.label, f"{part.name}-{sample.name}", sample.read)
        for part in parts
        for sample in datasets.there(part)
    ]
    return datasets.draw(every, number if number < len(every) else None, seed)


def write(samples: list[datasets.Sample], folder: Path, share: float, side: int, seed: int) -> set[str]:
    """Write class folders in which some images lie in another class; return the places of these."""
    draws, labels = random.Random(f"swaps {seed}"), sorted({sample.label for sample in samples})
    chosen = set(draws.sample(range(len(samples)), round(share * len(samples))))
    wrong = set()
    for number, sample in enumerate(samples):
        label = draws.choice([one for one in labels if one != sample.label]) if number in chosen else sample.label
        place = f"{label}/{number:05}.png"
        (folder / label).mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(sample.read())) as image:
            image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(folder / place)
        wrong |= {place} if number in chosen else set()
    return wrong


if __name__ == "__main__":
    main()
