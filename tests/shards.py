"""Shards of WebDataset, made when a test needs them."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pictures import noise

from hubft.base.errors import DataError
from hubft.data import reading
from hubft.data.rows import Rows
from hubft.job import Labels

Members = Iterable[tuple[str, bytes]]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    noise(seed).save(file, format="PNG")
    return file.getvalue()


def write(path: Path, members: Members | Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar file of members, by name, in their order; names may be there twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.TarFile(path, "w", format=form) as archive:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def labelled(seeds: Iterable[int], name: str = "{:04d}") -> dict[str, bytes]:
    """Return the members of a picture and its class, 0 or 1 in turn, for each seed."""
    return {
        f"{name.format(seed)}.{end}": content
        for seed in seeds
        for end, content in (("png", png(seed)), ("cls", str(seed % 2).encode()))
    }


def of_folder(root: Path, where: Path, size: int) -> Path:
    """Write the class folders `root/{train,val}/CLASS/*` as shards of so many samples, in the same order of them."""
    where.mkdir()
    for part in ("train", "val"):
        its = sorted((root / part).glob("*/*"))
        for first in range(0, len(its), size):
            members = [
                member
                for number, file in enumerate(its[first : first + size], first)
                for member in (
                    (f"{number:06d}{file.suffix}", file.read_bytes()),
                    (f"{number:06d}.cls", file.parent.name.encode()),
                )
            ]
            write(where / f"{part}-{first // size:06d}.tar", members)
    return where


def read(data: str | Path, kinds: tuple[str, ...] = ("images",), **labels: Any) -> Rows:
    return reading.to_train(str(data), Labels(**labels), kinds)


def refusal(data: str | Path, **labels: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(data, **labels)
    assert "\n" not in caught.value.typed()
    return caught.value.typed()


def opened(rows: Rows, place: str) -> bytes:
    found = rows.source.open(place)
    assert isinstance(found, io.BytesIO)
    return found.getvalue()
