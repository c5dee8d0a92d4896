"""Shards of WebDataset, tar files of samples, as a table: read from their places, in any order, and never unpacked.

In: a `.tar`, a folder of them, a pattern `train-{000000..000012}.tar`, a URL of such, or `hf://datasets/owner/name`.
Out: a table with a column for each end of members, `image` for pictures, and one for each key of `.json`. What lies in
a shard is found once and kept in hubft's cache until the shard is another file.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from hubft.base import files, network
from hubft.base.bars import Counting, counted, nobody
from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.data import hub_shards, tar
from hubft.data.patterns import HUB, SUFFIX, elsewhere, expanded
from hubft.data.shard import Local, Opened, Remote
from hubft.data.sheet import Book, Sheet, part_of
from hubft.data.tar import JSON, Index, Sample, Span

AT_ONCE = 8  # shards of a server that are indexed at once
OPEN = 64  # shards that a process keeps open
KEPT = "shards"  # folder of the cache
VERSION = 1  # of what is kept there
NUMBERED = ("cls", "class")  # ends of members by which WebDataset says the number of a class

Shard = Local | Remote


def read(data: str, counting: Counting = nobody) -> Book:
    """Return the table of shards that are named as `named` knows.

    :raises DataError: one is not there, or damaged.
    """
    if not elsewhere(data):
        names = expanded(data)
        return files_of(data, Path(_above(names)), [Path(name) for name in names], len(names) > 1, counting)
    private = data.startswith(HUB)
    if private:
        places = hub_shards.found(data, data.removeprefix(HUB), SUFFIX, expanded)
    else:
        places = [(url, url) for url in expanded(data)]
        if re.search(r"[?#@]", data):
            raise DataError(
                f"{data!r}: a run writes down where its data is, so a URL may hold no password and no query"
            )
        if problem := network.unreachable(places[0][1]):
            raise DataError(f"{data!r}: {problem}")
    above = _above([name for name, _ in places])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        its = pool.map(lambda one: Remote.at(one[1], one[0].removeprefix(above).lstrip("/"), private), places)
        return _book(data, Path.cwd(), list(its), len(places) > 1, counting)


def _above(names: Sequence[str]) -> str:
    """Return the folder below which all lie."""
    return os.path.commonprefix(names).rpartition("/")[0]  # noqa: RUF071  cut at a folder


def files_of(shown: str, root: Path, paths: Sequence[Path], parts: bool, counting: Counting) -> Book:
    """Return the table of shards on a disk.

    :param root: the folder below which they lie.
    :param parts: whether their names may say which part of a split they are.
    :raises DataError: one is not there, or damaged.
    """
    found = [Local.at(path, path.relative_to(root).as_posix()) for path in paths]
    return _book(shown, root, found, parts, counting)


def _book(shown: str, root: Path, found: Sequence[Shard], parts: bool, counting: Counting) -> Book:
    kinds = {one.name: part_of(one.name) if parts else "" for one in found}
    used = [one for one in found if kinds[one.name]] or found
    aside = [one.name for one in found if one not in used]
    if odd := [one.name for one in used if "#" in one.name]:
        raise DataError(f"{shown!r} has shards with a # in their names, {listed(odd)}: rename them")
    with ThreadPoolExecutor(AT_ONCE if isinstance(used[0], Remote) else 1) as pool:
        its = counted(counting, pool.map(indexed, used), len(used), "shards indexed")
        indexes = dict(zip([one.name for one in used], its, strict=True))
    left_out = {_place(name, key): why for name, its in indexes.items() for key, why in its.left_out.items()}
    unread = sum((Counter(its.unread) for its in indexes.values()), Counter[str]())
    columns = _Columns([sample for its in indexes.values() for sample in its.samples.values()])
    if not columns.names:
        raise DataError(_nothing(shown, left_out, unread))
    sheets = tuple(_sheet(name, its, columns, kinds[name]) for name, its in indexes.items())
    notes = [f"not used, no part of a split by their names: {listed(aside)}"] if aside else []
    shards = {one.name: one for one in used}
    return Book(
        shown,
        root,
        sheets,
        lambda column: Members(shards, column, {name: _spans(its, column) for name, its in indexes.items()}),
        columns.classes(),
        notes=(*notes, *columns.notes(), *tar.notes(unread)),
        left_out=left_out,
    )


def _nothing(shown: str, left_out: Mapping[str, str], unread: Counter[str]) -> str:
    first = next((f"; {place!r}: {why}" for place, why in left_out.items()), "")
    why = "".join(f"; {note}" for note in tar.notes(unread))
    return (
        f"{shown!r} has no sample: its members must be called KEY.jpg, or KEY.txt, with KEY.cls or KEY.json{first}{why}"
    )


def indexed(shard: Shard) -> Index:
    """Return what lies in a shard, from the cache where it is the same file as then.

    :raises DataError: it cannot be read, or is damaged.
    """
    folder = files.cache(KEPT)
    kept = folder / f"{sha256(shard.where.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"
    try:
        known = json.loads(kept.read_bytes())
        if (known["version"], known["stamp"]) == (VERSION, shard.stamp):
            return Index.of(known["index"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # there is none, or it is cut: it is made again
    with shard.stream() as stream:
        found = tar.read(stream, shard.size, shard.name)
    with suppress(OSError):  # a disk that is full: it is made again next time
        files.made(folder)
        files.write_text(kept, json.dumps({"version": VERSION, "stamp": shard.stamp, "index": found.plain()}))
    return found


class _Columns:
    """The columns of all shards of a data set."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.packed = dict.fromkeys(name for one in samples for name in one.images)
        ends = dict.fromkeys(end for one in samples for end in one.cells)
        objects = [one.cells[JSON] for one in samples if isinstance(one.cells.get(JSON), dict)]
        keys = dict.fromkeys(key for one in objects for key in one)
        self.ends = [end for end in ends if end != JSON or any(_is_bare(one) for one in samples)]
        taken = {*self.packed, *self.ends}
        self.keys = {f"{JSON}.{key}" if key in taken else key: key for key in keys}
        self.renamed = [key for key in keys if key in taken]
        self.names = (*self.packed, *self.ends, *self.keys)

    def notes(self) -> Iterator[str]:
        if self.renamed:
            names = listed(f"{JSON}.{key}" for key in self.renamed)
            yield f"keys of .json that are called as members are the columns {names}"

    def classes(self) -> dict[str, tuple[str, ...]]:
        """Return column -> its classes in order, where they are numbers of classes."""
        found = {}
        for end in {*NUMBERED} & {*self.ends}:
            values = {one.cells[end].strip() for one in self.samples if end in one.cells} - {""}
            if values and all(value.isdecimal() for value in values):
                found[end] = tuple(sorted(values, key=lambda value: (int(value), value)))
        return found

    def cell(self, sample: Sample, column: str) -> Any:
        """Return what stands in a column of a sample; None where nothing does."""
        if column in self.keys:
            value = sample.cells.get(JSON)
            return value.get(self.keys[column]) if isinstance(value, dict) else None
        value = sample.cells.get(column)
        return None if column == JSON and isinstance(value, dict) else value


