"""The cache of what a frozen prefix gives: computed once, kept on disk, verified before it is used.

A folder a view, named by the sha256 of all that its bits depend on (`Source`): another weight, sample, preprocessing
or machine setting makes another folder. In it, `features` holds a row a sample, raw, and `seal.json` their sha256.
A folder appears whole or not at all, so a run that was killed leaves nothing that could be taken for one. What was
used longest ago is removed when the budget is spent; a run that has it mapped goes on reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft.base import digest
from hubft.base.batches import count, take
from hubft.base.files import cache, made, write_json
from hubft.base.folders import new_folder
from hubft.base.store import available_memory
from hubft.cut.provenance import Source
from hubft.train.loader import Batches

MEMORY_SHARE = 0.25  # of what is available: features that fit are read at once, others are mapped
ABANDONED = 86400.0  # seconds since the last write, after which a folder that was never finished is removed
SPARE = 1.05  # share of free disk that is asked for


@dataclass(frozen=True)
class View:
    """The features of all samples, seen in one way."""

    rows: Tensor
    """A row a sample, in memory or mapped; read-only."""
    channels_last: bool
    """Whether the rows lie `[h, w, c]`, as the model computes them."""

    def take(self, index: Tensor) -> Tensor:
        """Return a copy of these rows, `[b, *shape]`, in the model's memory format."""
        taken = self.rows.index_select(0, index)
        return taken.permute(0, 3, 1, 2) if self.channels_last else taken


