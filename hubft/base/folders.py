"""Folders that are made beside their place: a crash leaves the old one or the new one, and the next one sweeps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hubft.base.files import beginning

LONGEST = 50  # characters of a name in that of a temporary folder: a name has 255 bytes at most
NEW = 2.0  # seconds in which a folder may not have its lock yet


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to be filled that gets this path, which is free or an empty folder, when that went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as temporary:
        new = temporary / "new"
        new.mkdir()  # not the temporary folder itself, which nobody else may read
        yield new
        new.rename(path)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give an empty folder beside a path, to make in it what shall lie there; in the end it is gone.

    It is locked while its process lives: what killed processes left of the same path is removed, and what others
    write is let be. Where the system has no such locks, as Windows, leftovers stay.
    """
    name = f"{beginning(path.name[:LONGEST])}-"
    with TemporaryDirectory(dir=path.parent, prefix=name) as temporary, _held(own := Path(temporary)):
        with suppress(OSError):
            for one in path.parent.iterdir():
                if one.name.startswith(name) and one.is_dir() and not one.is_symlink() and one != own:
                    _sweep(one, own.stat().st_mtime)
        yield own


def _sweep(folder: Path, now: float) -> None:
    """Remove a folder that no living process writes."""
    with _held(folder) as alone, suppress(OSError):
        if alone and now - folder.stat().st_mtime > NEW:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a folder for this process until it ends, and tell whether that went well."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    handle = None
    try:
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except OSError:  # another process has it, or its file system knows no locks
        alone = False
    try:
        yield alone
    finally:
        if handle is not None:
            os.close(handle)
