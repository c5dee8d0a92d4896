"""What gradient checkpointing by stage costs and saves: a training step of a ViT of timm, with random weights.

    python benchmarks/techniques_memory.py [--model vit_tiny_patch16_224] [--batch 16] [--steps 5] [--threads 1]

Steps with and without it take turns, in one process. Activations are what autograd keeps for the backward pass, each
memory once, at most at any time of the step, as `torch.autograd.graph.saved_tensors_hooks` sees it; parameters do not
count. The last line is JSON: medians of seconds a step, the peaks, and both ratios.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from statistics import median
from typing import Any

import timm
import torch
from machine import processor
from torch import Tensor

from hubft.families import plugins, stages
from hubft.families.build import adapt
from hubft.hookspecs import Loaded
from hubft.job import Compute, Head, Job
from hubft.machine.runtime import Runtime


class Kept:
    """The bytes of what autograd keeps, at most so far."""

    def __init__(self, loaded: Loaded) -> None:
        self.own = {p.untyped_storage().data_ptr() for p in loaded.model.parameters()}
        self.holders: Counter[int] = Counter()
        self.now = self.peak = 0

    def hooks(self) -> Any:
        """Return the context in which it is counted."""
        return torch.autograd.graph.saved_tensors_hooks(lambda tensor: Held(self, tensor), lambda held: held.tensor)


class Held:
    """A tensor that is kept; what is counted ends with it."""

    def __init__(self, kept: Kept, tensor: Tensor) -> None:
        self.kept, self.tensor, storage = kept, tensor, tensor.untyped_storage()
        self.place, self.bytes = storage.data_ptr(), storage.nbytes()
        kept.holders[self.place] += 1
        if self.place not in kept.own and kept.holders[self.place] == 1:
            kept.now += self.bytes
            kept.peak = max(kept.peak, kept.now)

    def __del__(self) -> None:
        self.kept.holders[self.place] -= 1
        if self.place not in self.kept.own and not self.kept.holders[self.place]:
            self.kept.now -= self.bytes


def loaded_of(name: str) -> Loaded:
    """Return a model of timm with random weights and ten outputs, ready to be trained whole."""
    pm, job = plugins.manager("timm"), Job(f"timm:{name}", "-", head=Head(outputs=10))
    loaded = adapt(pm, job, pm.hook.load(name=name, pretrained=False, config={}, task=""))
    stages.train_mode(loaded.model)
    return loaded


def step(loaded: Loaded, images: Tensor, runtime: Runtime) -> float:
    """Return the seconds of a step, forward and backward."""
    loaded.model.zero_grad()
    began = time.perf_counter()
    with runtime.checkpointing(loaded):
        loaded.forward(loaded.model, images).square().mean().backward()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    loaded = loaded_of(given.model)
    images = torch.randn(given.batch, 3, *loaded.images.size)
    ways = {saves: Runtime(Compute(device="cpu", checkpoint_activations=saves)) for saves in (False, True)}
    peaks, seconds = {}, {saves: [] for saves in ways}
    for saves, runtime in ways.items():  # this warms up, too
        kept = Kept(loaded)
        with kept.hooks():
            step(loaded, images, runtime)
        peaks[saves] = kept.peak
    for _ in range(given.steps):
        for saves, runtime in ways.items():
            seconds[saves].append(step(loaded, images, runtime))
    ratios = [saving / plain for plain, saving in zip(seconds[False], seconds[True], strict=True)]
    print(
        json.dumps(
            {
                **vars(given),
                "plain_seconds": round(median(seconds[False]), 4),
                "saving_seconds": round(median(seconds[True]), 4),
                "time_ratio": round(median(ratios), 3),
                "plain_megabytes": round(peaks[False] / 1e6, 1),
                "saving_megabytes": round(peaks[True] / 1e6, 1),
                "memory_ratio": round(peaks[True] / peaks[False], 3),
                "timm": timm.__version__,
                "torch": str(torch.__version__),
                "machine": processor(),
            }
        )
    )


if __name__ == "__main__":
    main()