@dataclass(frozen=True)
class Features:
    """Features of a run's samples, in one or more views."""

    views: tuple[View, ...]
    targets: Any
    """Of all samples, as the task collates them."""
    computed: int
    """How many of the views were not there and were computed."""
    keys: tuple[str, ...]
    """Of the views: what is of the same key is the same."""

    def batches(self, sampler: Batches) -> Reader:
        """Return the batches of a run as (features `[b, *shape]`, targets), epoch e of view e % views."""
        return Reader(self, sampler)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield every sample of view 0 once, in order, in batches of the same form."""
        for index in torch.arange(count(self.targets)).split(batch_size):
            yield self.views[0].take(index), take(self.targets, index)


@dataclass(frozen=True)
class Reader:
    """Batches of features; what the loop expects of a loader."""

    features: Features
    batch_sampler: Batches

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        views = self.features.views
        for indices in self.batch_sampler:
            index = torch.tensor([i for _, i in indices])
            yield views[indices[0][0] % len(views)].take(index), take(self.features.targets, index)  # one epoch a batch


class Cache:
    """The folder of all features, of all runs, with its budget."""

    def __init__(self, gigabytes: float, folder: Path | str = "") -> None:
        """:param folder: without it `files.cache("features")`."""
        self.folder = Path(folder) if folder else cache("features")
        self.budget = int(gigabytes * 1e9)

    def get(
        self,
        sources: Sequence[Source],
        targets: Any,
        compute: Callable[[Source], Iterable[Tensor]],
        needed: bool = False,
    ) -> Features | str:
        """Return the features of these views, or in a phrase why they are not to be had.

        :param targets: of the samples, a row each.
        :param compute: gives the features of a source, batch by batch in the order of its samples; called for those
            that are not there. What it raises passes, and leaves no trace on the disk.
        :param needed: have them in memory also where the budget is nothing.
        """
        if not self.budget and not needed:
            return "--cache is 0"
        in_memory = sum(source.bytes for source in sources) <= MEMORY_SHARE * available_memory()
        keys = [source.key() for source in sources]
        views, computed = [], 0
        for source, key in zip(sources, keys, strict=True):
            view = self._open(source, key, in_memory)
            if view is None:
                reason = self._make_room(sources, source, set(keys)) or self._fill(source, key, compute(source))
                view, computed = self._open(source, key, in_memory), computed + 1
                if view is None and in_memory:  # there is no room on the disk, and none is needed
                    view = _held(source, compute(source))
                if view is None:
                    return reason or f"the cache {str(self.folder)!r} does not keep what is written to it"
            views.append(view)
        return Features(tuple(views), targets, computed, tuple(keys))

    def _open(self, source: Source, key: str, in_memory: bool) -> View | None:
        """Return a view that is there and intact; a damaged one is removed."""
        folder = self.folder / key
        try:
            seal = json.loads((folder / "seal.json").read_text(encoding="utf-8"))
            path = folder / "features"
            if path.stat().st_size != source.bytes or digest.of_file(path) != seal["sha256"]:
                raise ValueError("damaged")
            rows = torch.from_file(str(path), size=source.bytes // source.dtype.itemsize, dtype=source.dtype)
            os.utime(folder)  # the mark of its last use
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        channels_last = bool(seal["channels_last"])
        shape = (*source.shape[1:], source.shape[0]) if channels_last else source.shape
        rows = rows.view(len(source.samples), *shape)
        return View(rows.clone() if in_memory else rows, channels_last)

    def _fill(self, source: Source, key: str, batches: Iterable[Tensor]) -> str:
        """Write the folder of a view; return why that failed, or nothing."""
        try:
            with new_folder(self.folder / key) as new:
                sha256, channels_last = _write(new / "features", source, batches)
                write_json(new / "seal.json", {"sha256": sha256, "channels_last": channels_last})
        except OSError as error:
            if (self.folder / key).exists():  # another run was faster
                return ""
            return f"the cache {str(self.folder)!r} cannot be written: {error.strerror or error}"
        return ""

    def _make_room(self, sources: Sequence[Source], source: Source, keep: set[str]) -> str:
        """Remove what was used longest ago until the budget has room; return why there is none, or nothing."""
        wanted, needed = sum(each.bytes for each in sources), source.bytes
        if wanted > self.budget:
            return f"{wanted / 1e9:.3g} GB of features are more than --cache {self.budget / 1e9:g}"
        try:
            os.utime(made(self.folder))
            now = self.folder.stat().st_mtime
            used = {path: _size(path) for path in sorted(self.folder.iterdir(), key=_last_use)}
            for path in list(used):
                over = sum(used.values()) + needed > self.budget
                unfinished = path.name.startswith(".")
                if (now - _last_use(path) > ABANDONED) if unfinished else (over and path.name not in keep):
                    shutil.rmtree(path, ignore_errors=True)
                    del used[path]
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            return f"the cache {str(self.folder)!r} cannot be written: {error.strerror or error}"
        if sum(used.values()) + needed > self.budget:
            return f"runs that are filling the cache {str(self.folder)!r} leave no room in --cache"
        if free < needed * SPARE:
            return f"{needed / 1e9:.3g} GB of features, and the disk has {free / 1e9:.3g} GB free"
        return ""


def _blocks(source: Source, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Yield the rows as they are stored, on the CPU, batch by batch, and whether they lie channels last."""
    rows = 0
    for batch in batches:
        if tuple(batch.shape[1:]) != source.shape:
            raise RuntimeError(f"features {tuple(batch.shape[1:])} came where {source.shape} were announced")
        rows += len(batch)
        last = batch.ndim == 4 and batch.stride(1) == 1 and not batch.is_contiguous()
        yield (batch.permute(0, 2, 3, 1) if last else batch).to("cpu", source.dtype).contiguous(), last
    if rows != len(source.samples):
        raise RuntimeError(f"features of {rows} samples came where {len(source.samples)} were announced")


def _write(path: Path, source: Source, batches: Iterable[Tensor]) -> tuple[str, bool]:
    sha256, last = hashlib.sha256(), False
    with path.open("wb") as file:
        for block, last in _blocks(source, batches):  # noqa: B007
            data = block.reshape(-1).view(torch.uint8).numpy().data
            sha256.update(data)
            file.write(data)
    return sha256.hexdigest(), last


def _held(source: Source, batches: Iterable[Tensor]) -> View:
    blocks, lasts = zip(*_blocks(source, batches), strict=True)
    return View(torch.cat(blocks), lasts[0])


def _size(path: Path) -> int:
    return sum(_stat(file)[0] for file in path.rglob("features"))  # the seals are nothing


def _last_use(path: Path) -> float:
    return max(_stat(file)[1] for file in (path, *path.rglob("*")))


def _stat(path: Path) -> tuple[int, float]:
    try:
        stat = path.stat()
    except FileNotFoundError:  # another run removed it a moment ago
        return 0, 0.0
    return stat.st_size, stat.st_mtime
