"""What the drivers share that learn from a table of `benchmarks/labels.py`: its columns, and what is said of its test.

It runs in the environment of each system, so it needs no more than `common.py` does.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import common
import torch
from torch import Tensor, nn

Said = list[float] | dict[str, list[float]]  # of each picture a number; or of each class or label its probability
KINDS = ("regression", "multilabel", "several")
SEPARATOR = ";"


def parser(description: str | None) -> argparse.ArgumentParser:
    made = common.parser(description, "folder with table.csv and images/")
    made.add_argument("--kind", choices=KINDS, required=True)
    made.add_argument("--target", nargs="+", required=True, metavar="COLUMN", help="columns with the labels")
    made.add_argument("--predictions", type=Path, required=True, help="JSON file for what is said of the test part")
    return made


@dataclass(frozen=True)
class Target:
    """A column to learn; `names` are its classes or labels, none where it holds numbers."""

    column: str
    names: tuple[str, ...] = ()
    many: bool = False
    """Whether a cell has any number of them."""
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def outputs(self) -> int:
        return len(self.names) or 1

    def encoded(self, cell: str) -> list[float]:
        """Return a number in units of the deviation, the place of a class, or a 0 or 1 for each label."""
        if self.many:
            there = cell.split(SEPARATOR)
            return [float(name in there) for name in self.names]
        return [float(self.names.index(cell))] if self.names else [(float(cell) - self.mean) / self.deviation]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.many:
            return nn.functional.binary_cross_entropy_with_logits(outputs, targets)
        if self.names:
            return nn.functional.cross_entropy(outputs, targets[:, 0].long())
        return nn.functional.mse_loss(outputs, targets)

    def said(self, outputs: Tensor) -> Said:
        """Return what raw outputs mean, numbers in the unit of the table."""
        if not self.names:
            return (outputs[:, 0].double() * self.deviation + self.mean).tolist()
        shares = outputs.sigmoid() if self.many else outputs.softmax(1)
        return dict(zip(self.names, shares.T.tolist(), strict=True))


class Table:
    """The rows of each part, and what is to be learned from those to train on."""

    def __init__(self, given: argparse.Namespace) -> None:
        with (given.data / "table.csv").open(encoding="utf-8", newline="") as file:
            rows = [row | {"image": str(given.data / row["image"])} for row in csv.DictReader(file)]
        self.parts = {part: [row for row in rows if row["split"] == part] for part in ("train", "val", "test")}
        self.targets = [self._target(column, given.kind) for column in given.target]

    def _target(self, column: str, kind: str) -> Target:
        cells = [row[column] for row in self.parts["train"]]
        if kind == "multilabel":
            return Target(column, tuple(sorted({name for cell in cells for name in cell.split(SEPARATOR)})), many=True)
        try:
            numbers = torch.tensor([float(cell) for cell in cells], dtype=torch.float64)
        except ValueError:
            return Target(column, tuple(sorted(set(cells))))
        return Target(column, mean=float(numbers.mean()), deviation=float(numbers.std()))


def show(
    system: str, libraries: list[str], given: argparse.Namespace, clock: common.Clock, said: Mapping[str, Said]
) -> None:
    """Write what is said of each picture of the test part, in the order of the table, and print the run's line."""
    given.predictions.parent.mkdir(parents=True, exist_ok=True)
    given.predictions.write_text(json.dumps(said), encoding="utf-8")
    found = {"kind": given.kind, "target": given.target, "predictions": str(given.predictions)}
    common.show(system, libraries, given, clock, **found)
