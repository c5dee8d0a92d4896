"""A file of which parts are read from their places: on a disk, or of a server that knows ranges of bytes.

What was read once is known by a stamp, and a file that has another one since is not read any further.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from hubft.base.errors import DataError, reason

AHEAD = 8 * 2**20  # bytes of a server's file that are asked for at once where it is read from its beginning
BLOCK = 2**20  # bytes that are asked for at once while a range comes in


class Opened(Protocol):
    """What gives bytes; threads and forked processes may share it."""

    def read(self, offset: int, size: int) -> bytes:
        """Return so many bytes from there on.

        :raises DataError: they cannot be had, or the file is another one since.
        """


@dataclass(frozen=True)
class Local:
    """A file on a disk, as it was."""

    path: Path
    name: str
    """As messages name it."""
    size: int
    stamp: str

    @classmethod
    def at(cls, path: Path, name: str) -> Local:
        """Return the file of a path as it is now.

        :raises DataError: it cannot be read, or is no regular file.
        """
        try:
            if not path.is_file():
                raise DataError(f"{str(path)!r} {'is not a regular file' if path.exists() else 'does not exist'}")
            found = path.stat()
        except OSError as error:
            raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
        return cls(path, name, found.st_size, _stamp(found))

    @property
    def where(self) -> str:
        """What is the same for the same file."""
        return str(self.path.resolve())

    def opened(self) -> Opened:
        return _Descriptor(self)

    def stream(self) -> BinaryIO:
        """Return it opened, to be read forward."""
        try:
            return self.path.open("rb")
        except OSError as error:
            raise DataError(f"{self.name!r} cannot be read: {error.strerror or error}") from error


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_mtime_ns}"


class _Descriptor:
    """An open file, closed when nobody has it any more."""

    def __init__(self, file: Local) -> None:
        self.file, self.number = file, -1
        try:
            self.number = os.open(file.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise DataError(f"{file.name!r} cannot be read: {error.strerror or error}") from error

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)

    def read(self, offset: int, size: int) -> bytes:
        try:
            found = os.pread(self.number, size, offset)
            if len(found) != size or _stamp(os.fstat(self.number)) != self.file.stamp:
                _refuse_changed(self.file.name)
        except OSError as error:
            raise DataError(f"{self.file.name!r} cannot be read: {error.strerror or error}") from error
        return found


@dataclass(frozen=True)
class Remote:
    """A file of a server, as it was."""

    url: str
    name: str
    size: int
    stamp: str
    private: bool = False
    """Whether it is asked for with the user's token of the Hugging Face Hub."""

    @classmethod
    def at(cls, url: str, name: str, private: bool = False) -> Remote:
        """Return the file of a URL as it is now.

        :raises DataError: it cannot be had, or not in parts.
        """
        asked = cls(url, name, 1, "", private)
        _, answer = asked._asked(0, 1)
        total = answer.get("content-range", "").rpartition("/")[2]
        if not total.isdecimal():
            raise DataError(f"{url!r}: its server does not say how long it is")
        return cls(url, name, int(total), _tag(answer), private)

    @property
    def where(self) -> str:
        """What is the same for the same file."""
        return self.url

    def opened(self) -> Opened:
        return self

    def stream(self) -> BinaryIO:
        """Return it opened, to be read forward."""
        return io.BufferedReader(_Forward(self), AHEAD)

    def read(self, offset: int, size: int) -> bytes:
        if not size:
            return b""
        found, answer = self._asked(offset, size)
        if len(found) != size or _tag(answer) != self.stamp:
            _refuse_changed(self.name)
        return found

    def _asked(self, offset: int, size: int) -> tuple[bytes, Mapping[str, str]]:
        """Return bytes and the headers that came with them; tries again where a server is busy."""
        from huggingface_hub import errors  # not at the top: it takes a while to import
        from huggingface_hub.utils import build_hf_headers, http_stream_backoff  # type: ignore[attr-defined]

        headers = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        headers |= build_hf_headers() if self.private else {}
        found = bytearray()
        try:
            with http_stream_backoff("GET", self.url, headers=headers, timeout=30) as answer:
                if answer.status_code == 416:
                    _refuse_changed(self.name)
                answer.raise_for_status()
                if answer.status_code != 206:
                    raise DataError(f"{self.url!r}: its server gives no parts of files, from which samples are read")
                for block in answer.iter_bytes(min(size, BLOCK)):
                    found += block
                    if len(found) > size:
                        break
                return bytes(found), {key.lower(): value for key, value in answer.headers.items()}
        except DataError:
            raise
        except Exception as error:  # of the network, of the server, of the client's library
            if not isinstance(error, OSError | errors.OfflineModeIsEnabled) and "http" not in type(error).__module__:
                raise
            raise DataError(f"{self.url!r} cannot be read: {reason(error)}") from error


def _tag(headers: Mapping[str, str]) -> str:
    """Return by what a server knows a file from another at its place."""
    total = headers.get("content-range", "").rpartition("/")[2]
    return f"{total} {headers.get('etag') or headers.get('last-modified', '')}"


def _refuse_changed(name: str) -> NoReturn:
    raise DataError(f"{name!r} is not the file any more that was indexed: bring that back, or begin again")


class _Forward(io.RawIOBase):
    """A server's file as one that is read from a position."""

    def __init__(self, file: Remote) -> None:
        self.file, self.position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.file.size}[whence]
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self.file.size - self.position))
        buffer[:size] = self.file.read(self.position, size)
        self.position += size
        return size
