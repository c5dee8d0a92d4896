"""How long a model takes to load: hubft's package beside the library's own constructor and its state dict.

    python benchmarks/load.py [--rounds 9] [--compressed] [MODEL ...]

With `--compressed`, a full package beside what `--compress` makes of it, each by torch.hub.load of this checkout.
Random weights, so nothing is downloaded. Every way is run once in each round, in one process, on one thread, with
the files in the page cache; shown are medians over the rounds, and the median of the rounds' ratios to the first way
with the range of those ratios, and the same of processor time. `ready` ends when the model is returned; `first image`
includes one forward pass, which is when the pages of a mapped file are read.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from machine import processor
from torch import nn
from torchvision import models

from hubft import Head, Job, Loaded, methods
from hubft.families import plugins
from hubft.families.build import build, compressed
from hubft.publish import package, selftest
from hubft.share import load
from hubft.tasks.classification import Classification

ROOT = Path(__file__).parents[1]
Ways = dict[str, Callable[[], nn.Module]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["resnet50", "vit_b_16"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compressed", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}; torch {version('torch')}, torchvision {version('torchvision')}, {options.rounds} rounds")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            found = compressed_ways(name, Path(folder)) if options.compressed else ways(name, Path(folder))
            show(name, measure(found, options.rounds))


def ways(name: str, folder: Path) -> Ways:
    """Return the ways to load one and the same model, its files written to a folder."""
    loaded = written(name, folder / "package", "none")
    torch.save(loaded.model.state_dict(), folder / "weights.pt")

    def own(read: Callable[[], dict[str, torch.Tensor]]) -> nn.Module:
        model = models.get_model(name, weights=None)
        model.load_state_dict(read())
        return model.eval()

    return {
        "constructor, torch.load": lambda: own(lambda: torch.load(folder / "weights.pt", weights_only=True)),
        "constructor, safetensors": lambda: own(
            lambda: safetensors.torch.load_file(folder / "package" / package.WEIGHTS)
        ),
        "hubft": lambda: load.load(str(folder / "package")),
        "hubft, sha256 not compared": lambda: load.model(package.read(folder / "package", verify=False)),
    }


def compressed_ways(name: str, folder: Path) -> Ways:
    """Return how a full package is loaded, and those of the same model with other `--compress`."""
    found: Ways = {}
    for method in ("none", "int8", "prune:0.5", "prune:0.5,int8"):
        path = folder / method
        written(name, path, method)
        found[method] = partial(torch.hub.load, str(ROOT), "finetuned", str(path), source="local")
    return found


def written(name: str, folder: Path, compress: str) -> Loaded:
    """Return the model of random weights whose package now lies in a folder."""
    pm = plugins.manager("torchvision")
    job = Job(f"torchvision:{name}", "none", head=Head(outputs=1000), compress=compress)
    loaded, records = build(pm, job, pretrained=False), []
    for method in map(str, methods.parse(compress)):
        made = compressed(pm, loaded, method, [(torch.zeros(2, 3, 224, 224), torch.zeros(2))])
        loaded, records = replace(loaded, model=made.model), [*records, *made.structure]
    classes = Classification(tuple(map(str, range(1000))))
    manifest = package.Manifest(job, classes, loaded.preprocess, loaded.base, structure=tuple(records))
    package.write(folder, manifest, loaded.model.state_dict(), selftest.make(loaded))
    return loaded


def measure(ways: Ways, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """Return for each way and round: wall ms and CPU ms until ready, and wall ms until the first image is through."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    image = torch.zeros(1, 3, 224, 224)
    for i in range(rounds + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            model = way()
            ready = (time.perf_counter() - wall, time.process_time() - cpu)
            with torch.inference_mode():
                model(image)
            if i:  # the first round warms the caches
                found[name].append((*(1000 * t for t in ready), 1000 * (time.perf_counter() - wall)))
    return found


def show(name: str, found: dict[str, list[tuple[float, float, float]]]) -> None:
    first = next(iter(found.values()))
    ratios = f"{'ratio':>8}{'range':>14}{'CPU ratio':>11}{'range':>14}"
    print(f"\n{name:28}{'ready ms':>10}{'CPU ms':>9}{ratios}{'first image ms':>16}{'ratio':>8}")
    for way, rows in found.items():
        wall, cpu, image = (statistics.median(column) for column in zip(*rows, strict=True))
        shares = ""
        for which in (0, 1):
            ratios = [row[which] / base[which] for row, base in zip(rows, first, strict=True)]
            span = f"{min(ratios):.2f}-{max(ratios):.2f}"
            shares += f"{statistics.median(ratios):>{(8, 11)[which]}.2f}{span:>14}"
        images = statistics.median(row[2] / base[2] for row, base in zip(rows, first, strict=True))
        print(f"{way:28}{wall:>10.0f}{cpu:>9.0f}{shares}{image:>16.0f}{images:>8.2f}")


if __name__ == "__main__":
    main()
