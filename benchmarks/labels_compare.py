"""hubft and its peers on tables: a number, several labels, several heads; with equal time, over seeds.

    python benchmarks/labels_compare.py --data FOLDER --out RUNS.jsonl \\
        --python fastai=ENV/bin/python autogluon=OTHER/bin/python [--seeds 5] [--sets cells canvas faces]

Seed by seed and set by set, FOLDER/SET-SEED is made by `labels.py` with that seed where it is not there, each
contestant (SYSTEM:EPOCHS, a driver labels_SYSTEM.py in benchmarks/peers/) runs once, another one first each time, and
after each hubft with the seconds that it took as --budget; or once with that of all, where --budget says so. Every run
is a line of --out, and one that is there is not done again, so a comparison that was broken off goes on: give a new
comparison a new file. With --show nothing runs, and the lines that are there are printed.

What each says of the test part is scored here, in one way for all: R2 of numbers, accuracy of classes, mean average
precision of labels; of several heads the mean of theirs. Each predicts as its own documentation has it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import numpy
from accuracy import head, row, spread
from kept import DRIVERS, Line, Runs
from sklearn.metrics import average_precision_score, r2_score

HERE = Path(__file__).parent
CONTESTANTS = ("hand:3", "hand:8", "fastai:1", "fastai:3", "autogluon:8")
SHOWN = {"hand": "the loop by hand, {} epochs", "fastai": "`fine_tune({})`", "autogluon": "AutoGluon, {} epochs"}
Said = Sequence[float] | Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Pictures:
    """What is learned from a set of `labels.py`."""

    kind: str
    targets: tuple[str, ...]
    flips: str
    """That leave all labels as they are; what the loop by hand is told, and nobody else."""
    measured: str


SETS = {
    "cells": Pictures("regression", ("probability",), "both", "R2"),
    "canvas": Pictures("multilabel", ("kinds",), "horizontal", "mean average precision"),
    "faces": Pictures("several", ("typeface", "weight", "size"), "none", "mean of two accuracies and R2"),
}
ABLE = {"fastai": ("regression", "multilabel"), "autogluon": ("regression",)}  # the others can do every kind


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("labels"), help="folder of the sets, which are made there")
    parser.add_argument("--out", type=Path, default=Path("labels.jsonl"), help="the lines of all runs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS], metavar="SET")
    parser.add_argument("--systems", nargs="+", default=[*CONTESTANTS], metavar="SYSTEM:EPOCHS")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="of hubft, once for all; default: each rival's")
    parser.add_argument("--model", default="tf_efficientnet_lite0.in1k", help="name of a timm model")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--train", type=int, default=192, help="pictures of a set that is made")
    parser.add_argument("--val", type=int, default=60)
    parser.add_argument("--test", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for all")
    parser.add_argument("--workers", type=int, default=0, help="of the loader, for all")
    parser.add_argument("--python", nargs="+", default=[], metavar="SYSTEM=PATH", help="interpreter of a system")
    parser.add_argument("--hubft", default="", metavar="FLAGS", help="further flags of hubft finetune, in one string")
    parser.add_argument("--show", action="store_true", help="run nothing")
    given = parser.parse_args()
    given.python = dict(pair.split("=", 1) for pair in given.python)
    given.hubft = given.hubft.split()
    for contestant in given.systems:
        system, _, epochs = contestant.partition(":")
        if system not in SHOWN or not epochs.isdigit():
            parser.error(f"{contestant!r} is not SYSTEM:EPOCHS with one of {', '.join(SHOWN)}")
    return given


class Contest(Runs):
    """The runs on all sets."""

    def __init__(self, given: argparse.Namespace) -> None:
        super().__init__(given, {"model": given.model, "size": given.size})

    def run(self, name: str, contestant: str, seed: int, budget: float = 0.0, against: str = "") -> Line | None:
        """Return the line of a run, None if it failed; with a budget, of hubft, in the time of `against`."""
        key = {"data": name, "contestant": contestant, "seed": seed, "against": against}
        said = self.given.out.with_suffix("") / f"{name}-{contestant}-{against}-{seed}.json".replace(":", "-")
        command = self._command(name, contestant, seed, said)
        command += ["--budget", f"{budget:.1f}s"] if budget else []

        def scored() -> Line:
            found = scores(SETS[name], rows(self._folder(name, seed)), json.loads(said.read_text(encoding="utf-8")))
            stated = {"predictions": said.name, "budget": round(budget, 1) or None}
            return {**stated, "scores": found, "score": mean(found.values())}

        return self.once(key, command, f"{name}, {contestant}, seed {seed}", scored)

    def by_seed(self, name: str, contestant: str, against: str = "") -> dict[int, Line]:
        """Return a contestant's lines by seed."""
        return {line["seed"]: line for line in self.of(data=name, contestant=contestant, against=against)}

    def _folder(self, name: str, seed: int) -> Path:
        return self.given.data / f"{name}-{seed}"

    def make(self, name: str, seed: int) -> None:
        """Make the set of a seed where it is not there."""
        folder, given = self._folder(name, seed), self.given
        if not folder.exists():
            options = {"--train": given.train, "--val": given.val, "--test": given.test, "--seed": seed}
            words = [str(word) for option in options.items() for word in option]
            subprocess.run([sys.executable, str(HERE / "labels.py"), name, str(folder), *words], check=True)

    def _command(self, name: str, contestant: str, seed: int, said: Path) -> list[str]:
        given, pictures = self.given, SETS[name]
        system, _, epochs = contestant.partition(":")
        options = {
            "--data": self._folder(name, seed),
            "--kind": pictures.kind,
            "--predictions": said,
            "--model": given.model,
            "--size": given.size,
            "--epochs": epochs or -1,
            "--seed": seed,
            "--threads": given.threads,
            "--workers": given.workers,
        }
        words = [str(word) for option in options.items() for word in option]
        words += ["--target", *pictures.targets]
        words += {"hand": ["--flips", pictures.flips], "hubft": given.hubft}.get(system, [])
        return [given.python.get(system, sys.executable), str(DRIVERS / f"labels_{system}.py"), *words]


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the test part, in the order in which it is predicted."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "test"]


