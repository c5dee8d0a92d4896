"""What a teacher is worth: a student fine-tuned with it, beside the same student without, seed by seed.

    python benchmarks/datasets.py digits digits/ --train 400 --val 600
    python benchmarks/distill.py --data digits/ [--teacher pip:efficientnet_lite0] [--student lcnet_050]
        [--per-class N] [--seeds 0 1 2] [--teach "--epochs 4 --size 64"] [--learn OPTIONS] [--how OPTIONS]

The teacher is fine-tuned once on the same training images, for all seeds and students. A student without a colon is a
model of timm with random weights (benchmarks/students/hubconf.py), one with a colon any reference. Each run is a line
of --out; what is there is not run again. Prints the difference with its 95 % interval, paired by seed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from compare import interval
from machine import processor
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
LEARN = "--epochs 20 --size 32 --train all --lr 0.003 --layer-decay 1 --augment none"
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="with train/ and val/")
    parser.add_argument("--per-class", type=int, default=0, metavar="N", help="training images; 0 takes all")
    parser.add_argument("--teacher", default="pip:efficientnet_lite0", metavar="REFERENCE")
    parser.add_argument("--student", default="lcnet_050", metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--teach", default="--epochs 4 --size 64", help="options of the teacher's fine-tune")
    parser.add_argument("--learn", default=LEARN, help="options of the student's fine-tune")
    parser.add_argument("--how", default="", help="options of teaching, as --temperature 4 --imitation 0.9")
    parser.add_argument("--work", type=Path, default=Path("runs/distill"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "distill.jsonl", metavar="FILE")
    given = parser.parse_args()
    data = part_of(given.data, given.per_class, given.work)
    teacher = given.work / f"teacher-{slug(given.teacher)}-{slug(given.teach)}-{data.name}"
    if not (teacher / "package").exists():
        hubft("finetune", given.teacher, str(data), *shlex.split(given.teach), "--output", str(teacher))
    known = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    lines = [run(data, teacher, given, seed, known) for seed in given.seeds]
    show(lines)


def hubft(*words: str) -> None:
    """Run a command on one thread, without worker processes: seeds are compared, not times."""
    machine = ["--device", "cpu", "--threads", "1", "--workers", "0", "--precision", "fp32"]
    subprocess.run([sys.executable, "-m", "hubft", *words, *machine], check=True, stdout=sys.stderr)


def slug(text: str) -> str:
    """Return a text as a part of a file's name."""
    return "".join(c if c.isalnum() else "-" for c in text).strip("-") or "default"


def part_of(data: Path, number: int, work: Path) -> Path:
    """Return the folder, or a copy with so many training images of each class, the first by name."""
    if not number:
        return data.resolve()
    part = work.resolve() / f"{data.name}-{number}"
    if not part.exists():
        unfinished = part.with_name(f".{part.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        for folder in sorted((data / "train").iterdir()):
            (unfinished / "train" / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:number]:
                shutil.copy(file, unfinished / "train" / folder.name)
        shutil.copytree(data / "val", unfinished / "val")
        unfinished.rename(part)
    return part


def run(data: Path, teacher: Path, given: argparse.Namespace, seed: int, known: list[Line]) -> Line:
    """Return the line of a seed, run if it is not known."""
    asked = {
        "data": data.name, "teacher": given.teacher, "teach": given.teach, "student": given.student,
        "learn": given.learn, "how": given.how, "seed": seed,
    }  # fmt: skip
    for line in known:
        if all(line.get(key) == value for key, value in asked.items()):
            return line
    own = f"hub:{HERE / 'students'}:student?name={given.student}"
    reference = given.student if ":" in given.student else own
    folder = given.work / f"{slug(given.student)}-{slug(given.learn)}-{slug(given.how)}-{data.name}-{seed}"
    options = [*shlex.split(given.learn), *shlex.split(given.how), "--seed", str(seed)]
    if not (folder / "package").exists():
        hubft("distill", str(teacher), reference, str(data), *options, "--output", str(folder), "--trust")
    results = json.loads((folder / "report" / "results.json").read_text())
    beside, headline = results["beside"], results["metrics"]["headline"]
    without = beside["without"] or {}
    line = asked | {
        "headline": headline,
        "teacher_reached": beside["teacher"][headline]["value"],
        "without": without.get(headline, {}).get("value"),
        "taught": results["metrics"][headline]["value"],
        "difference": beside["difference"],
        "sizes": [numbers(folder / "package"), numbers(teacher / "package")],
        "machine": processor(),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return line


def numbers(package: Path) -> int:
    """Return the bytes of a package's weights."""
    return (package / "model.safetensors").stat().st_size


def show(lines: list[Line]) -> None:
    """Print a row a seed, and the mean of the paired differences with its 95 % interval over the seeds."""
    first = lines[0]
    small, large = first["sizes"]
    table = Table(
        title=f"{first['student']}, {small / large:.2f} of the size of {first['teacher']}, {first['machine']}"
    )
    for head in ("seed", "teacher", "without", "taught", "difference on the same images, 95 % interval"):
        table.add_column(head)
    for line in lines:
        found = line["difference"] or {}
        told = f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]" if found else "not measured"
        reached = (line["teacher_reached"], line["without"], line["taught"])
        table.add_row(str(line["seed"]), *("-" if one is None else f"{one:.3f}" for one in reached), told)
    Console().print(table)
    differences = [line["difference"]["value"] for line in lines if line["difference"]]
    print(f"the teacher is worth {interval(differences, '{:+.4f}'.format)}, {len(differences)} seeds, paired")


if __name__ == "__main__":
    main()
