"""What WiSE-FT, L2-SP, soups, test-time views and ensembles bring to a fine-tune, on its own test images and on images
that were shifted.

    python benchmarks/datasets.py drawings drawings/ --train 400 --val 100 --test 400
    python benchmarks/techniques_shift.py --data drawings/ cells/ cifar/ [--seeds 5] [--epochs 4] [--size 64]
    python benchmarks/techniques_shift.py --show

Of every data set and seed: a fine-tune, and the same with --wise and with --anchor 1; then of each seed a soup of its
fine-tune and those of the next two seeds, uniform and greedy, their ensemble, and the fine-tune with --tta flips. All
are measured on data/test and on the same images shifted: darker, of less contrast, blurred, with noise. Each run is a
line of --out; what is there is not run again. Differences to the fine-tune of the same seed, paired, with a 95 %
interval, and the seconds as a multiple of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy
from accuracy import head, row, spread
from kept import Line, Runs
from PIL import Image, ImageEnhance, ImageFilter

REFERENCE = "pip:efficientnet_lite0"
TRAINED = {"fine-tune": {}, "wise": {"wise": True}, "anchor": {"anchor": 1.0}}
MADE = ("soup", "greedy soup", "ensemble", "tta flips")
MEMBERS = 3
TESTS = ("held out", "shifted")
SHARE = 0.5  # of the brightness and of the contrast that is left in a shifted image
SOFT, NOISE = 1.0, 12.0  # pixels of the blur at a side of 64, and grey values of the noise


def shifted(data: Path, folder: Path) -> Path:
    """Return a folder with the test images of a data set, shifted: made where it is not there."""
    target = folder / f"{data.name}-shifted"
    if not target.exists():
        draw = random.Random(data.name)
        for path in sorted((data / "test").rglob("*.*")):
            made = target / path.relative_to(data / "test").with_suffix(".png")
            made.parent.mkdir(parents=True, exist_ok=True)
            image = Image.open(path).convert("RGB")
            image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(SHARE)).enhance(SHARE)
            image = image.filter(ImageFilter.GaussianBlur(SOFT * max(image.size) / 64))
            noise = numpy.random.default_rng(draw.randrange(2**32)).normal(0, NOISE, (*image.size[::-1], 1))
            Image.fromarray((numpy.asarray(image) + noise).clip(0, 255).astype(numpy.uint8)).save(made)
    return target


def one(given: argparse.Namespace, data: Path, what: str, seed: int) -> Line:
    """Return what one technique reaches, and its seconds: of a soup or an ensemble those after its members' runs."""
    import hubft
    from hubft import engine

    folder, began = given.work / data.name, time.perf_counter()
    member = [folder / f"fine-tune-{(seed + i) % given.seeds}" for i in range(MEMBERS)]
    more: dict[str, Any] = {}
    if what in TRAINED:
        package = folder / f"{what}-{seed}"
        shutil.rmtree(package, ignore_errors=True)
        fields = {"epochs": given.epochs, "size": given.size, "seed": seed, "device": "cpu", "threads": given.threads}
        hubft.finetune(REFERENCE, _own(data, given.work), output=package, **fields, **TRAINED[what])
    elif "soup" in what:
        package = folder / f"{what.replace(' ', '-')}-{seed}"
        shutil.rmtree(package, ignore_errors=True)
        engine.blend([str(one) for one in member], _own(data, given.work), package, greedy=what == "greedy soup")
    else:
        package, more = member[0], {"others": member[1:]} if what == "ensemble" else {"tta": "flips"}
    seconds = time.perf_counter() - began
    tests = zip(TESTS, (data / "test", shifted(data, given.work)), strict=True)
    found = {name: hubft.evaluate(package, test, **more).metrics.head.value for name, test in tests}
    return {**found, "seconds": seconds}


def _own(data: Path, work: Path) -> Path:
    """Return a folder with train/ and val/ of a data set alone: its test images are measured here."""
    own = work / f"{data.name}-own"
    if not own.exists():
        own.mkdir(parents=True)
        for part in ("train", "val"):
            (own / part).symlink_to((data / part).resolve())
    return own


def measure(given: argparse.Namespace) -> None:
    runs = Runs(given)
    for what in (*TRAINED, *MADE):
        for data in given.data:
            for seed in range(given.seeds):
                key = {"data": data.name, "what": what, "seed": seed, "size": given.size, "epochs": given.epochs}
                words = ["--data", str(data), "--seeds", str(given.seeds), "--epochs", str(given.epochs)]
                words += ["--size", str(given.size), "--threads", str(given.threads), "--work", str(given.work)]
                runs.once(key, [sys.executable, __file__, *words, "--one", what, str(seed)])


def show(given: argparse.Namespace) -> None:
    runs = Runs(given)
    points = ("%", "points more, paired")
    head("data", "technique", "seeds", *(f"{test}, {one}" for test in TESTS for one in points), "times")
    for data in dict.fromkeys(line["data"] for line in runs.lines):
        plain = {line["seed"]: line for line in runs.of(data=data, what="fine-tune")}
        for what in (*TRAINED, *MADE):
            its = [line for line in runs.of(data=data, what=what) if line["seed"] in plain]
            if not its:
                continue
            cells = []
            for test in TESTS:
                more = [100 * (line[test] - plain[line["seed"]][test]) for line in its]
                cells += [spread([100 * line[test] for line in its], ".1f"), spread(more, "+.1f")]
            cost = sum(line["seconds"] for line in its) / sum(plain[line["seed"]]["seconds"] for line in its)
            row(data, what, str(len(its)), *cells, f"{cost:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="folders with train/, val/ and test/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/shift"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "techniques.jsonl")
    parser.add_argument("--show", action="store_true", help="print the table of what is there")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # the technique, and the seed
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given, given.data[0], given.one[0], int(given.one[1]))))
    else:
        if not given.show:
            measure(given)
        show(given)


if __name__ == "__main__":
    main()
