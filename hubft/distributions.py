"""What installed distributions announce in their metadata, also where that of a neighbour is malformed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import Distribution
from typing import Any

OWN = "hubft"  # the distribution of the families of this repository
UNKNOWN = "unknown"  # one whose name cannot be read
DISABLE = "HUBFT_DISABLE_FAMILIES"
"""Environment variable: families and distributions, by commas, that are left alone; `all` are those of others."""
DISABLED = f"disabled by {DISABLE}"


@dataclass(frozen=True)
class Family:
    """What is known of a family from metadata alone."""

    name: str
    """Empty where the distribution's entry_points.txt cannot be read."""
    module: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()
    """What it implements; only known once it was imported."""
    problem: str = ""
    """Why it cannot be used, in one line, or DISABLED; empty if nothing is known against it."""

    @property
    def disabled(self) -> bool:
        return self.problem == DISABLED

    @property
    def removal(self) -> tuple[str, ...]:
        """The command that takes its distribution away; none for hubft's own."""
        return () if self.distribution in (OWN, UNKNOWN) else (f"pip uninstall {self.distribution}",)

    def line(self, why: str, *cures: str) -> str:
        """Return in one line which family it is, why it cannot be used, and what to type."""
        who = f"family {self.name!r}" if self.name else "a family"
        cure = f"; try: {', or '.join(cures)}" if cures else ""
        return " ".join(f"{who} of {self.distribution} {self.version} {why}{cure}".split())


def announced(group: str) -> list[Family]:
    """Return the families of an entry point group; a distribution that cannot be read is one, with its problem."""
    try:
        entries = importlib.metadata.entry_points(group=group)
        return [_family(entry.name, entry.value, entry.dist) for entry in entries]
    except Exception:  # one malformed file raises for all, and says not whose it is
        return list(_one_by_one(group))


def _one_by_one(group: str) -> Iterator[Family]:
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            entries = distribution.entry_points.select(group=group)
            found = [_family(entry.name, entry.value, distribution) for entry in entries]
        except Exception as error:
            why = f"its entry_points.txt is malformed ({type(error).__name__}: {error})"
            found = [_family("", "", distribution, why)] if _may_be_of(distribution, group) else []
        if found and found[0].distribution not in seen:  # the first on the path is the one that is imported
            yield from found
            seen.add(found[0].distribution)


def _may_be_of(distribution: Distribution, group: str) -> bool:
    """Whether a malformed entry_points.txt names the group: others are no concern of ours."""
    try:
        return group in (distribution.read_text("entry_points.txt") or "")
    except ValueError:  # no UTF-8: nobody knows
        return True


def _family(name: str, module: str, distribution: Distribution | None, problem: str = "") -> Family:
    owner, version = UNKNOWN, ""
    try:
        metadata: Any = distribution.metadata if distribution else {}
        if "Name" in metadata and "Version" in metadata:
            owner, version = metadata["Name"], metadata["Version"]
        else:
            problem = problem or "its METADATA is missing, or has no name or no version"
    except Exception as error:
        problem = problem or f"its METADATA is malformed ({type(error).__name__}: {error})"
    if owner == UNKNOWN and distribution:
        owner = _folder(distribution)
    family = Family(name, module, owner, version)
    return replace(family, problem=problem and family.line(f"is unusable: {problem}", *family.removal))


def _folder(distribution: Distribution) -> str:
    """Return the name by which pip uninstalls a distribution whose METADATA cannot be read."""
    try:
        folders = [file.parent.name for file in distribution.files or () if file.parent.suffix == ".dist-info"]
    except Exception:  # RECORD is as foreign as the rest
        folders = []
    return folders[0].partition("-")[0] if folders else UNKNOWN
