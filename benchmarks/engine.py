"""What the engine costs: steps of `hubft` and of a bare hand-written loop, in turn, in one process.

    python benchmarks/engine.py [--model torchvision:resnet18] [--steps 30] [--size 96] [--batch 16] [--keyed] [--json]
    python benchmarks/engine.py --model pip:minilm_l6 --size 64

Same architecture and initial weights, same batches, same optimizer, same precision. Prints the median step of each,
their ratio, and whether both end with equal weights. With --keyed the model takes a dict and gives one, as those of
transformers do, and the batches are dicts. A model of text gets token ids, --size of them a text. With --json the
figures are a line of JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from machine import processor
from torch import Tensor, nn

from hubft import Job
from hubft.families import plugins
from hubft.families.build import build
from hubft.hookspecs import Forward, Loaded
from hubft.inputs import Text
from hubft.job import Compute, Head, Recipe
from hubft.machine.runtime import Runtime
from hubft.tasks.classification import Classification
from hubft.train import loop, schedule

CLASSES = Classification(tuple(map(str, range(10))))
WARMUP = 3  # steps that are not counted


class Synthetic:
    """Ready-made batches: what is timed is the step, not the decoding."""

    def __init__(self, steps: int, batch: int, inputs: Any) -> None:
        self.start, self.steps, self.per_epoch = 0, steps, steps
        self.batch_sampler, self.parts, self.own = self, 1, (0,)
        self.batch = (inputs, torch.randint(0, 10, (batch,)))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        for _ in range(self.steps):
            yield self.batch


def drawn(loaded: Loaded, batch: int, size: int, keyed: bool) -> Any:
    """Return what the model takes."""
    if isinstance(loaded.inputs, Text):
        ids = torch.randint(1000, 20000, (batch, size))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    pixels = torch.randn(batch, 3, size, size)
    return {"pixels": pixels} if keyed else pixels


class Keyed(nn.Module):
    """A model that takes its inputs by keyword and gives a dict."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(pixels)}


def called(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    logits: Tensor = model(**inputs)["logits"]
    return logits


def under_inner(loaded: Loaded) -> Loaded:
    """Return a model as the one that takes a dict: its modules lie one name deeper."""
    stages = {name: tuple(f"inner.{prefix}" for prefix in its) for name, its in loaded.stages.items()}
    return replace(loaded, model=Keyed(loaded.model), head=f"inner.{loaded.head}", stages=stages, forward=called)


def bare(
    model: nn.Module, options: Recipe, groups: list[dict[str, object]], batches: Synthetic, forward: Forward
) -> Iterator[Tensor]:
    """The same training as a page of PyTorch would have it."""
    optimizer = torch.optim.AdamW(groups, lr=options.lr)
    criterion = nn.CrossEntropyLoss()
    model.train()
    for step, (inputs, targets) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * schedule.lr_factor(options, step, len(batches))
        loss = criterion(forward(model, inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="torchvision:resnet18")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--keyed", action="store_true", help="a model that takes a dict and gives one")
    parser.add_argument("--json", action="store_true", help="print a line of JSON")
    arguments = parser.parse_args()

    job = Job(
        arguments.model,
        "-",
        head=Head(outputs=10),
        recipe=Recipe(train="all", averaging=0.0),
        compute=Compute(device="cpu"),
    )
    pm = plugins.manager(job.family)
    torch.manual_seed(0)
    loaded = build(pm, job, pretrained=False)
    loaded = under_inner(loaded) if arguments.keyed else loaded
    twin = copy.deepcopy(loaded.model)
    state = loop.start(loaded, job.recipe, runtime := Runtime(job.compute), CLASSES)
    names = {id(p): name for name, p in loaded.model.named_parameters()}
    groups = [
        {**group, "params": [twin.get_parameter(names[id(p)]) for p in group["params"]]}
        for group in state.optimizer.param_groups
    ]
    inputs = drawn(loaded, arguments.batch, arguments.size, arguments.keyed)
    batches = Synthetic(arguments.steps, arguments.batch, inputs)
    engines = {
        "hubft": loop.fit(pm, state, job.recipe, batches, runtime),  # type: ignore[arg-type]
        "bare loop": bare(twin, job.recipe, groups, batches, loaded.forward),
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    for step in range(arguments.steps):
        order = list(engines) if step % 2 else list(engines)[::-1]
        for name in order:
            began = time.perf_counter()
            next(engines[name])
            times[name].append(time.perf_counter() - began)
    ends = zip(loaded.model.state_dict().values(), twin.state_dict().values(), strict=True)
    same = all(torch.equal(a, b) for a, b in ends)
    timed = {name: values[WARMUP:] for name, values in times.items()}
    pairs = statistics.median(a / b for a, b in zip(*timed.values(), strict=True))
    if arguments.json:
        milliseconds = {name: round(1e3 * statistics.median(values), 3) for name, values in timed.items()}
        found = {"model": arguments.model, "batch": arguments.batch, "size": arguments.size, "steps": arguments.steps}
        print(json.dumps({**found, "equal": same, "milliseconds": milliseconds, "ratio": round(pairs, 4)}))
        return
    unit = "tokens" if isinstance(inputs, dict) and not arguments.keyed else "pixels"
    images = f"{arguments.batch} {'keyed ' * arguments.keyed}samples of {arguments.size} {unit}"
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {arguments.model}")
    print(f"{arguments.steps - WARMUP} steps of {images}, interleaved; equal weights in the end: {same}")
    for name, values in timed.items():
        low, middle, high = (f(values) * 1e3 for f in (min, statistics.median, max))
        print(f"{name:>10}  median {middle:8.2f} ms  (min {low:.2f}, max {high:.2f})")
    medians = [statistics.median(values) for values in timed.values()]
    print(f"     ratio  of medians {medians[0] / medians[1]:.3f}, median of pairs {pairs:.3f}")


if __name__ == "__main__":
    main()
