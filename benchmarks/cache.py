"""What it saves to compute the frozen part once: `hubft` against one forward pass, a hand-written loop, and itself.

    python benchmarks/peers/weights.py FOLDER
    HF_HUB_CACHE=FOLDER HF_HUB_OFFLINE=1 python benchmarks/cache.py {bare,loop,half} --data DATA [--size 128]

bare: ten head-only epochs of hubft, its cache empty, against one bare forward pass over the same images
loop: the same against ten epochs of benchmarks/peers/handloop.py --frozen
half: ten epochs with half of the stages frozen, with the cache and without

All in one process and in turn, with as many threads and loader processes for all. The clock of both sides runs from
where the model is loaded and the images are listed to the end of training: hubft's measuring of the machine, its proof
of the cut, checkpoints and the validation after each epoch count, its report and package do not. The bare pass decodes
and computes each image once as hubft does, in its precision and memory format. Ratios are given in wall time and in
processor time: only the second holds where others compute on the same cores.
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import os
import pstats
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import timm
import torch
from machine import processor
from torch import nn

from hubft.base import draws
from hubft.base.console import Console
from hubft.images import pixels
from hubft.job import Compute, Job, Recipe
from hubft.machine import process_setup
from hubft.run.folder import Run
from hubft.run.plan import settle
from hubft.run.prepare import Prepared, prepare
from hubft.run.training import train
from hubft.train import loader, loop

sys.path.append(str(Path(__file__).parent / "peers"))
import common  # type: ignore[import-not-found]
import handloop  # type: ignore[import-not-found]

EPOCHS = 10


@dataclass(frozen=True)
class Taken:
    """What a run took, in seconds, and what came out."""

    wall: float
    processor: float
    accuracy: float = float("nan")
    prepared: Prepared | None = None


class Clock:
    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def stop(self) -> tuple[float, float]:
        return time.perf_counter() - self.began[0], time.process_time() - self.began[1]


def hubft(given: argparse.Namespace, rule: str, cache: float, seed: int) -> Taken:
    """Return what `hubft finetune --no-probe --train RULE --cache CACHE` takes, with nothing ready from before."""
    with tempfile.TemporaryDirectory() as folder, draws.preserved():
        os.environ["HUBFT_CACHE"] = f"{folder}/cache"
        recipe = Recipe(train=rule, probe=False, epochs=EPOCHS, seed=seed)
        compute = Compute(threads=given.threads, workers=given.workers, cache=cache)
        job = Job(
            f"timm:{given.model}",
            str(given.data),
            recipe=recipe,
            compute=compute,
            size=given.size,
            output=f"{folder}/run",
        )
        prepared, console, profile = prepare(job), Console(quiet=True), cProfile.Profile()
        clock = Clock()
        if given.profile:
            profile.enable()
        run = Run.create(prepared.job)
        prepared, *_ = settle(prepared, run, console)
        with prepared.runtime.using_threads():
            state = loop.start(prepared.loaded, prepared.job.recipe, prepared.runtime, prepared.data.task)
            train(prepared, run, state, console)
        profile.disable()
        took = clock.stop()
        if given.profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats("hubft|handloop|built-in", 40)
        if state.average:
            state.average.keep()
        prepared.runtime.place(prepared.loaded.model)
        return Taken(*took, common.accuracy(prepared.loaded.model, given), prepared)


@torch.no_grad()
def bare(prepared: Prepared) -> Taken:
    """Return what one pass over all images takes: those of training as hubft's frozen part, the others in fp32."""
    data, model = prepared.data, copy.deepcopy(prepared.loaded.model).eval()
    size = prepared.job.recipe.batch_size
    clock = Clock()
    for samples, runtime in ((data.train, prepared.forward), (data.val, prepared.exact)):
        runtime.place(model)
        views = pixels.Views(data.source, data.task, samples, prepared.loaded.preprocess)
        with runtime.using_threads():
            for inputs, _ in loader.in_order(views, size, runtime):
                with runtime.autocast():
                    model(inputs)
    return Taken(*clock.stop())


