"""`hubft rank` against a full fine-tune of every backbone: does it name the same best three, and in what time?

    python benchmarks/techniques_rank.py --data flowers/ --references timm:... timm:... --seeds 3 --out rank.jsonl

Every reference is fine-tuned in full, by the default recipe. Then `rank` gets a share of the time that these took
together, its probes counted, on an empty cache. What a backbone is worth is its full fine-tune's score: on data/test,
if there is one, else on the validation part, which `rank` sees too. Each run is a line of --out; what is there already
is not run again. Each has a process, whose processor time is counted too, from its start on: it is the one that other
work on the machine does not change. The aim: the same best three of ten, in a tenth of the time. Code beside weights
runs: name references that you trust.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from kept import Line, Runs
from rich.console import Console
from rich.table import Table

BEST = 3


def full(given: argparse.Namespace, seed: int, reference: str, folder: Path) -> Line:
    """Return what a full fine-tune reaches, and its seconds."""
    from hubft import engine

    began = time.perf_counter()
    result = engine.finetune(_job(given, seed, reference, folder / "run"), trust=True)
    found = (result.test or result.metrics).head
    worth = found.value if found.better == "higher" else -found.value
    return {"score": found.value, "worth": worth, "seconds": time.perf_counter() - began}


def ranked(given: argparse.Namespace, seed: int, budget: float, folder: Path) -> Line:
    """Return the order of `rank` and its seconds: the probes take what they take, and the fine-tunes what is left of
    the budget; nothing, where that is less than a tenth of it."""
    from hubft.choosing import rank

    began = time.perf_counter()
    job = replace(_job(given, seed, given.references[0], Path()), output="")
    rank.rank(rank.Asked(tuple(given.references), job, str(folder / "rank")), trust=True)
    probes = time.perf_counter() - began
    if (left := budget - probes) > 0.1 * budget:
        job = replace(job, recipe=replace(job.recipe, budget=f"{left:.1f}s"))
    found = rank.rank(rank.Asked(tuple(given.references), job, str(folder / "rank")), trust=True)
    rows = [row for row in found.rows if row.stands]
    return {
        "order": [row.reference for row in rows],
        "probes": {row.reference: row.probe.score.value for row in rows if row.probe},
        "probe_seconds": probes,
        "budget": budget,
        "seconds": time.perf_counter() - began,
    }


def _job(given: argparse.Namespace, seed: int, reference: str, output: Path) -> Any:
    from hubft import Job
    from hubft.job import Compute, Recipe

    recipe, compute = Recipe(seed=seed, epochs=given.epochs), Compute(device=given.device)
    return Job(reference, str(given.data), recipe=recipe, compute=compute, size=given.size, output=str(output))


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each seed: how `rank` compares with full fine-tunes."""
    common = {"data": given.data.name, "size": given.size, "epochs": given.epochs}
    runs, compared = Runs(given, common), []
    for seed in range(given.seeds):
        lines: dict[str, Line | None] = {}
        for reference in given.references:
            key = common | {"of": "full", "seed": seed, "reference": reference}
            lines[reference] = runs.once(key, _driver(given, "full", seed, reference), f"{reference}, seed {seed}")
        known = {name: line for name, line in lines.items() if line}
        if len(known) < 2:
            continue
        total = sum(line["seconds"] for line in known.values())
        key = common | {"of": "rank", "seed": seed, "references": given.references, "share": given.share}
        line = runs.once(key, _driver(given, "rank", seed, str(given.share * total)), f"rank, seed {seed}")
        if line:
            compared.append(_compared(seed, known, line, total))
    return compared


def _compared(seed: int, known: dict[str, Line], line: Line, total: float) -> dict[str, Any]:
    truly = sorted(known, key=lambda name: known[name]["worth"], reverse=True)
    order = [name for name in line["order"] if name in known]
    return {
        "seed": seed,
        "same of the best": len(set(truly[:BEST]) & set(order[:BEST])),
        "same first": truly[0] == order[0],
        "lost by its first": known[truly[0]]["worth"] - known[order[0]]["worth"],
        "share of the time": line["seconds"] / total,
        "share of the probes": line["probe_seconds"] / total,
        "of the processor's time": line["processor"] / sum(one["processor"] for one in known.values()),
    }


def _driver(given: argparse.Namespace, of: str, seed: int, about: str) -> list[str]:
    """Return the command of one run: in a process and with a cache of its own."""
    words = [sys.executable, __file__, "--data", str(given.data), "--out", str(given.out), "--size", str(given.size)]
    words += ["--epochs", str(given.epochs), "--device", given.device, "--threads", str(given.threads)]
    return [*words, "--references", *given.references, "--one", of, str(seed), about]


def show(compared: list[dict[str, Any]], references: int) -> None:
    table = Table(title=f"rank against {references} full fine-tunes; best {BEST}")
    for column in compared[0]:
        table.add_column(column, justify="right")
    means = {name: mean(float(row[name]) for row in compared) for name in compared[0]}
    for row in [*compared, means | {"seed": "mean"}]:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row.values()))
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--references", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.1, help="of the time of all full fine-tunes, for rank")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # full or rank, the seed, the reference or the budget
    given = parser.parse_args()
    if not given.one:
        found = measure(given)
        return show(found, len(given.references)) if found else None
    of, seed, about = given.one
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HUBFT_CACHE"] = f"{folder}/cache"
        from hubft.machine import process_setup

        process_setup.set_up()
        done = full if of == "full" else ranked
        line = done(given, int(seed), about if of == "full" else float(about), Path(folder))
    print(json.dumps(line | {"processor": sum(os.times()[:4])}))
    return None


if __name__ == "__main__":
    main()
