"""What a fine-tune becomes on this machine: size, score and latency of its compressed and exported forms, to aims.

    python benchmarks/datasets.py mnist mnist/ --train 2400 --val 1000
    python benchmarks/datasets.py cifar cifar/ --from CIFAR10 --train 2000 --val 1000
    python benchmarks/deploy.py --mnist mnist/ --cifar cifar/ [--only NAME ...] [--seconds 60]

Each subject is fine-tuned by `hubft finetune`, once, ViT-tiny at 96 pixels and the others at 224, and compared by
`hubft benchmark` on one thread: candidates are timed in turn in one process. EfficientNet-Lite0 starts from ImageNet's
weights; ResNet-18 and ViT-tiny, whose weights are not to be had offline, from random ones
(benchmarks/students/hubconf.py). A candidate is a line of --out; what is there of this processor is not measured again.
Prints a table a subject, and whether its aim is reached.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import processor
from rich.console import Console
from rich.table import Table

from hubft.machine.processor import instruction_sets

HERE = Path(__file__).parent
RANDOM = "hub:{here}/students:student?name={name}"
TUNE = "--train all --layer-decay 1 --augment light --trust"
MATRIX = "int8,onnx,onnx:int8,openvino,openvino:bf16,openvino:int8,executorch:int8,aoti"
Line = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A model, how it is made, what is tried with it, and what must be reached."""

    data: str
    """The option that names its folder."""
    runs: tuple[tuple[str, str], ...]
    """Reference and options of each fine-tune, `{last}` being the one before."""
    against: str
    max_drop: float
    """Points that the best candidate may lose."""
    times: tuple[float, float]
    """How often as fast as the package in PyTorch the best one must be at batch 1: without AMX, and with it."""

    alone: str = ""
    """The only candidate that counts; empty where the best of all does."""

    def counts(self, name: str) -> bool:
        return name == (self.alone or name)

    def made(self, data: Path, work: Path, name: str) -> Path:
        """Return the folder of the finished run."""
        last = Path()
        for number, (reference, options) in enumerate(self.runs):
            folder = work / f"{name}-{number}"
            if not (folder / "package").exists():
                named = reference.format(here=HERE, last=last)
                hubft("finetune", named, str(data), *shlex.split(options), "--output", str(folder), "--workers", "0")
            last = folder
        return last


RESNET = (
    (RANDOM.format(here="{here}", name="resnet18"), f"--size 64 --epochs 12 --lr 0.003 {TUNE}"),
    ("package:{last}", f"--size 224 --epochs 4 --lr 0.001 --no-probe {TUNE}"),
)
VIT = (
    (
        RANDOM.format(here="{here}", name="vit_tiny_patch16_224&size=96"),
        f"--size 96 --epochs 20 --lr 0.001 --no-probe {TUNE}",
    ),
)
LITE = (("pip:efficientnet_lite0", "--size 224 --epochs 1"),)
SUBJECTS = {
    "resnet18": Subject("mnist", RESNET, MATRIX, 0.5, (5, 10)),
    "lite0": Subject("cifar", LITE, MATRIX, 1, (4, 4)),
    "vit_tiny": Subject("mnist", VIT, MATRIX, 0.5, (2, 3)),
    "resnet18-pruned": Subject("mnist", RESNET, "prune:0.5,prune:0.5+openvino:int8", 2, (2.5, 2.5), "prune:0.5"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--cifar", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60, help="of timing for each batch size")
    parser.add_argument("--work", type=Path, default=Path("runs/deploy"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "deploy.jsonl", metavar="FILE")
    given = parser.parse_args()
    for name in given.only:
        others = [other for other in given.only if other != name and SUBJECTS[other].runs == SUBJECTS[name].runs]
        show(name, SUBJECTS[name], [line for one in (name, *others) for line in measured(one, given)])


def hubft(*words: str) -> None:
    """Run a command on one thread."""
    subprocess.run([sys.executable, "-m", "hubft", *words, "--threads", "1"], check=True, stdout=sys.stderr)


def measured(name: str, given: argparse.Namespace) -> list[Line]:
    """Return the lines of a subject, the package as it is first; measured if not known of this processor."""
    subject, here = SUBJECTS[name], processor()
    known = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    if found := [line for line in known if (line["subject"], line["machine"]) == (name, here)]:
        return found
    data: Path = getattr(given, subject.data)
    run, folder = subject.made(data, given.work, name.partition("-")[0]), given.work / f"{name}-benchmark"
    hubft("benchmark", str(run), str(data), "--against", subject.against, "--max-drop", str(subject.max_drop),
          "--seconds", str(given.seconds), "--output", str(folder), "--trust")  # fmt: skip
    told = json.loads((folder / "benchmark.json").read_text())
    facts = {key: told[key] for key in ("samples", "headline", "instruction_sets", "threads", "torch")}
    lines = [{"subject": name, "machine": here, **facts, **{k: v for k, v in row.items() if k != "path"}}
             for row in told["rows"]]  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return lines


def show(name: str, subject: Subject, lines: list[Line]) -> None:
    """Print a row a candidate, and what the best that loses no more than may be lost has reached.

    :param lines: of the subject, and behind them of others with the same package.
    """
    first = lines[0]
    table = Table(title=f"{name}, {first['machine']}, {first['threads']} thread, {first['samples']} images")
    for head in ("candidate", "MB", first["headline"], "difference, points", "times as fast at 1, 32", "told"):
        table.add_column(head)
    for line in lines:
        if line["subject"] == name:
            table.add_row(line["name"], *cells(line), "; ".join(line["verdicts"]))
    Console(width=150).print(table)
    there = [line for line in lines if line["difference"] and subject.counts(line["name"])]
    good = [line for line in there if -100 * line["difference"]["value"] <= subject.max_drop]
    aim = subject.times["amx_int8" in instruction_sets()]
    best = max(good, key=lambda line: line["latency"]["1"]["ratio"], default=first)
    reached = best["latency"]["1"]["ratio"]
    print(f"{name}: {best['name']} is {reached:.2f} times as fast at batch 1, at {subject.max_drop:g} points or less; "
          f"the aim is {aim:g}: {'reached' if reached >= aim else 'missed'}\n")  # fmt: skip


def cells(line: Line) -> list[str]:
    """Return what was measured of a candidate."""
    if line["failure"]:
        return ["-"] * 4
    apart = line["difference"]
    told = f"{100 * apart['value']:+.1f} [{100 * apart['low']:+.1f}, {100 * apart['high']:+.1f}]" if apart else "-"
    ratios = ", ".join(f"{one['ratio']:.2f}" for one in line["latency"].values())
    return [f"{line['size'] / 1e6:.1f}", f"{line['score']['value']:.3f}", told, ratios]


if __name__ == "__main__":
    main()
