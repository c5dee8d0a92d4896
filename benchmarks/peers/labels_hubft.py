"""Ours, by its command: `hubft finetune timm:MODEL table.csv --target COLUMN --split split`, and flags as they are.

The task is found from the table; nothing but the columns is said. What is said in `hubft_.py` of time and caches holds
here. It predicts by `hubft.predict` on the package.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common
import hubft_
import labels_common
from labels_common import Said, Table

import hubft


def main() -> None:
    given = common.read(labels_common.parser(__doc__), flags=True)
    table = Table(given)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["--split", "split", *(word for column in given.target for word in ("--target", column))]
        clock = hubft_.finetune(given, given.data / "table.csv", run, words)
        answers = hubft.predict(run / "package", [row["image"] for row in table.parts["test"]])
        if wrong := next((answer for answer in answers if answer.error), None):
            raise SystemExit(f"{wrong.image}: {wrong.error}")
        said = {
            target.column: column([of(answer.said, target.column) for answer in answers]) for target in table.targets
        }
    labels_common.show("hubft", ["hubft"], given, clock, said)


def of(said: Mapping[str, Any], name: str) -> Any:
    """Return what an answer says of a column: a number, or the probability of each class or label."""
    found = said.get(name, said)  # several heads are told by their columns; a number by its own
    if isinstance(found, Mapping):
        found = found["probabilities"] if "probabilities" in found else found[name]
    return found


def column(found: list[Any]) -> Said:
    """Return what is said of all pictures, by label where probabilities are."""
    return {name: [one[name] for one in found] for name in found[0]} if isinstance(found[0], Mapping) else found


if __name__ == "__main__":
    main()