def scores(pictures: Pictures, rows: Sequence[Mapping[str, str]], said: Mapping[str, Said]) -> dict[str, float]:
    """Return what is reached in each target: R2, accuracy, or mean average precision."""
    return {name: score(pictures.kind, [row[name] for row in rows], said[name]) for name in pictures.targets}


def score(kind: str, cells: Sequence[str], said: Said) -> float:
    found = said.values() if isinstance(said, Mapping) else [said]
    if any(len(column) != len(cells) for column in found) or not numpy.isfinite([*found]).all():
        raise SystemExit(f"not a number said of each of {len(cells)} pictures")
    if not isinstance(said, Mapping):
        return float(r2_score([float(cell) for cell in cells], said))
    if kind == "multilabel":
        there = [cell.split(";") for cell in cells]
        names = sorted({name for one in there for name in one})  # a label that no system was shown counts as well
        nothing = [0.0] * len(cells)
        each = [average_precision_score([name in one for one in there], said.get(name, nothing)) for name in names]
        return float(mean(each))
    names = [*said]
    best = numpy.array([*said.values()]).argmax(0)
    return float(mean(names[place] == cell for place, cell in zip(best, cells, strict=True)))


def able(contestant: str, name: str) -> bool:
    return SETS[name].kind in ABLE.get(contestant.partition(":")[0], [SETS[name].kind])


def compare(runs: Contest) -> None:
    """Run every contestant once a seed and set, and hubft in its time, or once in the time that was given."""
    given = runs.given
    for seed in range(given.seeds):
        for name in given.sets:
            runs.make(name, seed)
            those = [contestant for contestant in given.systems if able(contestant, name)]
            first = seed % max(1, len(those))
            for contestant in those[first:] + those[:first]:
                line = runs.run(name, contestant, seed)
                if line and not given.budget:
                    runs.run(name, "hubft", seed, line["train_seconds"], contestant)
            if given.budget:
                runs.run(name, "hubft", seed, given.budget, fixed(given.budget))


def fixed(budget: float) -> str:
    return f"{budget:g}s"


def show(runs: Contest) -> None:
    """Print each rival beside hubft, as Markdown; points of a hundred, differences paired by seed."""
    given = runs.given
    columns = ("pictures", "measured", "system", "its seconds", "seeds", "it reached", "hubft's seconds")
    head(*columns, "hubft reached", "ahead by, paired", "pairs ahead")
    for name in given.sets:
        for contestant in given.systems:
            theirs = runs.by_seed(name, contestant)
            ours = runs.by_seed(name, "hubft", fixed(given.budget) if given.budget else contestant)
            if theirs:
                row(name, SETS[name].measured, shown(contestant), *beside(ours, theirs))
    versions: dict[str, str] = {}
    for line in runs.lines:
        versions |= {library: version for library, version in line["versions"].items() if library not in versions}
    print(f"\n{', '.join(f'{library} {version}' for library, version in versions.items())}")


def shown(contestant: str) -> str:
    system, _, epochs = contestant.partition(":")
    return SHOWN[system].format(epochs)


def beside(ours: dict[int, Line], theirs: dict[int, Line]) -> list[str]:
    ahead = [100 * (ours[seed]["score"] - theirs[seed]["score"]) for seed in theirs if seed in ours]
    return [
        seconds(theirs),
        str(len(theirs)),
        reached(theirs),
        seconds(ours),
        reached(ours),
        spread(ahead, "+.1f"),
        f"{sum(one > 0 for one in ahead)} of {len(ahead)}",
    ]


def seconds(its: dict[int, Line]) -> str:
    return f"{median(line['train_seconds'] for line in its.values()):.0f}" if its else "-"


def reached(its: dict[int, Line]) -> str:
    return spread([100 * line["score"] for line in its.values()], ".1f")


def main() -> None:
    runs = Contest(parsed())
    if not runs.given.show:
        compare(runs)
    show(runs)


if __name__ == "__main__":
    main()
