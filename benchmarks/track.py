"""What trackers cost a step: a run whose steps go to four trackers and to none, in turn, in one process.

    python benchmarks/track.py [--model torchvision:resnet18] [--blocks 30] [--steps 60] [--size 64] [--batch 16]
        [--track tensorboard wandb mlflow trackio]

One model trains in blocks of steps; every second block is told to the trackers, a step each, and ends with an epoch's
line, which is told at once. Trackers write beside the run, each by its own library, offline. Which block comes first
changes from pair to pair. Prints the ratio of the times of the blocks of a pair, told to not told, as the median of
the pairs with its 95 % interval (percentile bootstrap), the same of the median step and of this process's processor
time, the time that it spent on telling as a share of the steps, and the processor time of the trackers' own processes,
begin and end too.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy
import torch
from engine import CLASSES, WARMUP, Synthetic, drawn
from machine import processor

from hubft import Job
from hubft.base.console import Console
from hubft.families import plugins
from hubft.families.build import build
from hubft.job import Compute, Head, Recipe
from hubft.machine.runtime import Runtime
from hubft.run.folder import Run
from hubft.run.journal import Journal
from hubft.train import loop
from hubft.train.meter import Meter

SETTLED = 10.0  # seconds for the trackers to begin: what that costs is no part of a step


def interval(ratios: Sequence[float]) -> str:
    """Return the median of ratios with its 95 % percentile interval."""
    values, random = numpy.array(ratios), numpy.random.default_rng(0)
    medians = numpy.median(values[random.integers(0, len(values), (2000, len(values)))], axis=1)
    low, high = numpy.quantile(medians, (0.025, 0.975))
    return f"{numpy.median(values):.4f} [{low:.4f}, {high:.4f}]"


class Told:
    """A journal, and the seconds that it took."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.seconds = journal, 0.0
        self.processor: list[float] = []
        """Seconds of processor time of each block, of all threads of this process: what runs besides does not count."""

    def block(self, steps: Any, count: int, meter: Meter) -> list[float]:
        """Return the seconds of each step of a block."""
        found, used = [], time.process_time()
        for _ in range(count):
            began = time.perf_counter()
            step = next(steps)
            meter.add(step)
            told = time.perf_counter()
            self.journal.step(step)
            ended = time.perf_counter()
            self.seconds += ended - told
            found.append(ended - began)
        began = time.perf_counter()
        line = {"step": step.number, "loss": meter.loss(), "gradient_norm": meter.gradients()}
        told = time.perf_counter()
        self.journal.epoch(line)
        ended = time.perf_counter()
        self.seconds += ended - told
        found[-1] += ended - began
        self.processor.append(time.process_time() - used)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="torchvision:resnet18")
    parser.add_argument("--blocks", type=int, default=30, help="pairs of them")
    parser.add_argument("--steps", type=int, default=60, help="of a block")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--track", nargs="+", default=["tensorboard", "wandb", "mlflow", "trackio"])
    arguments = parser.parse_args()
    os.environ["WANDB_MODE"] = "offline"
    head, recipe, compute = Head(outputs=10), Recipe(train="all", averaging=0.0), Compute(device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        job = Job(arguments.model, "-", head=head, recipe=recipe, compute=compute, output=f"{folder}/told")
        pm = plugins.manager(job.family)
        torch.manual_seed(0)
        loaded = build(pm, job, pretrained=False)
        state = loop.start(loaded, job.recipe, runtime := Runtime(job.compute), CLASSES)
        total = WARMUP + 2 * arguments.blocks * arguments.steps
        batches = Synthetic(total, arguments.batch, drawn(loaded, arguments.batch, arguments.size, False))
        steps = loop.fit(pm, state, job.recipe, batches, runtime)  # type: ignore[arg-type]
        for _ in range(WARMUP):
            next(steps)
        plain = Told(Journal(Run.create(replace(job, output=f"{folder}/plain")), Console(quiet=True)))
        with Journal(Run.create(job), Console()) as journal:
            journal.begin(replace(job, track=tuple(arguments.track)))
            time.sleep(SETTLED)
            ways = {"told": Told(journal), "not told": plain}
            times: dict[str, list[list[float]]] = {name: [] for name in ways}
            for pair in range(arguments.blocks):
                for name in list(ways) if pair % 2 else list(ways)[::-1]:
                    times[name].append(ways[name].block(steps, arguments.steps, Meter()))
        report(arguments, times, ways)


def report(arguments: argparse.Namespace, times: dict[str, list[list[float]]], ways: dict[str, Told]) -> None:
    """Print what was measured."""
    told, plain = times["told"], times["not told"]
    whole = sum(map(sum, told))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {arguments.model}")
    print(f"{arguments.blocks} pairs of blocks of {arguments.steps} steps of {arguments.batch} samples of "
          f"{arguments.size} pixels; trackers: {', '.join(arguments.track)}")  # fmt: skip
    for name, blocks in times.items():
        print(f"{name:<14} median step {1e3 * statistics.median(chain.from_iterable(blocks)):.2f} ms")
    print(f"blocks         {interval([sum(a) / sum(b) for a, b in zip(told, plain, strict=True)])}")
    medians = [statistics.median(a) / statistics.median(b) for a, b in zip(told, plain, strict=True)]
    print(f"median steps   {interval(medians)}")
    used_by = (way.processor for way in ways.values())
    print(f"processor time {interval([a / b for a, b in zip(*used_by, strict=True)])}")
    for name, way in ways.items():
        print(f"{name:<14} {100 * way.seconds / whole:.3f} % of the time of the steps")
    print(f"their own      {used.ru_utime + used.ru_stime:.1f} s of processor time beside {whole:.1f} s of steps")


if __name__ == "__main__":
    main()
