"""Images per second of a full fine-tune: `hubft`, computing as it measured, and a hand-written loop, step by step.

    python benchmarks/peers/weights.py FOLDER
    HF_HUB_CACHE=FOLDER HF_HUB_OFFLINE=1 python benchmarks/pace.py --data DATA [--model resnet18.a1_in1k] [--size 224]

Both train every parameter at a batch of 32 on the same images, decoded and augmented within the step, in one process,
with as many threads and no loader processes. hubft is asked for a run of --epochs, measures the machine as for that
(so that torch.compile may pay), and prints what it measured; only the first steps of the run are then made. The loop
is that of benchmarks/peers/handloop.py. The pace of hubft's first epoch, in which it decodes each image, stands beside
that of the others.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import median

import timm
import torch
from machine import processor
from torch import nn

from hubft.base import draws
from hubft.base.console import Console
from hubft.job import Compute, Job, Recipe
from hubft.run.folder import Run
from hubft.run.phases import inputs, phases
from hubft.run.plan import Plan, settle
from hubft.run.prepare import Prepared, prepare
from hubft.train import loop

sys.path.append(str(Path(__file__).parent / "peers"))
import common  # type: ignore[import-not-found]
import handloop  # type: ignore[import-not-found]

WARMUP = 2  # steps of each that are not counted: the first compiles
Seconds = list[tuple[float, float]]  # an image, by the wall and by the processor


def by_hand(given: argparse.Namespace) -> Iterator[int]:
    """Train as `handloop.fit` does, and yield the number of images after each step."""
    torch.manual_seed(0)
    data = handloop.loaders(given)["train"]
    model: nn.Module = timm.create_model(given.model, pretrained=True, num_classes=len(data.dataset.classes))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model.train()
    for images, labels in (batch for _ in cycle((0,)) for batch in data):
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        yield len(labels)


def settled(given: argparse.Namespace, folder: str) -> tuple[Prepared, Plan]:
    """Return a run of many epochs, prepared, computing as was measured for it."""
    os.environ["HUBFT_CACHE"] = f"{folder}/cache"
    recipe = Recipe(train=given.train, probe=False, epochs=given.epochs, batch_size=common.BATCH)
    compute = Compute(threads=given.threads, workers=0)
    reference, data = f"timm:{given.model}", str(given.data)
    job = Job(reference, data, recipe=recipe, compute=compute, size=given.size, output=f"{folder}/run")
    prepared = prepare(job)
    prepared, plan, _ = settle(prepared, Run.create(prepared.job), Console(quiet=True))
    return prepared, plan


def ours(prepared: Prepared) -> Iterator[int]:
    """Train as the run does, and yield the number of images after each step."""
    recipe, runtime = prepared.job.recipe, prepared.runtime
    state = loop.start(prepared.loaded, recipe, runtime, prepared.data.task)
    seen = inputs(prepared, phases(prepared)[0], 0)
    for step in loop.fit(prepared.pm, state, recipe, seen.batches, runtime, seen.feed):
        yield step.images


def in_turn(engines: dict[str, Iterator[int]], steps: int) -> dict[str, Seconds]:
    """Return the seconds an image of every step."""
    times: dict[str, Seconds] = {name: [] for name in engines}
    for step in range(steps):
        for name in list(engines) if step % 2 else list(engines)[::-1]:
            wall, used = time.perf_counter(), time.process_time()
            images = next(engines[name])
            times[name].append(((time.perf_counter() - wall) / images, (time.process_time() - used) / images))
    return times


def table(plan: Plan) -> None:
    """Print what the machine was measured by."""
    print(f"\nmeasured for {plan.machine['measured_for']} s; {'; '.join(plan.machine['notes'])}")
    for row in plan.machine["table"]:
        compiled = " compiled" if row["compile"] else ""
        named = f"{row['kind']:>8} {row['precision']} {row['memory_format']}{compiled}, {row['threads']} threads"
        known = {"kind", "precision", "memory_format", "compile", "threads"}
        rest = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        print(f"{named:48}", ", ".join(f"{name} {value}" for name, value in rest.items() if name not in known))
    compute = plan.job.compute
    print(f"  chosen steps in {compute.precision} {compute.memory_format}, compile {compute.compile}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--model", default="resnet18.a1_in1k", help="name of a timm model with weights")
    parser.add_argument("--size", type=int, default=224, help="side of the model's input, pixels")
    parser.add_argument("--steps", type=int, default=16, help="of each, the first epoch of hubft among them")
    parser.add_argument("--epochs", type=int, default=300, help="of the run that the machine is measured for")
    parser.add_argument("--train", default="all", help="what hubft trains; its own default holds norms still")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for both")
    given = parser.parse_args()
    given.workers = 0
    torch.set_num_threads(given.threads)
    return given


def main() -> None:
    given = parsed()
    with tempfile.TemporaryDirectory() as folder, draws.preserved():
        prepared, plan = settled(given, folder)
        table(plan)
        times = in_turn({"hand-written loop": by_hand(given), "hubft": ours(prepared)}, given.steps)
    epoch = -(-len(prepared.data.train) // common.BATCH)
    print(f"\n{processor()}, {given.threads} threads, torch {torch.__version__}")
    print(f"{given.model}, {given.data.name}, {given.size} pixels, --train {given.train}, medians of steps in turn")
    for title, part in (("first epoch", slice(WARMUP, epoch)), ("later", slice(max(epoch, WARMUP), None))):
        paces = {name: [median(each) for each in zip(*values[part], strict=True)] for name, values in times.items()}
        for name, pace in paces.items():
            if pace:
                print(f"{title:>12}, {name:>18}: {1 / pace[0]:7.2f} images/s, {1 / pace[1]:7.2f} a processor second")
        if all(paces.values()):
            wall, used = (a / b for a, b in zip(*paces.values(), strict=True))
            print(f"{title:>12}, hubft / hand-written loop: {wall:.2f} in wall time, {used:.2f} in processor time")


if __name__ == "__main__":
    main()
