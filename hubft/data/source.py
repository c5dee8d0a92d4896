"""Where the bytes of inputs come from when they are files: below one folder, named by paths with forward slashes."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from hubft.base.display import quoted
from hubft.base.errors import DataError

ODD = re.compile(r"[\\:\0]|^/|//|(?:^|/)\.{1,2}(?:/|$)|/$|^\s|\s$")  # a path without these is taken as it stands
DRIVE = re.compile(r"[A-Za-z]:/")


@dataclass(frozen=True)
class Folder:
    """The files below a folder."""

    root: Path

    def open(self, place: str) -> Path:
        """Return the file of this path below the folder.

        :raises DataError: it is not there, or no regular file.
        """
        path = self.root / place
        try:
            if path.is_file():
                return path
            raise DataError("not a regular file" if path.is_symlink() or path.exists() else "no such file")
        except (OSError, ValueError) as error:  # a name that no file system takes
            raise DataError(f"no such file: {getattr(error, 'strerror', '') or error}") from error


def below(text: str, root: Path, prefix: str = "") -> str:
    """Return a path of a table as one below its folder, with forward slashes and without detours.

    :param root: the folder; a path that is absolute must lead into it.
    :param prefix: what stands before a path that is not absolute: `train/`, or nothing.
    :raises DataError: why it names no file below the folder.
    """
    if not ODD.search(text):
        return prefix + text
    path = text.strip().replace("\\", "/")
    if "\0" in path:
        raise DataError("path holds a NUL")
    if "://" in path:
        raise DataError(f"{quoted(path)} is a URL, no file")
    if path.startswith("/"):
        path = _relative(posixpath.normpath(path), root)
    elif not DRIVE.match(path):
        path = posixpath.normpath(prefix + path)
    if DRIVE.match(path) or path.startswith("/") or path.split("/")[0] == "..":
        raise DataError(f"{quoted(text)} leads out of {str(root)!r}")
    if path == "." or text.rstrip().endswith(("/", "\\")):
        raise DataError(f"{quoted(text)} is a folder")
    return path


def _relative(path: str, root: Path) -> str:
    """Return an absolute path below the folder as a relative one; as it is where it lies elsewhere."""
    for folder in (os.path.normpath(root.absolute()), os.path.realpath(root)):
        if Path(path).is_relative_to(folder):
            return Path(path).relative_to(folder).as_posix()
    return path
