"""Where a fine-tune's points are: in its probe, its last weights, their averages, or half-way between.

    python benchmarks/ends.py --data cifar/ drawings/ ... [--size 160] [--epochs 4] [--rate 1 0.5] [--seeds 1 2]

Folders are those of benchmarks/datasets.py, with a test part. One training gives all ends, so that they are paired;
--rate multiplies the learning rate that the run chose. Each run is a line of --out; what is there is not run again.
Prints the share of data/test that is right, in per cent, a row a data set, rate and number of epochs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from machine import processor
from rich.console import Console as Screen
from rich.table import Table
from torch import Tensor, nn

from hubft import Job
from hubft.base.console import Console
from hubft.images import decode, transforms
from hubft.job import Compute, Recipe
from hubft.machine import process_setup
from hubft.run import training
from hubft.run.folder import Run
from hubft.run.plan import settle
from hubft.run.prepare import Prepared, prepare
from hubft.train import loop
from hubft.train.recipe import Average

Line = dict[str, Any]
Weights = dict[str, Tensor]


class Whole(Average):
    """The plain mean of the weights before the first step and after every one."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        torch._foreach_lerp_(list(self.tensors.values()), [self.live[name] for name in self.tensors], 1 / (step + 1))


class Ends:
    """Trains once, and keeps the weights at every end."""

    def __init__(self, prepared: Prepared, run: Run) -> None:
        self.prepared, recipe = prepared, prepared.job.recipe
        model = prepared.loaded.model
        state = loop.start(prepared.loaded, recipe, prepared.runtime, prepared.data.task)
        self.weights = {"probe": _copy(model)}
        averages = {"averaged by 0.9": Average(model, 0.9), "averaged over all": Whole(model, 0.0)}
        for average in averages.values():
            average.include(average.live)
        fit = loop.fit

        def fitting(*its: Any) -> Iterator[loop.Step]:
            for step in fit(*its):
                for average in averages.values():
                    average.update(step.number)
                yield step

        loop.fit = fitting
        try:
            training.train(prepared, run, state, Console(quiet=True))
        finally:
            loop.fit = fit
        self.weights["last"] = _copy(model)
        for name, average in averages.items():
            with average.applied():
                self.weights[name] = _copy(model)
        first, last = self.weights["probe"], self.weights["averaged by 0.9"]
        self.weights["half-way"] = {
            name: first[name].lerp(last[name], 0.5) if last[name].is_floating_point() else last[name] for name in last
        }

    def right(self, folder: Path) -> dict[str, float]:
        """Return the share of the pictures in folder/CLASS/ that each end names right."""
        model, classes = self.prepared.loaded.model, list(self.prepared.data.task.names)
        paths = sorted(folder.glob("*/*"))
        wanted = torch.tensor([classes.index(path.parent.name) for path in paths])
        way = transforms.evaluation(self.prepared.loaded.preprocess)
        pictures = torch.stack([way(decode.decode(path)) for path in paths]).to(memory_format=torch.channels_last)
        found = {}
        for name, weights in self.weights.items():
            model.load_state_dict(weights)
            model.eval()
            with torch.inference_mode():
                outputs = torch.cat([model(part) for part in pictures.split(32)])
            found[name] = (outputs.argmax(1) == wanted).float().mean().item()
        return found


def _copy(model: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def run(data: Path, given: argparse.Namespace, rate: float, seed: int) -> Line:
    """Return what a run with so many times its own learning rate gives."""
    compute = Compute(
        device="cpu", precision="fp32", memory_format="channels_last", compile="off", threads=1, workers=0
    )
    recipe = Recipe(seed=seed, epochs=given.epochs, averaging=0.0)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(given.model, str(data), recipe=recipe, compute=compute, size=given.size, output=f"{folder}/run")
        prepared = prepare(job)
        created = Run.create(prepared.job)
        prepared, plan, _ = settle(prepared, created, Console(quiet=True))
        recipe = prepared.job.recipe
        prepared = replace(prepared, job=replace(prepared.job, recipe=replace(recipe, lr=rate * recipe.lr)))
        right = Ends(prepared, created).right(data / "test")
        losses = [line["loss"] for line in created.history()]
    assert plan.probe
    found = {"error": plan.probe.error, "fitted": plan.probe.fitted, "decay": plan.probe.decay, "losses": losses}
    return {"right": right, "lr": rate * recipe.lr, "augment": recipe.augment, **found}


def table(lines: list[Line]) -> Table:
    """Return a row a data set, size, rate and number of epochs: means over the seeds."""
    shown = Table(title=f"right of data/test, % ({processor()})", title_justify="left")
    ends = ("probe", "last", "averaged by 0.9", "averaged over all", "half-way")
    for name in ("data", "epochs", "rate", "learning rate", "seeds", *ends):
        shown.add_column(name, justify="left" if name == "data" else "right")
    keys = ("data", "size", "epochs", "rate")
    for cell in sorted({tuple(line[key] for key in keys) for line in lines}):
        its: list[Mapping[str, Any]] = [line for line in lines if tuple(line[key] for key in keys) == cell]
        of = {end: [100 * line["right"][end] for line in its if end in line["right"]] for end in ends}
        means = [f"{mean(shares):.1f}" if shares else "" for shares in of.values()]
        rate = f"{mean(line['lr'] for line in its):.1e}"
        shown.add_row(f"{cell[0]} {cell[1]}", str(cell[2]), f"{cell[3]:g}", rate, str(len(its)), *means)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--model", default="pip:efficientnet_lite0")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, nargs="+", default=[1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ends.jsonl")
    given = parser.parse_args()
    process_setup.set_up()  # as the command does
    lines = [json.loads(text) for text in given.out.read_text("utf-8").splitlines()] if given.out.exists() else []
    for seed in given.seeds:
        for data in given.data:
            for rate in given.rate:
                key = {"data": data.name, "size": given.size, "epochs": given.epochs, "seed": seed, "rate": rate}
                if any(key.items() <= line.items() for line in lines):
                    continue
                line = key | {"model": given.model} | run(data, given, rate, seed)
                lines.append(line)
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(line, flush=True)
    Screen(width=140).print(table(lines))


if __name__ == "__main__":
    main()
