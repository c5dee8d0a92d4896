"""hubft and its peers, in turn: medians, ratios, and intervals over seeds.

    python benchmarks/compare.py --data flowers/ --systems hubft:3 handloop:3 fastai:3 trainer:3 \\
        --python fastai=ENV/bin/python trainer=ENV/bin/python autogluon=OTHER/bin/python

A contestant is SYSTEM or SYSTEM:EPOCHS; a system is a driver in benchmarks/peers/, run in an interpreter of its own.
Seed by seed each contestant runs once, another one first each time. Every run is a line of --out; a run that is
there already is not done again, so a comparison that was broken off goes on: give a new comparison a new file.

Three questions:

    (as above)       how fast, and how good, each is in so many epochs
    --equal-time     how good hubft is in the time that each of the others took: it runs after each, with that budget
    --target 0.93    the time of the shortest run whose median accuracy over the seeds is at least that: epochs are
                     raised until it is, along --ladder

Accuracy is that of the last state on data/test, or on data/val where there is none, evaluated in one way for all. Where
some epochs train the head alone, as hubft's do by default, images a second are those of both kinds; for the pace of
full training compare with --hubft "--train all". Where the Hub is not reached, see benchmarks/peers/weights.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev

from kept import DRIVERS, Line, Runs
from machine import processor
from rich.console import Console
from rich.table import Table
from scipy.stats import t

SYSTEMS = {
    "hubft": "hubft_.py",
    "handloop": "handloop.py",
    "fastai": "fastai_.py",
    "trainer": "trainer.py",
    "autogluon": "autogluon_.py",
}
LADDER = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24)  # epochs that are tried with --target; none is hubft's probe alone


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with train/CLASS/*, val/CLASS/*")
    parser.add_argument("--systems", nargs="+", default=["hubft", "handloop", "fastai", "trainer"])
    parser.add_argument("--model", nargs="+", default=["tf_efficientnet_lite0.in1k"], help="names of timm models")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=3, help="of a contestant without its own; -1 leaves it to hubft")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frozen", action="store_true", help="train the head alone")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch, for all; 0 is each system's default")
    parser.add_argument("--workers", type=int, default=-1, help="of the loader, for all; -1 is each system's default")
    parser.add_argument("--python", nargs="+", default=[], metavar="SYSTEM=PATH", help="interpreter of a system")
    parser.add_argument("--hubft", default="", metavar="FLAGS", help="further flags of hubft finetune, in one string")
    parser.add_argument("--out", type=Path, default=Path("comparison.jsonl"), help="the lines of all runs")
    question = parser.add_mutually_exclusive_group()
    question.add_argument("--equal-time", action="store_true")
    question.add_argument("--target", type=float, default=0.0, metavar="ACCURACY")
    parser.add_argument("--ladder", type=int, nargs="+", default=LADDER, metavar="EPOCHS", help="with --target")
    given = parser.parse_args()
    given.python = dict(pair.split("=", 1) for pair in given.python)
    given.hubft = given.hubft.split()
    for contestant in given.systems:
        system, _, epochs = contestant.partition(":")
        if system not in SYSTEMS or (epochs and not epochs.isdigit()):
            parser.error(f"{contestant!r} is not SYSTEM or SYSTEM:EPOCHS with one of {', '.join(SYSTEMS)}")
    if given.equal_time and any(system.startswith("hubft") for system in given.systems):
        parser.error("--equal-time runs hubft after each of --systems: name the others only")
    return given


class Contest(Runs):
    """The runs of one model on one folder of images."""

    def __init__(self, given: argparse.Namespace, model: str, data: Path) -> None:
        self.model, self.data = model, data
        super().__init__(given, {"model": model, "data": data.name, "size": given.size, "frozen": given.frozen})

    def run(self, contestant: str, seed: int, rival: Line | None = None) -> Line | None:
        """Return the line of a run, None if it failed; with a rival, of hubft in the time that the rival took."""
        own = {"contestant": contestant, "seed": seed, "against": rival["contestant"] if rival else None}
        key = {"data": self.data.name, "model": self.model, **own}
        return self.once(key, self._command(contestant, seed, rival), f"{contestant}, seed {seed}")

    def by_seed(self, contestant: str, against: str | None = None) -> dict[int, Line]:
        """Return a contestant's lines by seed; with `against`, those in the time of that one."""
        return {line["seed"]: line for line in self.of(contestant=contestant, against=against)}

    def _command(self, contestant: str, seed: int, rival: Line | None) -> list[str]:
        given = self.given
        system, _, epochs = contestant.partition(":")
        options = {
            "--data": self.data,
            "--model": self.model,
            "--size": given.size,
            "--epochs": -1 if rival else epochs or given.epochs,
            "--seed": seed,
            "--threads": given.threads,
            "--workers": given.workers,
        }
        words = [str(word) for option in options.items() for word in option]
        words += ["--frozen"] * given.frozen + (given.hubft if system == "hubft" else [])
        words += ["--budget", f"{rival['train_seconds']:.1f}s"] if rival else []
        return [given.python.get(system, sys.executable), str(DRIVERS / SYSTEMS[system]), *words]