def by_hand(given: argparse.Namespace, seed: int) -> Taken:
    """Return what the hand-written loop takes for a new head on a frozen body."""
    torch.manual_seed(seed)
    data = handloop.loaders(given)
    model: nn.Module = timm.create_model(given.model, pretrained=True, num_classes=len(data["train"].dataset.classes))
    for parameter in model.parameters():
        parameter.requires_grad = False
    for parameter in model.get_classifier().parameters():  # type: ignore[operator]
        parameter.requires_grad = True
    clock = Clock()
    handloop.fit(model, data, EPOCHS, torch.device("cpu"))
    return Taken(*clock.stop(), common.accuracy(model, given))


def run(given: argparse.Namespace, seed: int, half: str) -> dict[str, Taken]:
    """Return one repetition: the two that are compared, the first of them the baseline; every other one turned."""
    if given.part == "bare":
        ours = hubft(given, "head", 10.0, seed)
        assert ours.prepared
        return {"one forward pass": bare(ours.prepared), "hubft, head only": ours}
    pairs = {
        "loop": {
            "hand-written loop, head only": lambda: by_hand(given, seed),
            "hubft, head only": lambda: hubft(given, "head", 10.0, seed),
        },
        "half": {
            f"hubft --train {half} --cache 0": lambda: hubft(given, half, 0.0, seed),
            f"hubft --train {half}": lambda: hubft(given, half, 10.0, seed),
        },
    }[given.part]
    names = list(pairs)
    taken = {name: pairs[name]() for name in (names[::-1] if seed % 2 else names)}
    return {name: taken[name] for name in names}


def halved(given: argparse.Namespace) -> str:
    """Return the rule that freezes the first half of the model's stages, the head counted as one."""
    job = Job(f"timm:{given.model}", str(given.data), size=given.size)
    stages = len(prepare(job).loaded.stages)
    return f"last:{stages - 1 - stages // 2}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("bare", "loop", "half"))
    parser.add_argument("--data", type=Path, required=True, help="folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--model", default="tf_efficientnet_lite0.in1k", help="name of a timm model with weights")
    parser.add_argument("--size", type=int, default=128, help="side of the model's input, pixels")
    parser.add_argument("--repeats", type=int, default=0, help="runs of each; 0 is 3 of `bare`, 1 of the others")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for all")
    parser.add_argument("--workers", type=int, default=0, help="of the loaders, for all; processor time lacks theirs")
    parser.add_argument("--profile", action="store_true", help="show where the time of hubft goes")
    given = parser.parse_args()
    given.repeats = given.repeats or (3 if given.part == "bare" else 1)
    torch.set_num_threads(given.threads)
    return given


def main() -> None:
    given = parsed()
    process_setup.set_up()  # as the command does; the others gain by it too
    half = halved(given) if given.part == "half" else ""
    repeats = [run(given, seed, half) for seed in range(given.repeats)]
    print(f"{processor()}, {given.threads} threads, {given.workers} workers, torch {torch.__version__}")
    print(f"{given.model}, {given.data.name}, {given.size} pixels, {EPOCHS} epochs, medians of {given.repeats}")
    first, second = repeats[0]
    for name in (first, second):
        taken = [repeat[name] for repeat in repeats]
        wall, used = median(t.wall for t in taken), median(t.processor for t in taken)
        share = median(t.accuracy for t in taken)
        print(f"{name:>36}  {wall:7.2f} s, {used:7.2f} s of a processor; accuracy {share:.4f}")
    up, down = (second, first) if given.part == "bare" else (first, second)
    walls = median(repeat[up].wall / repeat[down].wall for repeat in repeats)
    used = median(repeat[up].processor / repeat[down].processor for repeat in repeats)
    print(f"{up} / {down}: {walls:.2f} in wall time, {used:.2f} in processor time")
    ours = repeats[0][second].prepared
    assert ours
    compute, forward = ours.job.compute, ours.prefix
    print(f"hubft: steps in {compute.precision} {compute.memory_format}, frozen parts in ", end="")
    print(f"{forward.precision} {forward.memory_format}")


if __name__ == "__main__":
    main()
