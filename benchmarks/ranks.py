"""Runs of several processes beside runs of one.

    python benchmarks/ranks.py pace --data FOLDER      training images a second, one process and two, in turn
    python benchmarks/ranks.py score --data FOLDER     the score at the end, one process and two, the same seeds
    python benchmarks/ranks.py kills --data FOLDER     a process is killed at random instants, and the run goes on

Each process has one thread. `pace` trains ResNet-18 (benchmarks/students, random weights) at 128 pixels, all of it but
its norms, and prints the median of each and the ratio; the first epoch of a run is left out. `kills` compares weights
with those of a run that nobody killed, and counts processes that were there 30 seconds later. FOLDER: train/CLASS/*.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from accuracy import spread
from machine import processor

HERE = Path(__file__).parent
RESNET = f"hub:{HERE}/students:student?name=resnet18"
HUNG = 30.0  # seconds


def command(given: argparse.Namespace, output: Path, devices: int, *more: object) -> list[str]:
    words = [sys.executable, "-m", "hubft", "finetune", given.reference, given.data, "--size", given.size]
    words += [
        "--batch-size",
        given.batch_size,
        "--epochs",
        given.epochs,
        "--devices",
        devices,
        "--threads",
        1,
        "--workers",
        0,
        "--output",
        output,
    ]
    return [*map(str, words), *map(str, more)]


def run(words: list[str]) -> None:
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)


def pace(given: argparse.Namespace, folder: Path) -> None:
    """Print images a second of training, one process and two."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(given.repeats):
        for devices in rates:
            output = folder / f"{repeat}-{devices}"
            run(command(given, output, devices, "--train", "all,-norms", "--precision", "fp32", "--no-probe"))
            lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
            rates[devices] += [line["images_per_second"] for line in lines[1:]]
    one, two = (median(rates[devices]) for devices in (1, 2))
    print(
        f"{processor()}: {one:.1f} images a second with one process, {two:.1f} with two: {two / one:.2f} times as many"
    )


def score(given: argparse.Namespace, folder: Path) -> None:
    """Print the headline at the end of training, one process and two."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(given.repeats):
        for devices, scores in found.items():
            output = folder / f"{seed}-{devices}"
            run(command(given, output, devices, "--seed", seed))
            metrics = json.loads((output / "report" / "results.json").read_text())["metrics"]
            scores.append(100 * metrics[metrics["headline"]]["value"])
    apart = [two - one for one, two in zip(found[1], found[2], strict=True)]
    print(
        f"{processor()}: {spread(found[1], '.1f')} with one process, {spread(found[2], '.1f')} with two, apart "
        f"{spread(apart, '.1f')} points, {given.repeats} seeds"
    )


def kills(given: argparse.Namespace, folder: Path) -> None:
    """Kill a process of a run of two at random instants of it, go on each time, and compare the weights."""
    more = ("--exact", "--checkpoint-every", 1)
    run(command(given, folder / "whole", 2, *more))
    whole = (folder / "whole/package/model.safetensors").read_bytes()
    draws, different, hung, killed, number = random.Random(0), 0, 0, 0, 0
    while killed < given.kills:
        number += 1
        output, before = folder / f"killed-{number}", killed
        words = command(given, output, 2, *more)
        while not (output / "package").is_dir():
            resumed = [sys.executable, "-m", "hubft", "finetune", "--resume", str(output)]
            begun = (output / "job.json").is_file()
            stopped, left = _killed(resumed if begun else words, draws.uniform(1, given.until))
            killed, hung = killed + stopped, hung + left
        different += (output / "package/model.safetensors").read_bytes() != whole
        print(f"run {number}: killed {killed - before} times", flush=True)
    print(f"{processor()}: {killed} kills in {number} runs: {different} runs with other bits, {hung} processes hung")


def _killed(words: list[str], after: float) -> tuple[bool, int]:
    """Run a command and kill one of its processes after so many seconds; return whether it was there to be killed, and
    how many processes were left half a minute later."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(after)
        children = (
            Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split() if _there(process.pid) else []
        )
        if len(children) < 2:
            process.wait()
            return False, 0
        os.kill(int(random.Random(after).choice(children)), signal.SIGKILL)
        until = time.monotonic() + HUNG
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        left = sum(_there(int(child)) for child in children)
        if process.poll() is None:
            process.kill()
        return True, left


def _there(pid: int) -> bool:
    return Path(f"/proc/{pid}/task/{pid}").exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pace", "score", "kills"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--reference", default="")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="of each, or seeds")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--until", type=float, default=20.0, help="seconds, before which a process is killed")
    given = parser.parse_args()
    given.reference = given.reference or (RESNET if given.what == "pace" else "pip:efficientnet_lite0")
    given.size = given.size or (128 if given.what == "pace" else 64)
    with tempfile.TemporaryDirectory() as folder:
        {"pace": pace, "score": score, "kills": kills}[given.what](given, Path(folder))


if __name__ == "__main__":
    main()
