"""The process of one tracker, fed by lines of JSON on its standard input.

The first line is a `Begin`, the others are lists of messages, of which the last says how the run ended. Where that
never comes, the run was killed: it goes on later, and what is here already is delivered.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import IO

from filelock import FileLock

from hubft.job import Tracker
from hubft.tracking.delivery import Delivery
from hubft.tracking.table import TRACKERS
from hubft.tracking.tracker import Begin

ORPHANED = 60.0  # seconds that are left to a process whose run was killed
LOCK = "tracked.lock"  # in the folder of a tracker
NICE = 5  # of 19: the run comes first
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Environment variables by which libraries tell their makers nothing of their use, unless the user set them."""


def main(name: Tracker) -> None:
    """Serve one run of the tracker of this name, behind all else that the machine has to do."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICE)
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    serve(name, sys.stdin)


def serve(name: Tracker, lines: IO[str]) -> None:
    """Hand the messages of a run to a tracker until the run ends."""
    first = json.loads(lines.readline())
    begin = Begin(Path(first["folder"]), first["name"], first["config"])
    with FileLock(begin.folder / LOCK):  # of a run that was killed a moment ago, another process may be at work yet
        _deliver(Delivery(TRACKERS[name], begin), lines)


def _deliver(delivery: Delivery, lines: IO[str]) -> None:
    for line in lines:
        try:
            *messages, last = json.loads(line)
        except ValueError:
            break  # cut short
        if "end" in last:
            delivery.take(messages)
            delivery.end(last["end"])
            return
        delivery.take([*messages, last])
    watch = threading.Timer(ORPHANED, os._exit, (1,))
    watch.daemon = True
    watch.start()
    try:
        delivery.end("stopped")
    finally:
        watch.cancel()
