"""What it saves to go through options in one process: a sweep of 20 trials to 20 separate runs of the same points.

    python benchmarks/sweep.py --data DATA [--size 128] [--trials 20] [--runs 20]

The head alone trains, on features that are in the cache before the clock runs, for both. A sweep is one command: the
recipe as it is and the run of the best, with its report and package, are in its time. The separate runs are commands
too, each with the options of one trial; with --runs only so many are done, and counted as all. Wall time, and the
processor time of all processes: only the second holds where others compute on the same cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OVER = ("--over", "lr=1e-5..1e-2", "--over", "dropout=0..0.5", "--over", "weight_decay=1e-3..0.3")


def taken(words: list[str]) -> tuple[float, float]:
    """Return the wall and the processor seconds of a command."""
    wall, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "hubft", *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    user, system = (getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))
    return time.perf_counter() - wall, user + system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="pip:efficientnet_lite0")
    parser.add_argument("--size", default="128")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--runs", type=int, default=0)
    asked = parser.parse_args()
    common = [asked.model, asked.data, "--train", "head", "--size", asked.size, "--threads", "1", "--workers", "0"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HUBFT_CACHE"] = f"{folder}/cache"
        taken(["sweep", *common, *OVER, "--trials", "1", "--output", f"{folder}/warm"])  # the features of both
        sweep = taken(["sweep", *common, *OVER, "--trials", str(asked.trials), "--output", f"{folder}/sweep"])
        found: dict[str, Any] = json.loads(Path(folder, "sweep", "sweep.json").read_text(encoding="utf-8"))
        runs = []
        for row in found["trials"]:
            if row["trial"] is not None and len(runs) < (asked.runs or asked.trials):
                options = [word for name, value in row["options"].items() for word in (f"--{name}", value)]
                options = [word.replace("_", "-") if word.startswith("--") else word for word in options]
                runs.append(taken(["finetune", *common, *options, "--output", f"{folder}/run-{row['trial']}"]))
    states = [row["state"] for row in found["trials"] if row["trial"] is not None]
    wall, processor = (len(states) * sum(one) / len(runs) for one in zip(*runs, strict=True))
    ended = f"{len(states)} trials, {states.count('given up')} given up"
    print(f"sweep    {ended}: {sweep[0]:.1f} s, {sweep[1]:.1f} s of CPU")
    print(f"runs     {len(states)}, of which {len(runs)} were done: {wall:.1f} s, {processor:.1f} s of CPU")
    print(f"ratio    {sweep[0] / wall:.3f} of the time, {sweep[1] / processor:.3f} of the CPU time")
    print(f"winner   {found['next']}")


if __name__ == "__main__":
    main()
