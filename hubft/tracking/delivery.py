"""What is on its way to one tracker: in order, tried again where it fails, and written down where it arrived."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from hubft.base.files import write_json
from hubft.tracking.redaction import line, redacted
from hubft.tracking.tracker import AT_ONCE, Begin, Kind, State, Tracker

FILE = "tracked.json"  # in the folder of a tracker
PAUSE = 10.0  # seconds until a tracker that failed is tried again
APART = 2.0  # seconds between two writings of FILE
KEPT = 100_000  # messages that wait for it


@dataclass
class Tracked:
    """What is known of a run in a tracker: tracked.json."""

    token: str = field(default_factory=lambda: secrets.token_hex(4))
    """Of its own."""
    known: str = ""
    """By what the tracker knows the run."""
    where: str = ""
    """Where to look at it."""
    note: str = ""
    sent: dict[str, int] = field(default_factory=dict)
    """The last step of each series that arrived: a run that goes on says none twice, and its bits are the same."""
    ended: bool = False
    """Whether the last process that worked on it came to its end."""
    lost: int = 0
    """Messages of that process that did not arrive."""
    trouble: str = ""
    """Why, in one line."""

    @property
    def complete(self) -> bool:
        """Whether the tracker has all that was to be told."""
        return self.ended and not self.lost

    @classmethod
    def read(cls, folder: Path) -> Tracked:
        """Return what the folder of a tracker says; nothing is known where it says nothing."""
        try:
            return cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Write it there."""
        write_json(folder / FILE, asdict(self))


class Delivery:
    """Messages to one tracker. Nothing here raises: what fails is written down."""

    def __init__(self, kind: Kind, begin: Begin) -> None:
        self.kind, self.begin = kind, begin
        self.tracked = Tracked.read(begin.folder)
        self.tracked.ended, self.tracked.lost, self.tracked.trouble = False, 0, ""
        self.sent = dict(self.tracked.sent)
        self.tracker: Tracker | None = None
        self.waiting: deque[dict[str, Any]] = deque()
        self.again = self.written = -math.inf  # when to try again, and when FILE was written

    def take(self, messages: Sequence[dict[str, Any]]) -> None:
        """Deliver messages, or keep them until the tracker answers; steps are left out where KEPT messages wait."""
        for message in messages:
            if message.get("series") == "step" and len(self.waiting) >= KEPT:
                self.tracked.lost += 1
            else:
                self.waiting.append(message)
        if time.monotonic() >= self.again:
            try:
                self._deliver()
            except Exception as error:
                self.tracked.trouble = line(error)
                self.again = time.monotonic() + PAUSE
            if time.monotonic() - self.written >= APART:
                self._write()

    def end(self, state: State) -> None:
        """Try what is left a last time, each file by itself, and close the run in the tracker."""
        while self.waiting:
            try:
                self._deliver()
            except Exception as error:
                self.tracked.trouble = line(error)
                if "file" not in self.waiting[0]:
                    break  # the next number would fail alike
                self.waiting.popleft()
                self.tracked.lost += 1
        self.tracked.lost += len(self.waiting)
        if self.tracker:
            try:
                self.tracker.end(state)
                self.tracked.sent = self.sent
            except Exception as error:
                self.tracked.trouble, self.tracked.lost = line(error), self.tracked.lost + 1
        self.tracked.ended = True
        self._write()

    def _deliver(self) -> None:
        if self.tracker is None:
            self._write()  # the token
            begin = replace(self.begin, token=self.tracked.token, known=self.tracked.known)
            self.tracker = self.kind.opened(begin)
            self.tracked.known, self.tracked.where = self.tracker.known, redacted(self.tracker.where)
            self.tracked.note = self.tracker.note
            self._write()
        while self.waiting:
            if "file" in self.waiting[0]:
                _hand(self.tracker, self.waiting[0])
                self.waiting.popleft()
            else:
                self._tell(self.tracker)

    def _tell(self, tracker: Tracker) -> None:
        """Tell the numbers that are first in the row, but for those that the tracker has already."""
        first = list(islice(takewhile(lambda message: "values" in message, self.waiting), AT_ONCE))
        sent, rows = dict(self.sent), []
        for message in first:
            if message["step"] > sent.get(message["series"], -1):
                sent[message["series"]] = message["step"]
                rows.append((message["step"], message["values"]))
        if rows:
            tracker.values(rows)
        self.sent = sent
        if tracker.at_once:
            self.tracked.sent = sent
        for _ in first:
            self.waiting.popleft()

    def _write(self) -> None:
        self.written = time.monotonic()
        with suppress(OSError):  # a full disk stops the run itself, which tells it
            self.tracked.write(self.begin.folder)


def _hand(tracker: Tracker, message: dict[str, Any]) -> None:
    path = Path(message["path"])
    if message["file"] == "picture":
        tracker.picture(message["name"], path, message["step"])
    elif message["file"] == "report":
        tracker.report(path)
    else:
        tracker.package(path, message["sha256"])
