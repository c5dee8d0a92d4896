"""Whether a change of the code leaves the bits of a run as they were: fixed runs of two commits, on one machine.

    python benchmarks/same.py COMMIT

Each run is made twice, by the code of COMMIT and by that of this checkout as it stands. The weights of both packages,
tensor by tensor, and the metrics must be equal; a line a run says so, and the exit code is 1 if one differs. Digests
are compared and not kept in a file: another processor or another torch gives other last bits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from machine import processor
from safetensors import safe_open

ROOT = Path(__file__).parents[1]
FIXED = (
    *("--size", "64", "--device", "cpu", "--threads", "1", "--workers", "0"),
    *("--precision", "fp32", "--memory-format", "contiguous", "--compile", "off"),
)
"""What would else be measured, and could come out in two ways."""
METRICS = ("accuracy", "loss", "confusion")  # that all commits give
LITE0 = "pip:efficientnet_lite0"
RUNS = {
    "default": (LITE0, "--epochs", "2"),
    "head on cached views": (LITE0, "--train", "head", "--views", "2", "--epochs", "3"),
    "stages, strong augmentation, parts": (
        *(LITE0, "--train", "head,last:2@0.5", "--augment", "strong", "--accumulate", "2", "--epochs", "2"),
        *("--smoothing", "0.1", "--hidden", "16", "--dropout", "0.2"),
    ),
    "no probe, sgd, norms": (LITE0, "--no-probe", "--optimizer", "sgd", "--schedule", "one-cycle", "--train", "all"),
    "delta in bf16": (LITE0, "--epochs", "1", "--package", "delta", "--compress", "bf16"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the code to compare with")
    commit = parser.parse_args().commit
    with tempfile.TemporaryDirectory() as name, worktree(commit, Path(name) / "before") as before:
        return compare(before, Path(name))


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """Give a folder with the code of a commit."""
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", folder, commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", folder], check=True)


def digits(folder: Path, **images: int) -> Path:
    """Make a set of digits with so many images in each of its parts."""
    maker = [sys.executable, str(ROOT / "benchmarks" / "datasets.py"), "digits", str(folder / "digits")]
    counts = [word for part, count in images.items() for word in (f"--{part}", str(count))]
    subprocess.run([*maker, *counts], check=True, capture_output=True)
    return folder / "digits"


def environment(tree: Path, folder: Path) -> dict[str, str]:
    """Return the variables of a command that runs the code of a tree, on one thread, with a cache in a folder."""
    paths = os.pathsep.join(str(path) for path in (tree, tree / "plugins"))
    return os.environ | {"PYTHONPATH": paths, "HUBFT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def compare(before: Path, folder: Path) -> int:
    """Print a line a run; return the exit code."""
    data = digits(folder, train=80, val=40, test=40)
    differ = 0
    for name, words in RUNS.items():
        first, second = (outcome(tree, (*words, str(data)), folder) for tree in (before, ROOT))
        differ += first != second
        print(f"{'the same' if first == second else 'NOT the same'}: {name}  {first[:12]} {second[:12]}", flush=True)
    print(processor())
    return int(differ > 0)


def outcome(tree: Path, words: tuple[str, ...], folder: Path) -> str:
    """Return the sha256 of the weights and metrics of a run by the code of a tree."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        run = Path(name) / "run"
        reference, *flags, data = words
        command = [sys.executable, "-m", "hubft", "finetune", reference, data, *flags, *FIXED]
        command += ["--output", str(run)]
        done = subprocess.run(
            command, cwd=name, env=environment(tree, run.parent), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        said = json.loads((run / "report" / "results.json").read_text(encoding="utf-8"))
        known = [{key: part and part[key] for key in METRICS} for part in (said["metrics"], said.get("test")) if part]
        for metrics in known:  # whatever else a later commit says of a number
            metrics["accuracy"] = {key: metrics["accuracy"][key] for key in ("value", "low", "high", "n")}
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
        [weights] = [*(run / "package").glob("model.safetensors"), *(run / "package").glob("delta.safetensors")]
        with safe_open(weights, "pt") as tensors:
            for key in sorted(tensors.keys()):
                tensor = tensors.get_tensor(key)
                digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
