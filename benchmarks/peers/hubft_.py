"""Ours, by its command: `hubft finetune timm:MODEL DATA` with its defaults, and any further flags as they are.

The time is what the run says of itself: measuring the machine, the probe, training, validation after each epoch and
what is mended at the end; not reading the images, building the model, the report and the package, as it is for the
other systems.
Nothing is found ready from an earlier run: features, timings and compiled code are kept in a folder of this run alone.
With --epochs -1 their number is left to hubft; 0 is the probe alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import common

from hubft import engine  # noqa: F401  # imported here so that the clock does not see it
from hubft.cli import main as cli
from hubft.machine import process_setup
from hubft.share import load


def finetune(given: common.argparse.Namespace, data: Path, run: Path, words: list[str]) -> common.Clock:
    """Return the clock of `hubft finetune` on the data, with further words, which leaves the run's folder."""
    flags = {"--size": given.size, "--seed": given.seed, "--output": run}
    if given.epochs >= 0:
        flags["--epochs"] = given.epochs
    if given.frozen:
        flags["--train"] = "head"
    if given.threads:
        flags["--threads"] = given.threads
    if given.workers >= 0:
        flags["--workers"] = given.workers
    words = [*words, *(str(word) for flag in flags.items() for word in flag), *given.extra]
    os.environ |= {"HUBFT_CACHE": f"{run.parent}/cache", "TORCHINDUCTOR_CACHE_DIR": f"{run.parent}/inductor"}
    process_setup.set_up()  # as the command does
    clock = common.Clock()
    with contextlib.redirect_stdout(sys.stderr):
        cli.app(["finetune", f"timm:{given.model}", str(data), *words], result_action="return_value")
    clock.stop()
    clock.seconds = json.loads((run / "report" / "results.json").read_text(encoding="utf-8"))["seconds"]
    history = run / "metrics.jsonl"  # none where the budget had time for the probe alone
    lines = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    clock.images = [line["images_per_second"] for line in lines]
    clock.epochs = [
        {"images_per_second": round(line["images_per_second"], 2)}
        | {name: found["value"] for name, found in line.items() if isinstance(found, dict)}  # its headline
        for line in lines
    ]
    return clock


def main() -> None:
    given = common.options(__doc__, flags=True)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        clock = finetune(given, given.data, run, [])
        share = common.accuracy(load.load(run / "package"), given)
    common.show("hubft", ["hubft"], given, clock, accuracy=share)


if __name__ == "__main__":
    main()
