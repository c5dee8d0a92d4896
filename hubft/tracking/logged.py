"""A run in a tool that is told as Weights & Biases is: its `log`, its images and its artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hubft.tracking.tracker import Row


class Logged:
    """What W&B and trackio share, whose library was written to be imported in its place."""

    at_once = False
    known: str
    library: Any
    run: Any

    def values(self, rows: Sequence[Row]) -> None:
        for step, values in rows:
            self.run.log(dict(values), step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        self.run.log({name: self.library.Image(str(path))}, step=step)

    def report(self, path: Path) -> None:
        self._artifact("report", path, {})

    def package(self, manifest: Path, sha256: str) -> None:
        self._artifact("package", manifest, {"sha256": sha256})

    def _artifact(self, kind: str, path: Path, facts: dict[str, str]) -> None:
        its = self.library.Artifact(f"{kind}-{self.known}", kind, metadata=facts)
        its.add_file(str(path), name=path.name)
        self.run.log_artifact(its)
