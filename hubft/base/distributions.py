"""What installed distributions announce in their metadata, also where that of a neighbour is malformed."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

GROUP = "hubft.families"  # of entry points
OWN = "hubft"  # the distribution of the families of this repository
UNKNOWN = "unknown"  # one whose name cannot be read
DISABLE = "HUBFT_DISABLE_FAMILIES"
"""Environment variable: families and distributions, by commas, that are left alone; `all` are those of others."""
DISABLED = f"disabled by {DISABLE}"


@dataclass(frozen=True)
class Family:
    """What is known of a family from metadata alone."""

    name: str
    """Empty where the distribution's entry_points.txt cannot be read: any distribution's, family or not."""
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
        who = f"family {self.name!r} of " if self.name else ""
        cure = f"; try: {', or '.join(cures)}" if cures else ""
        return " ".join(f"{who}{self.distribution} {self.version} {why}{cure}".split())


def repository() -> str:
    """Return owner/name of hubft's public repository on GitHub; nothing while it has none, or is not installed.

    pyproject.toml says it, under `[project.urls]`, as `Repository`: all that is printed for strangers follows.
    """
    try:
        urls = importlib.metadata.metadata(OWN).get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = (re.fullmatch(r"Repository, https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", url) for url in urls)
    return next((match[1] for match in found if match), "")


def installs(extra: str) -> str:
    """Return the command that installs an extra of hubft."""
    return f"pip install '{OWN}[{extra}]'"


def missing(libraries: str, cure: str) -> str:
    """Return the words for libraries that are not installed, behind what needs them.

    :param cure: what to do, as `installs` gives it.
    """
    return f"needs {libraries}, which is not installed: {cure}"


def announced() -> list[Family]:
    """Return the families that are announced, and whatever distribution cannot be read, with its problem.

    The files of hundreds of distributions are read again only where a folder of the import path has changed.
    """
    return list(_announced(tuple((place, *_state(Path(place))) for place in sys.path)))


def _state(folder: Path) -> tuple[int, ...]:
    """Return what is another where something was put into a folder or taken out of it."""
    try:
        found = folder.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=1)
def _announced(path: tuple[tuple[str | int, ...], ...]) -> list[Family]:
    """Read all of it, for a state of the import path."""
    try:
        entries = importlib.metadata.entry_points(group=GROUP)
        return [_family(entry.name, entry.value, entry.dist) for entry in entries]
    except Exception:  # one malformed file raises for all, and says not whose it is
        return list(_one_by_one())


def culprit(error: BaseException) -> str:
    """Return which distributions are behind an error, where that is malformed metadata; else nothing.

    `import torch` reads the entry points of all distributions: then it fails, whoever asks for it.
    """
    code = importlib.metadata.entry_points.__code__
    if all(frame.f_code is not code for frame, _ in traceback.walk_tb(error.__traceback__)):
        return ""
    return "; ".join(sorted(family.problem for family in announced() if not family.name))


def _one_by_one() -> Iterator[Family]:
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            entries = distribution.entry_points.select(group=GROUP)
            found = [_family(entry.name, entry.value, distribution) for entry in entries]
        except Exception as error:
            why = (
                f"its entry_points.txt is malformed ({type(error).__name__}: {error}), and torch, which reads it, fails"
            )
            found = [_family("", "", distribution, why)]
        if found and found[0].distribution not in seen:  # the first on the path is the one that is imported
            yield from found
            seen.add(found[0].distribution)


def _family(name: str, module: str, distribution: Distribution | None, problem: str = "") -> Family:
    folder = Path(getattr(distribution, "_path", ""))  # of its metadata; nothing public tells it
    owner, version = folder.name.partition("-")[0] or UNKNOWN, ""
    try:
        metadata: Any = distribution.metadata if distribution else {}
        if "Name" in metadata and "Version" in metadata:
            owner, version = metadata["Name"], metadata["Version"]
        else:
            problem = problem or "its METADATA is missing, or has no name or no version"
    except Exception as error:
        why = f"its METADATA is malformed ({type(error).__name__}: {error})"
        if type(error).__name__ == "MetadataNotFound":  # of importlib_metadata, which reads all where it is installed
            why = "its METADATA is missing, or has no name or no version"
        problem = problem or why
    family = Family(name, module, owner, version)
    # Pip reads the same files, and cannot uninstall what it cannot read.
    return replace(family, problem=problem and family.line(f"is unusable: {problem}", f"delete {folder}"))
