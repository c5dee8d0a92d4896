"""How long a run and a load take after a change, beside the code of an earlier commit: whole commands, in turn.

    python benchmarks/before.py COMMIT [cached] [pace] [loading] [--rounds 7]

cached: ten head-only epochs, the frozen part computed once, its cache empty
pace: two epochs in which every weight trains
loading: `torch.hub.load` of the package that the side's own `pace` wrote, twenty times in one process after a first

Each round runs every command once by the code of COMMIT and once by that of this checkout as it stands, another one
first each time, on one thread. A command counts from its start to its end, with reading, checks, report and package.
Shown are the medians of both sides and the median of the rounds' ratios with its range, in wall and in processor time:
only the second holds where others compute on the same cores.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from machine import processor
from same import FIXED, LITE0, ROOT, digits, environment, worktree

RUNS = {
    "cached": ("--train", "head", "--no-probe", "--epochs", "10"),
    "pace": ("--train", "all", "--no-probe", "--epochs", "2"),
}
LOADING = """
import sys, time, torch
tree, package = sys.argv[1:]
def load(): torch.hub.load(tree, "finetuned", package, source="local")
load()
wall, processor = time.perf_counter(), time.process_time()
for _ in range(20): load()
print(time.perf_counter() - wall, time.process_time() - processor)
"""


@dataclass(frozen=True)
class Taken:
    """What a command took, in seconds."""

    wall: float
    processor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the code to compare with")
    parser.add_argument("what", nargs="*", default=[*RUNS, "loading"], help=", ".join([*RUNS, "loading"]))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    if unknown := set(given.what) - {*RUNS, "loading"}:
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join([*RUNS, 'loading'])}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with worktree(given.commit, folder / "before") as before:
            trees = {"before": before, "after": ROOT}
            data = digits(folder, train=320, val=80, test=80)
            print(f"{processor()}; torch {torch.__version__}; {given.rounds} rounds; one thread", flush=True)
            for what in given.what:
                show(what, rounds(what, trees, data, folder, given.rounds))


def rounds(what: str, trees: dict[str, Path], data: Path, folder: Path, count: int) -> list[dict[str, Taken]]:
    """Return what both sides took in each round, after one that does not count."""
    found = []
    for number in range(count + 1):
        order = [*trees] if number % 2 else [*reversed(trees)]
        found.append({side: once(what, side, trees[side], data, folder) for side in order})
    return found[1:]


def once(what: str, side: str, tree: Path, data: Path, folder: Path) -> Taken:
    if what in RUNS:
        return finetune(what, tree, data, folder)[1]
    kept = folder / f"kept-{side}"
    if not kept.exists():
        finetune("pace", tree, data, folder)[0].rename(kept)
    command = [sys.executable, "-c", LOADING, str(tree), str(kept / "package")]
    said = subprocess.run(
        command, cwd=folder, env=environment(tree, folder), capture_output=True, text=True, check=True
    )
    return Taken(*map(float, said.stdout.split()[-2:]))


def finetune(what: str, tree: Path, data: Path, folder: Path) -> tuple[Path, Taken]:
    """Return the folder of a run, and what the command took."""
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    command = [sys.executable, "-m", "hubft", "finetune", LITE0, str(data), *RUNS[what], *FIXED, "--output", str(run)]
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment(tree, run.parent), capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return run, Taken(wall, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime)


def show(what: str, found: list[dict[str, Taken]]) -> None:
    for clock in ("wall", "processor"):
        both = [(getattr(one["before"], clock), getattr(one["after"], clock)) for one in found]
        ratios = [after / before for before, after in both]
        before, after = (median(side) for side in zip(*both, strict=True))
        print(
            f"{what:8} {clock:9} before {before:.2f} s, after {after:.2f} s, after to before {median(ratios):.3f} "
            f"[{min(ratios):.3f}-{max(ratios):.3f}]",
            flush=True,
        )


if __name__ == "__main__":
    main()
