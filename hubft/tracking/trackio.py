"""trackio: a SQLite file in the run's folder, or what its own environment variables say."""

from __future__ import annotations

import os
import shlex

from hubft.tracking.logged import Logged
from hubft.tracking.tracker import PROJECT, Begin, State

LIBRARIES = ("trackio",)
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class Trackio(Logged):
    note = ""

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

    def end(self, state: State) -> None:
        self.run.finish()


def opened(begin: Begin) -> Trackio:
    """Return the run in trackio."""
    return Trackio(begin)
