"""trackio: a SQLite file in the run's folder, or what its own environment variables say."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from hubft.tracking.tracker import PROJECT, Begin, Row, State

LIBRARIES = ("trackio",)
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class Trackio:
    at_once, note = False, ""

    def __init__(self, begin: Begin) -> None:
        folder = os.environ.setdefault("TRACKIO_DIR", str(begin.folder.resolve()))  # read when it is imported
        import trackio

        self.library = trackio
        # It goes on with the run of a name, so that no two runs may share one.
        self.known = begin.known or f"{begin.name}-{begin.token}"
        self.run = trackio.init(
            PROJECT,
            name=self.known,
            resume="allow",
            config=dict(begin.config),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        there = next((os.environ[name] for name in ELSEWHERE if os.environ.get(name)), "")
        self.where = there or f"TRACKIO_DIR={shlex.quote(folder)} trackio show --project {PROJECT}"

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

    def end(self, state: State) -> None:
        self.run.finish()


def opened(begin: Begin) -> Trackio:
    """Return the run in trackio."""
    return Trackio(begin)
