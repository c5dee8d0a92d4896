"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from hubft.errors import JobError
from hubft.text import readable_json

JOB = "job.json"  # of a run
MANIFEST = "hubft.json"  # of a package
MARK = ".hubft"  # of whatever else hubft writes: `marked` makes it


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(f".writing-{path.name}")
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
    whole = Path(os.environ.get("HUBFT_CACHE") or Path.home() / ".cache" / "hubft")
    with suppress(OSError):  # whoever keeps something there tells that it cannot be written
        marked(whole)
    return whole / kind


def marked(folder: Path) -> Path:
    """Make a folder where there is none, and mark it as written by hubft: it is never taken for somebody's data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder


def ours(folder: Path) -> bool:
    """Tell whether hubft wrote a folder: a run, also one that ended in its first moment, a package, a marked one."""
    if any((folder / name).is_file() for name in (MARK, MANIFEST, f".writing-{JOB}")):
        return True
    if not (folder / JOB).is_file():
        return False
    with (folder / JOB).open("rb") as file:  # others may call a file so: a run's names its model first
        return b'"reference"' in file.read(4096)


def fsync(path: Path) -> None:
    """Have a file's bytes, or a folder's entries, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def new_file(path: Path) -> Iterator[IO[str]]:
    """Give a buffer to be filled whose text lies at this path, which is free, when that went well.

    :raises JobError: something is there, or nothing can be written there: told before it is filled.
    """
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    buffer = StringIO()
    try:
        with _writing(path):
            if path.is_symlink() or path.exists():
                raise JobError(f"{str(path)!r} exists: nothing was written; name another file")
            temporary.touch(exist_ok=False)
        yield buffer
        with _writing(path):
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(buffer.getvalue())
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JobError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to be filled that gets this path, which is free or an empty folder, when that went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:100]}-") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()  # not the temporary folder itself, which nobody else may read
        yield new
        new.rename(path)
