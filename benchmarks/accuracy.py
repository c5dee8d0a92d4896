"""The tables of benchmarks/accuracy.md, from the lines of benchmarks/results.

    python benchmarks/accuracy.py

Each figure is a mean over seeds with its 95 % interval by Student's t; differences are paired by seed, in points.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

RESULTS = Path(__file__).parent / "results"
OURS = {"hubft-160-34s": "hubft, 34 s", "hubft-160-64s": "hubft, 64 s", "hubft-160-probe": "its probe alone"}
RIVALS = {
    "fastai:1": ("`fine_tune(1)`", "hubft, 34 s"),
    "trainer:3": ("`Trainer`, 3 epochs", "hubft, 34 s"),
    "autogluon:3": ("AutoGluon, 3 epochs", "hubft, 64 s"),
    "fastai:3": ("`fine_tune(3)`", "hubft, 64 s"),
}
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


def against_peers() -> None:
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for name, shown in OURS.items():
        for line in lines(name):
            found[line["data"]][shown][line["seed"]] = 100 * line["accuracy"]
    seconds = defaultdict(list)
    for line in lines("peers-160-shared") + lines("peers-160"):
        found[line["data"]][line["contestant"]][line["seed"]] = 100 * line["accuracy"]
    for line in lines("peers-160"):
        seconds[line["contestant"]].append(line["train_seconds"])
    print("| pictures | system | seconds | seeds | right, % | hubft, % | hubft is ahead by |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for data, by in sorted(found.items()):
        for rival, (shown, ours) in RIVALS.items():
            if rival in by:
                pairs = [(by[ours][seed], one) for seed, one in sorted(by[rival].items()) if seed in by[ours]]
                took = f"{min(seconds[rival]):.0f}" if seconds[rival] else "-"
                cells = [data, shown, took, str(len(pairs)), spread([b for _, b in pairs], ".1f")]
                cells += [f"{spread([a for a, _ in pairs], '.1f')} ({ours.split(', ')[1]})"]
                print("|", " | ".join([*cells, spread([a - b for a, b in pairs], "+.1f")]), "|")
    print()
    print("| pictures | its probe, % | 34 s, % | 64 s, % | 34 s to the probe | 64 s to the probe |")
    print("| --- | --- | --- | --- | --- | --- |")
    for data, by in sorted(found.items()):
        probe = by["its probe alone"]
        cells = [
            data,
            *(spread(list(by[shown].values()), ".1f") for shown in ("its probe alone", *list(OURS.values())[:2])),
        ]
        for shown in list(OURS.values())[:2]:
            cells.append(spread([one - probe[seed] for seed, one in by[shown].items() if seed in probe], "+.1f"))
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    against_peers()
