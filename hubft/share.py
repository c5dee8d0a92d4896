"""What is published, and what is fetched: from a run to the Hugging Face Hub, and from there to a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hubft.console import Console


@dataclass(frozen=True)
class Pushed:
    """A package as it lies on the Hub."""

    name: str
    """owner/name"""
    revision: str
    """Of the commit that holds it, 40 hex digits."""
    manifest: str
    """sha256 of its hubft.json."""
    private: bool
    """Whether only its owner can read it."""


def push(
    source: str | Path,
    name: str,
    *,
    private: bool | None = None,
    revision: str = "",
    message: str = "",
    console: Console | None = None,
) -> Pushed:
    """Return the package of a run or folder as it now lies on the Hub."""
    raise NotImplementedError