def _is_bare(sample: Sample) -> bool:
    """Tell whether the `.json` of a sample holds a value by itself, as a number or a list."""
    return JSON in sample.cells and not isinstance(sample.cells[JSON], dict)


def _sheet(name: str, index: Index, columns: _Columns, part: str) -> Sheet:
    def rows(wanted: Sequence[str]) -> Iterator[Sequence[Any]]:
        for sample in index.samples.values():
            yield [columns.cell(sample, column) for column in wanted]

    keys = tuple(index.samples)
    return Sheet(name, columns.names, rows, part, packed=frozenset(columns.packed), keys=keys)


def _spans(index: Index, column: str) -> dict[str, Span]:
    return {key: one.images[column] for key, one in index.samples.items() if column in one.images}


def _place(name: str, key: str) -> str:
    return f"{name}#{key}"


class Members:
    """The members of shards that hold pictures, at places such as `train-000000.tar#KEY`.

    It is sent to another process without what lies in the shards, which is in the cache.
    """

    def __init__(
        self, shards: Mapping[str, Shard], column: str, spans: Mapping[str, Mapping[str, Span]] | None = None
    ) -> None:
        """:param spans: shard -> key -> where its bytes lie; read when they are needed, where they are not given."""
        self.shards, self.column = shards, column
        self.spans = dict(spans or {})
        self._opened = lru_cache(OPEN)(self._open)

    def __reduce__(self) -> tuple[Any, ...]:
        return Members, (self.shards, self.column)

    def _open(self, name: str) -> Opened:
        return self.shards[name].opened()

    def open(self, place: str) -> BytesIO:
        """Return the bytes of a member.

        :raises DataError: there is none, or its shard is another file than that which was indexed.
        """
        name, _, key = place.partition("#")
        if name not in self.shards:
            raise DataError(f"{quoted(place)} is in no shard of the data set")
        if name not in self.spans:
            self.spans[name] = _spans(indexed(self.shards[name]), self.column)
        if key not in self.spans[name]:
            raise DataError("no picture among its members")
        return BytesIO(self._opened(name).read(*self.spans[name][key]))
