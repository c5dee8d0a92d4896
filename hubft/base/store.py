"""Room for what takes long to make and is asked for again: in memory, else on disk, else it is made again."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import numpy


class Space:
    """Zeros that processes share, whether forked or sent this, and that nothing is left of when they end."""

    def __init__(self, handle: int, size: int) -> None:
        self.handle, self.size = handle, size
        self.bytes = numpy.frombuffer(mmap.mmap(handle, size), numpy.uint8)

    def __del__(self) -> None:
        os.close(self.handle)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.handle), self.size)


def _received(sent: Any, size: int) -> Space:
    return Space(sent.detach(), size)


class Scratch:
    """What a run may fill: a quarter of the memory that is available, and of the temporary folder's free space."""

    def __init__(self, memory: int | None = None, disk: int | None = None) -> None:
        self.memory = available_memory() // 4 if memory is None else memory
        self.disk = _free() // 4 if disk is None else disk

    def take(self, size: int) -> Space | None:
        """Return that many bytes, or as many as there are on the disk; None where there are none."""
        if size <= self.memory and hasattr(os, "memfd_create"):
            self.memory -= size
            handle = os.memfd_create("hubft")
            os.truncate(handle, size)
            return Space(handle, size)
        size = min(size, self.disk)
        if not size:
            return None
        with tempfile.TemporaryFile() as file:
            try:  # all of it now: to find the disk full in a mapped page would end the process
                os.posix_fallocate(file.fileno(), 0, size)
            except (OSError, AttributeError):
                return None
            self.disk -= size
            return Space(os.dup(file.fileno()), size)


def _free() -> int:
    """Return the bytes that the temporary folder has room for; none, where a full disk leaves no such folder."""
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:
        return 0


class Store:
    """Arrays, such as pictures uint8 `[height, width, 3]`, each made when it is first asked for.

    A byte for each tells whether it is there, and is written after the picture. Two processes may make the
    same picture at once, and write the same bytes.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], make: Callable[[int], numpy.ndarray], dtype: type = numpy.uint8
    ) -> None:
        """:param shapes: of each; one that is made in another shape is not kept."""
        self.shapes, self.make, self.dtype = shapes, make, numpy.dtype(dtype)
        first = -(-len(shapes) // self.dtype.itemsize) * self.dtype.itemsize
        self.ends = list(accumulate((self.dtype.itemsize * prod(shape) for shape in shapes), initial=first))
        self.space: Space | None = None

    def keep(self, scratch: Scratch) -> None:
        """Make room for the pictures from now on; before there are other processes, which then share it."""
        self.space = self.space or scratch.take(self.ends[-1])

    def __getitem__(self, i: int) -> numpy.ndarray:
        start, end = self.ends[i : i + 2]
        if self.space is None or end > self.space.size:
            return self.make(i)
        there, place = self.space.bytes[i : i + 1], self.space.bytes[start:end].view(self.dtype).reshape(self.shapes[i])
        if not there[0]:
            picture = self.make(i)
            if picture.shape != place.shape:
                return picture
            place[:] = picture
            there[0] = 1
        return place


def available_memory() -> int:
    """Return the bytes of memory that can be had, also in a container; 0 where the system does not tell."""
    group = Path("/sys/fs/cgroup")
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, StopIteration):
        pass  # no such file here, or no limit: "max"
    return max(0, min(found, default=0))
