"""What lies in a tar file of samples, as WebDataset lays them out: members with one name before the first dot of their
file's name are one sample, `a/0001.jpg` and `a/0001.cls` the sample `a/0001`.

Only the heads of members are read, and labels: nothing is unpacked, nothing is run, and no more is allocated than the
bounds here say.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from hubft.base.display import listed, quoted, unprintable
from hubft.base.errors import DataError
from hubft.data.sheet import IMAGES

MAX_HEAD = 2**20  # bytes of a member's name and of whatever else stands in front of it
MAX_CELL = 2**20  # bytes of a label or a text
MAX_IMAGE = 2**30  # bytes of a picture's file
IMAGE, JSON = "image", "json"
TEXTS = ("cls", "class", "txt", "text", JSON)
"""Ends of members that are read as labels and texts."""
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt")
"""Ends of members that run code when they are read: they never are."""


class Span(NamedTuple):
    """Where the bytes of a member lie in its shard."""

    offset: int
    size: int


@dataclass
class Sample:
    """The members of a sample."""

    images: dict[str, Span] = field(default_factory=dict)
    """Column -> where its picture lies: `image`, or the end of the member where that has dots in it, `left.jpg`."""
    cells: dict[str, Any] = field(default_factory=dict)
    """End of a member -> the text in it, of `json` its value."""


@dataclass
class Index:
    """What lies in a shard."""

    samples: dict[str, Sample] = field(default_factory=dict)
    """Key -> its members, in the order of the shard."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Key of a sample, or name of a member -> why it is not used."""
    unread: dict[str, int] = field(default_factory=dict)
    """Ends of members that are not read -> how many there are."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Index:
        """Return what `plain` was made from; KeyError, TypeError or ValueError where that is something else."""
        samples = {
            key: Sample({name: Span(*map(int, span)) for name, span in one["images"].items()}, dict(one["cells"]))
            for key, one in plain["samples"].items()
        }
        return cls(samples, dict(plain["left_out"]), dict(plain["unread"]))


class _Bad(Exception):
    """Why a member, and with it its sample, is not used."""


def read(file: BinaryIO, size: int, name: str) -> Index:
    """Return what lies in a shard.

    :param file: the shard, of `size` bytes, read forward but for single bytes.
    :param name: what it is called in messages.
    :raises DataError: it is no tar file, compressed, cut or damaged.
    """
    found, unread = Index(), Counter[str]()
    for member in _members(file, size, name):
        path = member.name.removeprefix("./")
        if member.isdir() or PurePosixPath(path).name.startswith((".", "__")):
            continue  # hidden, as macOS adds them, or about the shard, as webdataset writes them
        key, end = _split(path)
        try:
            _check(member, path)
            if not _is_text(end) and not _is_image(end):
                unread[end] += 1
                continue
            _add(found.samples.setdefault(key, Sample()), end, Span(member.offset_data, member.size), file)
        except _Bad as why:
            found.left_out.setdefault(key, f"{quoted(path)} {why}")
    for key in found.left_out:
        found.samples.pop(key, None)
    found.unread = dict(sorted(unread.items()))
    return found


def _split(path: str) -> tuple[str, str]:
    """Return the key of a member's sample and the member's end, in lower case: that behind the first dot."""
    folder, slash, file = path.rpartition("/")
    stem, _, end = file.partition(".")
    return folder + slash + stem, end.lower()


def _is_image(end: str) -> bool:
    return f".{end}".endswith(IMAGES)


def _is_text(end: str) -> bool:
    return end.rpartition(".")[2] in TEXTS


def _check(member: tarfile.TarInfo, path: str) -> None:
    if member.issym() or member.islnk():
        raise _Bad("is a link, not a file")
    if member.issparse():
        raise _Bad("is a sparse file, of which the bytes lie in pieces: write it whole")
    if not member.isreg():
        raise _Bad("is a device or something else that is no file")
    if path.startswith("/") or ".." in path.split("/"):
        raise _Bad("has a name that leads out of its shard")
    if problem := unprintable(path):
        raise _Bad(problem)


def _add(sample: Sample, end: str, span: Span, file: BinaryIO) -> None:
    """Add a member to its sample."""
    if _is_image(end):
        column = end if "." in end else IMAGE
        if column in sample.images:
            raise _Bad("is the second picture of its sample")
        if span.size > MAX_IMAGE:
            raise _Bad(f"has {span.size:,} bytes, more than the {MAX_IMAGE:,} that a picture may have")
        sample.images[column] = span
        return
    if end in sample.cells:
        raise _Bad("is there twice")
    if span.size > MAX_CELL:
        raise _Bad(f"has {span.size:,} bytes, more than the {MAX_CELL:,} that a label or a text may have")
    file.seek(span.offset)
    sample.cells[end] = _cell(file.read(span.size), end)


def _cell(content: bytes, end: str) -> Any:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Bad(f"is no text in UTF-8: {error.reason} at byte {error.start:,}") from error
    if end.rpartition(".")[2] != JSON:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Bad(f"is no JSON: {error}") from error


# ---- heads ---------------------------------------------------------------------------------------------


class _Heads:
    """A shard as the standard library reads the heads of its members: no head is longer than the bound."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEAD:
            raise tarfile.ReadError(f"the name of a member has {size:,} bytes")
        return self.file.read(size)


def _members(file: BinaryIO, size: int, name: str) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar file, which ends where it should.

    :raises DataError: as `read` does.
    """
    begun = file.read(4)
    if kind := _packed(begun):
        raise DataError(
            f"{name!r} is compressed by {kind}, and samples are read from their places: unpack it to a .tar"
        )
    file.seek(0)
    end = 0
    try:
        archive = tarfile.TarFile(fileobj=_Heads(file))  # type: ignore[arg-type]
        while member := archive.next():
            archive.members.clear()  # type: ignore[attr-defined]  # of which it keeps all
            if member.size < 0 or archive.offset <= end or (member.isreg() and archive.offset > size):
                raise tarfile.ReadError(f"{member.name!r} ends behind it")
            end = archive.offset
            yield member
        file.seek(end)
        if rest := file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"what is at byte {end:,} is no member: {rest[:8]!r}")
    except (tarfile.TarError, ValueError, RecursionError, OverflowError) as error:
        what = "is cut or damaged" if end else "is no tar file, or damaged"
        raise DataError(f"{name!r} {what} ({error}): fetch it again, or leave it out") from error
    if not end:
        raise DataError(f"{name!r} holds nothing")


def _packed(begun: bytes) -> str:
    signs = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zX": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    return next((kind for sign, kind in signs.items() if begun.startswith(sign)), "")


def notes(unread: Counter[str]) -> Iterator[str]:
    """Yield what a user should know of members that are not read.

    :param unread: their ends.
    """
    pickles = [end for end in unread if end.rpartition(".")[2] in PICKLES]
    if pickles:
        yield f"never read, as to read them runs what is in them: members that end in {listed(pickles)}"
    if others := [end for end in unread if end not in pickles]:
        yield f"not used, members that end in {listed(others)}"
