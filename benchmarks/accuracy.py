"""The tables of benchmarks/accuracy.md, from the lines of benchmarks/results.

    python benchmarks/accuracy.py

Each figure is a mean over seeds with its 95 % interval by Student's t; differences are paired by seed, in points.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from scipy.stats import t

RESULTS = Path(__file__).parent / "results"
RIVALS = {
    "fastai:1": "`fine_tune(1)`",
    "trainer:3": "`Trainer`, 3 epochs",
    "fastai:3": "`fine_tune(3)`",
    "autogluon:3": "AutoGluon, 3 epochs",
}
COLUMNS = ("seconds", "seeds", "right, %")
ENDS = ("probe", "last", "averaged by 0.9", "averaged over all", "half-way")
Line = dict[str, Any]


def lines(name: str) -> list[Line]:
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(text) for text in path.read_text("utf-8").splitlines()] if path.exists() else []


def spread(values: Sequence[float], form: str) -> str:
    """Return the mean, with its interval where there are two or more."""
    if len(values) < 2:
        return format(values[0], form) if values else "-"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{format(mean(values), form)} ± {half:.1f}"


def row(*cells: str) -> None:
    print("|", " | ".join(cells), "|")


def head(*cells: str) -> None:
    print()
    row(*cells)
    row(*["---"] * len(cells))


def by_seed(name: str) -> dict[tuple[str, str], dict[int, Line]]:
    """Return the lines of a file by data set and contestant, then by seed.

    Those of NAME-shared ran beside other work: what they computed is the same, to the bit, and they have no seconds.
    """
    found: dict[tuple[str, str], dict[int, Line]] = defaultdict(dict)
    for line in [line | {"train_seconds": None} for line in lines(f"{name}-shared")] + lines(name):
        found[line["data"], line["contestant"]][line["seed"]] = line
    return found


def ahead(ours: dict[int, Line], theirs: dict[int, Line]) -> str:
    return spread([100 * (ours[n]["accuracy"] - theirs[n]["accuracy"]) for n in sorted(theirs) if n in ours], "+.1f")


def beside_peers(size: int, budget: str) -> None:
    """Print hubft in a budget beside each peer."""
    ours, others = by_seed(f"hubft-{size}-{budget}"), by_seed(f"peers-{size}")
    head(f"pictures, {size}", "system", *COLUMNS, "hubft's seconds", "hubft, %", "ahead by, paired", "pairs ahead")
    for data in sorted({data for data, _ in ours}):
        its = ours[data, "hubft:8"]
        for rival, shown in RIVALS.items():
            if theirs := others.get((data, rival), {}):
                row(data, shown, *figures(theirs), seconds(its), right(its), ahead(its, theirs), pairs(its, theirs))


def beside_itself(size: int, budget: str) -> None:
    """Print the default beside its own probe, and what else it can be asked for."""
    default, probe = by_seed(f"hubft-{size}"), by_seed(f"hubft-{size}-probe")
    ways = {f"{budget} of the default": by_seed(f"hubft-{size}-{budget}"), "the default, 8 epochs": default}
    ways["half of the bound by steps"] = by_seed(f"hubft-{size}-{budget}-half-rate")
    head(f"pictures, {size}", "what", *COLUMNS, "to its probe, paired")
    for data in sorted({data for data, _ in probe}):
        its = probe[data, "hubft:0"]
        row(data, "the probe alone", *figures(its), "")
        for what, found in ways.items():
            if ours := found.get((data, "hubft:8"), {}):
                row(data, what, *figures(ours), ahead(ours, its))


def pairs(ours: dict[int, Line], theirs: dict[int, Line]) -> str:
    both = ours.keys() & theirs.keys()
    return f"{sum(ours[n]['accuracy'] > theirs[n]['accuracy'] for n in both)} of {len(both)}"


def figures(its: dict[int, Line]) -> tuple[str, str, str]:
    return seconds(its), str(len(its)), right(its)


def seconds(its: dict[int, Line]) -> str:
    known = [line["train_seconds"] for line in its.values() if line["train_seconds"]]
    return f"{median(known):.0f}" if known else "-"


def right(its: dict[int, Line]) -> str:
    return spread([100 * line["accuracy"] for line in its.values()], ".1f")


def probes() -> None:
    """Print the ways to solve a head: a column a set, and the mean difference over the sets to the first way."""
    found: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for line in lines("probe"):
        found[line["data"], line["size"]].append(line["right"])
    first = "one standard error"
    head("way", *(f"{data} {size} ({len(its)})" for (data, size), its in found.items()), "to the default")
    for way in sorted(next(iter(found.values()))[0], key=lambda way: way != first):
        shares = [f"{mean(100 * one[way] for one in its):.1f}" for its in found.values()]
        differences = [mean(100 * (one[way] - one[first]) for one in its) for its in found.values()]
        row(f"{way}, the default" if way == first else way, *shares, spread(differences, "+.2f"))


def ends() -> None:
    """Print what the ends of fine-tunes give, by data set, epochs and rate."""
    found: dict[tuple[str, int, int, float], list[Line]] = defaultdict(list)
    for line in lines("ends"):
        found[line["data"], line["size"], line["epochs"], line["rate"]].append(line)
    head("pictures", "epochs", "rate", "seeds", *ENDS)
    for (data, size, epochs, rate), its in sorted(found.items()):
        of = {end: [100 * line["right"][end] for line in its if end in line["right"]] for end in ENDS}
        seeds = ", ".join(str(line["seed"]) for line in its)
        means = [f"{mean(of[end]):.1f}" if of[end] else "" for end in ENDS]
        row(f"{data} {size}", str(epochs), f"{rate:g}", seeds, *means)


if __name__ == "__main__":
    probes()
    ends()
    for size, budget in ((160, "34s"), (224, "66s")):
        beside_peers(size, budget)
        beside_itself(size, budget)
