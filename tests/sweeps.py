"""A small sweep, and what it leaves."""

import json
from pathlib import Path
from typing import Any

HERE = ("--device", "cpu", "--workers", "0", "--threads", "1", "--size", "32", "--epochs", "2")
OVER = ("--over", "lr=1e-4..1e-1", "--over", "augment=light,none")


def table(folder: Path) -> Any:
    return json.loads((folder / "sweep.json").read_text())


def points(folder: Path) -> dict[int, Any]:
    """Return by the number of a trial what was tried, and the score that it came to."""
    rows = [row for row in table(folder)["trials"] if row["trial"] is not None]
    return {row["trial"]: (row["options"], row["score"], row["state"]) for row in rows}