def compare(runs: Contest) -> None:
    """Run every contestant once a seed and print them beside hubft."""
    given = runs.given
    for seed in range(given.seeds):
        first = seed % len(given.systems)
        for contestant in given.systems[first:] + given.systems[:first]:
            line = runs.run(contestant, seed)
            if line and given.equal_time:
                runs.run("hubft", seed, line)
    ours = next((s for s in given.systems if s.startswith("hubft")), "")
    rows = []
    for contestant in given.systems:
        lines = runs.by_seed(contestant)
        beside = runs.by_seed("hubft", contestant) if given.equal_time else runs.by_seed(ours)
        rows.append(row(contestant, lines, beside))
        if given.equal_time:
            rows.append(row(f"hubft in the time of {contestant}", beside, beside))
    columns = ("contestant", "runs", "seconds", "to hubft's", "images/s", "to hubft's", "accuracy", "less hubft's")
    table(runs, columns, rows)


def row(name: str, lines: dict[int, Line], ours: dict[int, Line]) -> list[str]:
    """Return medians over seeds, the median of the seeds' ratios to hubft, mean accuracies with 95 % intervals."""
    pairs = [(lines[seed], ours[seed]) for seed in lines if seed in ours]

    def column(key: str) -> list[str]:
        ratios = [a[key] / b[key] for a, b in pairs if b[key]]  # the probe alone has no pace
        return [
            f"{median(n[key] for n in lines.values()):.1f}" if lines else "-",
            f"{median(ratios):.2f}" if ratios else "-",
        ]

    accuracies = [n["accuracy"] for n in lines.values()]
    differences = [a["accuracy"] - b["accuracy"] for a, b in pairs]
    return [
        name,
        str(len(lines)),
        *column("train_seconds"),
        *column("images_per_second"),
        interval(accuracies, "{:.4f}".format),
        interval(differences, "{:+.4f}".format) if lines != ours else "",
    ]


def interval(values: Sequence[float], form: Callable[[float], str]) -> str:
    """Return the mean with its 95 % interval over seeds, by Student's t."""
    if len(values) < 2:
        return form(values[0]) if values else "-"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{form(mean(values))} [{form(mean(values) - half)}, {form(mean(values) + half)}]"


def reach(runs: Contest) -> None:
    """Raise each system's epochs until the median accuracy is the target, and print what that took."""
    given, found = runs.given, {}
    waiting = [contestant.partition(":")[0] for contestant in given.systems]
    for epochs in given.ladder:
        trying = [system for system in waiting if epochs or system == "hubft"]
        for seed in range(given.seeds):
            for system in trying:
                runs.run(f"{system}:{epochs}", seed)
        for system in trying:
            lines = runs.by_seed(f"{system}:{epochs}").values()
            if lines and median(n["accuracy"] for n in lines) >= given.target:
                found[system] = epochs, lines
                waiting.remove(system)
    rows = []
    seconds = {name: median(n["train_seconds"] for n in lines) for name, (_, lines) in found.items()}
    for system, (epochs, lines) in found.items():
        ratio = f"{seconds[system] / seconds['hubft']:.2f}" if "hubft" in seconds else "-"
        share = f"{median(n['accuracy'] for n in lines):.4f}"
        rows.append([system, str(len(lines)), str(epochs), f"{seconds[system]:.1f}", ratio, share])
    for system in waiting:
        lines = runs.by_seed(f"{system}:{given.ladder[-1]}").values()
        share = f"{median(n['accuracy'] for n in lines):.4f}" if lines else "-"
        took = median(n["train_seconds"] for n in lines) if lines else float("nan")
        ratio = f"more than {took / seconds['hubft']:.2f}" if "hubft" in seconds else "-"
        rows.append([system, str(len(lines)), f"more than {given.ladder[-1]}", f"more than {took:.1f}", ratio, share])
    table(runs, ("system", "runs", "epochs", "seconds", "to hubft's", f"accuracy, at least {given.target}"), rows)


def table(runs: Contest, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    versions: dict[str, str] = {}
    for line in runs.lines:
        versions |= {name: version for name, version in line["versions"].items() if name not in versions}
    frozen = ", head only" if runs.given.frozen else ""
    title = f"{runs.data.name}, {runs.model}, {runs.given.size} pixels{frozen}; {processor()}"
    shown = Table(title=title, caption=", ".join(f"{name} {version}" for name, version in versions.items()))
    for n, name in enumerate(columns):
        shown.add_column(name, justify="right" if n else "left")
    for cells in rows:
        shown.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


def main() -> None:
    given = parsed()
    for data in given.data:
        for model in given.model:
            (reach if given.target else compare)(Contest(given, model, data))


if __name__ == "__main__":
    main()
