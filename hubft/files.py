"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hubft.text import readable_json


def beginning(name: str) -> str:
    """Return what a file or folder is called until it is complete."""
    return f".writing-{name}"


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(beginning(path.name))
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON that can be shown on a terminal, non-finite numbers refused, as `write_text` does."""
    write_text(path, readable_json(value) + "\n")


def cache(kind: str) -> Path:
    """Return the folder that keeps things of a kind from run to run: below `$HUBFT_CACHE`, or `~/.cache/hubft`."""
    return Path(os.environ.get("HUBFT_CACHE") or Path.home() / ".cache" / "hubft") / kind


def fsync(path: Path) -> None:
    """Have a file's bytes, or a folder's entries, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to be filled that gets this path, which is free or an empty folder, when that went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:100]}-") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()  # not the temporary folder itself, which nobody else may read
        yield new
        new.rename(path)
