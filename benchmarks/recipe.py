"""The constants of the default recipe, by measurement: data sets x backbones x one changed option at a time.

    python benchmarks/recipe.py --data letters/ cells/ ... [--model pip:efficientnet_lite0 ...] [--size 64] [--epochs 3]

Folders are those of benchmarks/datasets.py. Each run is a line of --out; what is there already is not run again. The
runs that chose today's defaults are in benchmarks/results: recipe.jsonl, recipe-1-epoch.jsonl for short runs, and
recipe-norms.jsonl for norms by batch size.
Prints the accuracy of the last state on data/val, a row a variant: by data set, averaged over backbones and seeds, and
the mean over all with its 95 % interval over the differences to the first row, which are paired by data set, backbone
and seed. Each variant differs in one thing from that row, the default without averaging; with averaging it is the
default.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from machine import processor
from rich.console import Console
from rich.table import Table
from scipy.stats import t

from hubft import Job, engine
from hubft.job import Compute, Recipe
from hubft.machine import process_setup

REFERENCE = "no averaging"
VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "probe alone": {"epochs": 0},
    "rate / 3": {"lr": 1 / 3},  # of what the reference chooses
    "rate x 3": {"lr": 3.0},
    "rate 1e-3 for all": {"lr": -1e-3},
    "layer decay 1": {"layer_decay": 1.0},
    "layer decay 0.65": {"layer_decay": 0.65},
    "head x 10": {"lr": 10.0, "body_lr": 0.1},
    "default: averaging 0.9": {"averaging": 0.9},
    "norms live": {"train": "all"},
    "no augmentation": {"augment": "none"},
    "standard augmentation": {"augment": "standard"},
    "smoothing 0.1": {"smoothing": 0.1},
    "no clipping": {"clip": 0.0},
    "no warm-up": {"warmup": 0.0},
    "weight decay 0": {"weight_decay": 0.0},
    "batch 16": {"batch_size": 16},
    "batch 64": {"batch_size": 64},
    "batch 64, norms live": {"batch_size": 64, "train": "all"},
    "batch 128": {"batch_size": 128},
    "batch 128, norms live": {"batch_size": 128, "train": "all"},
    "one cycle": {"schedule": "one-cycle", "warmup": 0.25},
    "no probe": {"probe": False, "lr": -1e-3},
    "twice the epochs": {"epochs": 2.0},
}
Line = dict[str, Any]


def recipe(variant: str, seed: int, epochs: int, chosen: float) -> Recipe:
    """Return the recipe of a variant; `chosen` is the learning rate that the reference chose for this data."""
    changes = dict(VARIANTS[variant])
    if "lr" in changes:
        changes["lr"] = -changes["lr"] if changes["lr"] < 0 else changes["lr"] * chosen
    changes["epochs"] = round(changes.get("epochs", 1) * epochs)
    return replace(Recipe(seed=seed, averaging=0.0), **changes)


def run(data: Path, model: str, size: int, one: Recipe) -> Line:
    """Return what a run with this recipe gives."""
    with tempfile.TemporaryDirectory() as folder:
        compute = Compute(device="cpu", precision="fp32", memory_format="channels_last", compile="off", workers=0)
        result = engine.finetune(Job(model, str(data), recipe=one, compute=compute, size=size, output=f"{folder}/run"))
        plan = json.loads(result.run.plan_file.read_text(encoding="utf-8"))
    accuracy, rate = result.metrics.values["accuracy"].value, plan["job"]["recipe"]["lr"]
    return {"accuracy": accuracy, "loss": result.metrics.loss, "rate": rate, "probe": plan["probe"]}


def measure(arguments: argparse.Namespace, known: list[Line]) -> None:
    for seed in range(arguments.seeds):
        for model in arguments.model:
            for data in arguments.data:
                for variant in arguments.variant or VARIANTS:
                    of = {"data": data.name, "model": model, "seed": seed}
                    key = of | {"size": arguments.size, "epochs": arguments.epochs}
                    if any(line.items() >= (key | {"variant": variant}).items() for line in known):
                        continue
                    reference = [line for line in known if line.items() >= (key | {"variant": REFERENCE}).items()]
                    one = recipe(variant, seed, arguments.epochs, reference[0]["rate"] if reference else 0.0)
                    line = key | {"variant": variant} | run(data, model, arguments.size, one)
                    known.append(line)
                    with arguments.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(line, flush=True)


def table(known: list[Line]) -> Table:
    """Return a row a variant."""
    shown = Table(title=f"accuracy of the last state, % ({processor()})", title_justify="left")
    sets = sorted({line["data"] for line in known})
    for column in ("variant", *sets, "mean", "to the first, 95 %", "runs"):
        shown.add_column(column, justify="left" if column == "variant" else "right")
    by = {(line["variant"], line["data"], line["model"], line["seed"]): line["accuracy"] for line in known}
    for variant in VARIANTS:
        keys = [key[1:] for key in by if key[0] == variant and (REFERENCE, *key[1:]) in by]
        if not keys:
            continue
        differences = [100 * (by[variant, *key] - by[REFERENCE, *key]) for key in keys]
        cells = [[100 * by[variant, *key] for key in keys if key[0] == name] for name in sets]
        spread = t.ppf(0.975, len(keys) - 1) * stdev(differences) / len(keys) ** 0.5 if len(keys) > 1 else float("nan")
        shown.add_row(
            variant,
            *(f"{mean(cell):.1f}" if cell else "" for cell in cells),
            f"{mean(100 * by[variant, *key] for key in keys):.1f}",
            f"{mean(differences):+.1f} ± {spread:.1f}",
            str(len(keys)),
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--model", nargs="+", default=["pip:efficientnet_lite0"])
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=[])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "recipe.jsonl")
    arguments = parser.parse_args()
    process_setup.set_up()  # as the command does
    arguments.out.parent.mkdir(exist_ok=True)
    lines = arguments.out.read_text(encoding="utf-8").splitlines() if arguments.out.exists() else []
    known = [json.loads(line) for line in lines]
    measure(arguments, known)
    Console(width=140).print(table(known))


if __name__ == "__main__":
    main()
