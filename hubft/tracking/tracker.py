"""What a tool that tracks runs is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Value = str | int | float | bool
State = Literal["finished", "stopped", "failed"]
"""How a run ended; one that was stopped goes on later."""

Row = tuple[int, Mapping[str, float]]
"""A training step, and numbers by name."""

AT_ONCE = 200
PROJECT = "hubft"
"""Under which name a tool gathers runs, where its own environment variable says no other."""


@dataclass(frozen=True)
class Begin:
    """What a tracker begins with."""

    folder: Path
    """Its own, in that of the run; it is there."""
    name: str
    """Of the run."""
    config: Mapping[str, Value]
    """The job in which nothing is left to choose, a field each, by dotted name."""
    token: str = ""
    """By which the run may be known, the same whenever it begins: two processes that begin it begin one run."""
    known: str = ""
    """By what the tool knows the run, where it was begun before: then it goes on."""


class Tracker(Protocol):
    """A run in a tool. Whatever a method raises is told at the end of the run, and tried again where that may help."""

    known: str
    """By what the tool knows the run."""
    at_once: bool
    """Whether a number has arrived when `values` returns; else when `end` does."""
    where: str
    """Where to look at it: an address, or what to type."""
    note: str
    """What its user should know besides."""

    def values(self, rows: Sequence[Row]) -> None:
        """Add numbers, those of AT_ONCE training steps at most."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """Add a PNG."""

    def report(self, path: Path) -> None:
        """Add the page of the run."""

    def package(self, manifest: Path, sha256: str) -> None:
        """Add the package as an artifact: its manifest, which has the sha256 of each file, and the digest of that."""

    def end(self, state: State) -> None:
        """Have everything written, and the run closed."""


class Kind(Protocol):
    """A module with a tracker."""

    @property
    def LIBRARIES(self) -> tuple[str, ...]:
        """Modules without which it does not work; the extra of its name installs them."""

    def opened(self, begin: Begin) -> Tracker:
        """Return the run in the tool, begun or gone on with."""
