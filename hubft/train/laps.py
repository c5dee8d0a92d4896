"""What the parts of some work take, one after the other."""

from __future__ import annotations

import time


class Laps:
    """Seconds of wall time by part, of work whose parts follow one another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.begin()

    def begin(self) -> None:
        """Let the next part begin now: what was done since the last one counts for nothing."""
        self.since = time.perf_counter()

    def end(self, part: str) -> None:
        """Count the time since the last part ended for this one."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self.since
        self.since = now

    def taken(self) -> dict[str, float]:
        """Return the seconds of each part, and begin anew."""
        found, self.seconds = self.seconds, {}
        return found
