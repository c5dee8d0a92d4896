"""Detection: hubft and `Trainer` in equal time, from the same random weights; every run is a line of --out.

    python benchmarks/detect.py compare --data FOLDER [--seconds 120] [--seeds 5] [--rates default 1e-3]
    python benchmarks/detect.py show

Each seed has 300 pictures of its own to train on, with discs, squares and triangles on a noisy ground, and 200 to
measure on are the same for all. The model is an RT-DETR v2 of a million parameters, with weights drawn by the seed. All
are written to FOLDER/shapes-SEED where they are not there.

The first of a pair gets --seconds, the second the seconds that the first took; who is first changes by seed. A
run that is there is not done again, so a comparison that was broken off goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from accuracy import head, row, spread
from kept import DRIVERS, Line, Runs

HERE = Path(__file__).parent
OUT = HERE / "results" / "detect.jsonl"
TRAIN, TEST, SIDE = 300, 200, 96  # pictures, and pixels
WIDTH, QUERIES, CLASSES = 64, 20, 10
MEASURED = {"map": "mAP 50:95", "map_50": "mAP 50"}
MANY = ["--epochs", "1000"]  # of hubft, which has as many as fit in its time


def scenes() -> Any:
    """Return what makes scenes with boxes in the tests."""
    spec = importlib.util.spec_from_file_location("scenes", HERE.parent / "tests" / "scenes.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


def config() -> transformers.RTDetrV2Config:
    """Return the config of the model: four stages of a ResNet, one layer of the encoder, two of the decoder."""
    levels = {"hidden_sizes": [16, 32, 64, 128], "depths": [1] * 4, "out_features": ["stage2", "stage3", "stage4"]}
    backbone = transformers.RTDetrResNetConfig(embedding_size=16, layer_type="basic", **levels)
    coding = {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in CODING.items()}
    return transformers.RTDetrV2Config(
        backbone_config=backbone,
        encoder_in_channels=[32, 64, 128],
        decoder_in_channels=[WIDTH] * 3,
        encoder_hidden_dim=WIDTH,
        d_model=WIDTH,
        decoder_layers=2,
        num_queries=QUERIES,
        num_denoising=QUERIES,
        num_labels=CLASSES,
        **coding,
    )


CODING = {"attention_heads": 4, "ffn_dim": 128}


def made(place: Path, seed: int) -> Path:
    """Return the folder of a seed, written where it is not there."""
    folder = place / f"shapes-{seed}"
    if not (folder / "model" / "preprocessor_config.json").exists():
        shapes = scenes()
        shapes.coco(folder / "train", shapes.made(seed + 1, TRAIN, size=(SIDE, SIDE)))
        shapes.coco(folder / "test", shapes.made(0, TEST, size=(SIDE, SIDE)))
        torch.manual_seed(seed)
        transformers.AutoModelForObjectDetection.from_config(config()).save_pretrained(folder / "model")
        size = {"height": SIDE, "width": SIDE}
        processor = transformers.RTDetrImageProcessor(size=size)
        processor.save_pretrained(folder / "model")
    return folder


class Shapes(Runs):
    """The runs on made-up shapes."""

    def driver(self, system: str, seed: int, rate: str, seconds: float) -> Line | None:
        """Return the line of a driver's run, in so many seconds, where it is not there yet."""
        folder = made(self.given.data, seed)
        words = ["--data", str(folder), "--seed", str(seed)]
        words += ["--seconds", f"{seconds:.1f}", *(MANY if system == "hubft" else ())]
        words += [] if system == "hubft" or rate == "default" else ["--lr", rate]
        key = {"data": folder.name, "system": system, "seed": seed, "against": rate}
        return self.once(key, [sys.executable, str(DRIVERS / f"detect_{system}.py"), *words])


def compare(runs: Shapes) -> None:
    for seed in range(runs.given.seeds):
        for rate in runs.given.rates:
            seconds = runs.given.seconds
            for system in ("trainer", "hubft")[:: -1 if seed % 2 else 1]:
                if line := runs.driver(system, seed, rate, seconds):
                    seconds = line["train_seconds"]


def show(runs: Shapes) -> None:
    head("`Trainer`'s rate", "measured", "its seconds", "steps", "seeds", "it reached, %", "hubft's seconds", "steps",
         "hubft, %", "ahead by, paired")  # fmt: skip
    for rate in dict.fromkeys(line["against"] for line in runs.lines):
        theirs, ours = (
            {line["seed"]: line for line in runs.of(system=system, against=rate)} for system in ("trainer", "hubft")
        )
        both = sorted(theirs.keys() & ours.keys())
        for name, shown in MEASURED.items() if both else ():
            ahead = [100 * (ours[n][name] - theirs[n][name]) for n in both]
            cells = [[*middle(its), reached(its, name)] for its in ([theirs[n] for n in both], [ours[n] for n in both])]
            row(rate, shown, *cells[0][:2], str(len(both)), cells[0][2], *cells[1], spread(ahead, "+.1f"))
    for machine in dict.fromkeys(line["machine"] for line in runs.lines):
        print(f"\n{machine}, {json.dumps(runs.of(machine=machine)[-1]['versions'])}")


def middle(its: list[Line]) -> list[str]:
    return [f"{median(line[name] for line in its):.0f}" for name in ("train_seconds", "steps")]


def reached(its: list[Line], name: str) -> str:
    return spread([100 * line[name] for line in its], ".1f")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument(
        "--data", type=Path, default=Path("shapes"), help="folder of the pictures, which are made there"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the lines of all runs")
    parser.add_argument("--seconds", type=float, default=120, help="that the first of a pair may take")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rates", nargs="+", default=["default"], help="of `Trainer`; hubft chooses its own")
    found = parser.parse_args()
    found.threads = 1  # of PyTorch, for both
    return found


WHAT = {"compare": compare, "show": show}


def main() -> None:
    given = parsed()
    WHAT[given.what](Shapes(given))


if __name__ == "__main__":
    main()
