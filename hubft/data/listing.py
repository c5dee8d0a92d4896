"""What lies in a folder of images: which files and folders count, and why the others do not.

Hidden files are ignored in silence. A folder that does not count is told with its reason: one that is hidden, one that
hubft wrote, a link that leads nowhere or back to images that are read anyway. Any other link is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from hubft.base import files
from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.data.formats import recognised

SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx")  # hidden on the system that makes them
HIDDEN = "hidden"
OURS = "written by hubft"
BACK = "a link to what is read anyway"
NOWHERE = "a link that leads nowhere"


@dataclass
class Found:
    """What counts below a folder, sorted by name, and what does not."""

    folders: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    passed: dict[Path, str] = field(default_factory=dict)
    """Folder -> why it does not count."""


def inside(folder: Path) -> Found:
    """Return the folders and files in a folder, not in those below it.

    :raises DataError: it cannot be read.
    """
    found, root = Found(), os.path.realpath(folder)
    for entry in _entries(folder):
        path, leads = Path(entry), _is_folder(entry)
        if _hidden(entry.name):
            if leads:
                found.passed[path] = HIDDEN
        elif not leads:
            found.files.append(path)
            if entry.is_symlink() and not path.exists():
                found.passed[path] = NOWHERE
        elif reason := _reason(entry, root):
            found.passed[path] = reason
        elif _only_ours(path):
            found.passed[path] = OURS
        else:
            found.folders.append(path)
    return found


def below(folder: Path, root: Path) -> Found:
    """Return all files below a folder, sorted; hidden folders in it are ignored as hidden files are.

    :param root: the folder of which all is read: a link that leads back into it, or to what holds it, is passed.
    :raises DataError: a folder cannot be read.
    """
    found = Found()
    found.files = sorted(_walk(folder, os.path.realpath(root), found.passed))
    return found


def _walk(folder: Path, root: str, passed: dict[Path, str]) -> Iterator[Path]:
    """Yield the files below a folder, each real folder once."""
    ahead, seen = [folder], {_identity(folder)}
    while ahead:
        for entry in _entries(ahead.pop()):
            if _hidden(entry.name):
                continue
            if not _is_folder(entry):
                yield Path(entry)
            elif reason := _reason(entry, root) or (BACK if _identity(entry) in seen else ""):
                passed[Path(entry)] = reason
            else:
                seen.add(_identity(entry))
                ahead.append(Path(entry))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{str(folder)!r} cannot be read: {error.strerror or error}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return Path(entry).is_dir() if entry.is_symlink() else entry.is_dir()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _identity(folder: os.PathLike[str]) -> tuple[int, int]:
    found = Path(folder).stat()
    return found.st_dev, found.st_ino


def _reason(entry: os.DirEntry[str], root: str) -> str:
    """Return why a folder does not count, or nothing."""
    if entry.is_symlink():
        target, whole = Path(os.path.realpath(entry)), Path(root)
        if target.is_relative_to(whole) or whole.is_relative_to(target):
            return BACK
    return OURS if files.ours(Path(entry)) else ""


def _only_ours(folder: Path) -> bool:
    """Tell whether a folder holds what hubft wrote and no image beside it, as the folder of all runs does."""
    entries = [entry for entry in _entries(folder) if not _hidden(entry.name)]
    inner = [Path(entry) for entry in entries if _is_folder(entry)]
    return (
        bool(inner)
        and all(not path.is_symlink() and (files.ours(path) or _only_ours(path)) for path in inner)
        and not any(recognised(Path(entry)) for entry in entries if not _is_folder(entry))
    )


def told(passed: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each reason, which names what does not count.

    :param passed: path as it is shown -> reason.
    """
    for reason, paths in groupby(sorted(passed, key=lambda path: (passed[path], path)), key=lambda path: passed[path]):
        yield f"not used, {reason}: {listed(paths)}"


def shown(path: Path, folder: Path) -> str:
    """Return a path below `folder` as text that can be written."""
    return printable(path.relative_to(folder).as_posix())


def printable(place: str) -> str:
    """Return a path as text that can be written, whatever bytes the file's name has."""
    return os.fsencode(place).decode("utf-8", "backslashreplace")
