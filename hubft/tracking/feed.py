"""The way of a run's numbers to one tracker: a list, a thread that empties it, a process that may do as it likes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from hubft.tracking.delivery import Tracked
from hubft.tracking.tracker import AT_ONCE, Begin, State

HERE = Path(__file__).parents[2]  # where hubft is imported from
EVERY = 0.5  # seconds between two deliveries to the process
LIMIT = 20_000  # steps that wait at most, where the tracker is slower than the run


class Feed:
    """One tracker of a run that goes. `put` costs microseconds, whatever the tracker does."""

    def __init__(self, name: str, begin: Begin) -> None:
        begin.folder.mkdir(exist_ok=True)
        self.name, self.folder, self.left_out = name, begin.folder, 0
        self.waiting: deque[dict[str, Any]] = deque()
        self.over = threading.Event()
        self.first = {"folder": str(begin.folder), "name": begin.name, "config": dict(begin.config)}
        code = (
            f"import sys; sys.path.insert(0, {str(HERE)!r}); from hubft.tracking import worker; worker.main({name!r})"
        )
        # What the libraries print goes nowhere, for it may name keys; in a session of its own Ctrl-C does not reach it;
        # and a folder `wandb` where the user works is not imported in place of the library (-P).
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
        self.thread = threading.Thread(target=self._run, name=f"track {name}", daemon=True)
        self.thread.start()

    def put(self, message: dict[str, Any]) -> None:
        """Have a message delivered; steps are left out where LIMIT of them wait."""
        if message.get("series") == "step" and len(self.waiting) >= LIMIT:
            self.left_out += 1
        elif self.thread.is_alive():  # else the process is gone
            self.waiting.append(message)

    def close(self, state: State) -> None:
        """Have the tracker end; `wait` tells how that went."""
        self.put({"end": state})
        self.over.set()

    def wait(self, deadline: float) -> Tracked:
        """Return what became of the run in the tracker, after it ended, or was ended.

        :param deadline: of `time.monotonic`, by which it must have come to its end.
        """
        self.thread.join(max(0.0, deadline - time.monotonic()))
        late = False
        try:
            code = self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            code, late = self.process.wait(), True
        found = Tracked.read(self.folder)
        if late:
            found.ended, found.trouble = False, found.trouble or "it did not come to an end in time"
        elif code:
            found.ended, found.trouble = False, found.trouble or f"its process ended with {code}"
        return found

    def _run(self) -> None:
        pipe = self.process.stdin
        assert pipe is not None, "it was asked for"
        try:
            with pipe:
                pipe.write(json.dumps(self.first) + "\n")
                pipe.flush()
                over = False
                while not over:
                    over = self.over.wait(EVERY)
                    while self.waiting:
                        its = [self.waiting.popleft() for _ in range(min(AT_ONCE, len(self.waiting)))]
                        pipe.write(json.dumps(its) + "\n")
                    pipe.flush()
        except OSError:  # the process is gone: `wait` says so
            self.waiting.clear()


def folder_of(name: str, run: Path) -> Path:
    """Return the folder of a tracker in that of a run."""
    return run / name
