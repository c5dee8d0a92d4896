"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hubft.base.display import readable_json
from hubft.base.errors import JobError, WriteError

if TYPE_CHECKING:
    from torch import Tensor

JOB, DATA = "job.json", "data.json"  # of a run: what it is, and what its images are known by
MANIFEST = "hubft.json"  # of a package
MARK = ".hubft"  # of whatever else hubft writes: `marked` makes it

BLOCK = 2**20  # bytes

FULL = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS")
CLOSED = ("EACCES", "EPERM", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG", "ELOOP", "EIO", "EMFILE", "ENFILE")
REFUSALS = {getattr(errno, name) for name in (*FULL, *CLOSED) if hasattr(errno, name)}
"""What the system has against writing that is no fault of the program."""


def beginning(name: str) -> str:
    """Return what a file or folder is called until it is complete."""
    return f".writing-{name}"


BEGUN = {DATA, beginning(DATA), beginning(JOB)}
"""What a run writes before its job.json."""


def content(source: Path | BytesIO) -> bytes:
    """Return what a file holds, or what is held in its place."""
    return source.getvalue() if isinstance(source, BytesIO) else source.read_bytes()


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, and a full disk nothing else."""
    with temporary_file(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Give the path of a file to be written that gets this path when that went well; else it is gone, also after
    Ctrl-C."""
    temporary = path.with_name(beginning(path.name))
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _about(error, path) from error
        raise


def save_file(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; what the system has against it is an OSError, as for any other file."""
    from safetensors import SafetensorError  # not at the top: families are listed without torch
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if not found:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def _about(error: OSError, path: Path) -> OSError:
    """Return an error that names the file: what fails in the middle of one does not."""
    return error if error.filename or not error.errno else type(error)(error.errno, error.strerror, str(path))


def refusal(error: BaseException, where: str) -> str:
    """Return in a phrase what cannot be written and why, where the system refused to write; nothing for other errors.

    :param where: what was to be written: a folder of which the error may name a file.
    """
    if not isinstance(error, OSError):
        return ""
    homeless = isinstance(error, FileNotFoundError) and "usable temporary directory" in str(error)
    if error.errno not in REFUSALS and not homeless:
        return ""
    named = str(error.filename or where)
    if Path(named).is_relative_to(where):
        return f"{named!r} cannot be written: {error.strerror}"
    return f"{where!r} cannot be written: {error.strerror}: {named!r}"


def full(said: str) -> int:
    """Return by which errno a text of another library says that a disk takes no more; 0 where it does not."""
    codes = (getattr(errno, name, 0) for name in FULL)
    return next((code for code in codes if code and os.strerror(code) in said), 0)


@contextmanager
def writing(where: Path, cure: str) -> Iterator[None]:
    """Have a disk that is full, and a folder that cannot be written, told in one line.

    :param where: what is written; the line names the file of it that the error names.
    :param cure: what to do, as the end of that line.
    :raises WriteError: in place of such an OSError; others pass.
    """
    try:
        yield
    except OSError as error:
        if not (why := refusal(error, str(where))):
            raise
        raise WriteError(f"{why}; {cure}") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON that can be shown on a terminal, non-finite numbers refused, as `write_text` does."""
    write_text(path, readable_json(value) + "\n")


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def cache(kind: str) -> Path:
    """Return the folder that keeps things of a kind from run to run: below `$HUBFT_CACHE`, or `~/.cache/hubft`."""
    return Path(os.environ.get("HUBFT_CACHE") or Path.home() / ".cache" / "hubft") / kind


def made(cache: Path) -> Path:
    """Make a folder that `cache` named where there is none, and mark the one above it: none of it is anybody's data."""
    marked(cache.parent)
    cache.mkdir(exist_ok=True)
    return cache


def marked(folder: Path) -> Path:
    """Make a folder where there is none, and mark it as written by hubft: it is never taken for somebody's data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder


def begun(folder: Path) -> bool:
    """Tell whether a folder holds no more than what a run writes before its job.json, or nothing."""
    return {path.name for path in folder.iterdir()} <= BEGUN


def ours(folder: Path) -> bool:
    """Tell whether hubft wrote a folder: a run, also one that ended in its first moment, a package, a marked one."""
    if any((folder / name).is_file() for name in (MARK, MANIFEST)):
        return True
    if any((folder / name).is_file() for name in BEGUN) and begun(folder):
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

    :raises JobError: something is there, or no folder to write it to.
    :raises WriteError: nothing can be written there: told before it is filled.
    """
    temporary = path.with_name(f"{beginning(path.name)}-{os.getpid()}")
    cure = "name another file"
    if path.is_symlink() or path.exists():
        raise JobError(f"{str(path)!r} exists: nothing was written; {cure}")
    if not path.parent.exists():
        raise JobError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}; {cure}")
    buffer = StringIO()
    try:
        with writing(path, cure):
            temporary.touch(exist_ok=False)
        yield buffer
        with writing(path, cure):
            write_text(path, buffer.getvalue())
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_room(folder: Path, size: int) -> None:
    """Check that a file can be written into a folder, by writing one: no other way minds quotas and limits.

    :param size: of it, in bytes.
    :raises OSError: it cannot.
    """
    probe, block = folder / beginning("probe"), bytes(min(size, BLOCK))
    try:
        with probe.open("wb") as file:
            for _ in range(-(-size // BLOCK)):
                file.write(block)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
