"""Images that were proved: every file is read and decoded once, and what cannot be used is named with its reason.

Without torch, so that what is wrong with data is told before seconds go into importing it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar
from zlib import crc32

import numpy

from hubft.base import files
from hubft.base.bars import Counting, counted
from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.data.rows import Row, Source
from hubft.images.decode import decode, depth, white_of
from hubft.inputs import Preprocess


@dataclass(frozen=True, slots=True)
class Sample:
    """An image that can be decoded, with its target."""

    place: str
    """As its source knows it."""
    target: Any
    """As the task encodes it."""
    sha256: str
    """Of the file's bytes."""
    size: tuple[int, int] = (0, 0)
    """Width and height, upright, pixels."""
    pixels: str = ""
    """Size and checksums of the decoded pixels: equal pictures have equal ones, however they were stored."""
    plain: bool = False
    """Whether it is of one colour."""
    peak: int = 0
    """Largest value, where it is 16-bit grey."""
    group: str = ""
    """Of the rows that stay on one side of a split."""
    deep: bool = False
    """Whether it has colours of 16 bits a channel, of which 8 are read."""

    @property
    def content(self) -> str:
        """What is equal for equal pictures."""
        return self.pixels or self.sha256


S = TypeVar("S")


def examine(
    source: Source,
    rows: Sequence[Row],
    targets: Sequence[Any],
    prove: Callable[[Row, Any, bytes], S],
    counting: Counting,
) -> list[S | str]:
    """Return of each row its sample, or why it is none.

    :param targets: of the rows, encoded.
    :param prove: makes the sample of a row with its target from the bytes of its file, or raises DataError.
    """

    def proved(row: Row, target: Any) -> S | str:
        try:
            opened = source.open(row.place)
            return prove(row, target, files.content(opened))
        except (DataError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(counted(counting, pool.map(proved, rows, targets), len(rows), "images read"))


def white(samples: Iterable[Sample]) -> int:
    """Return the value of 16-bit grey that is white in these images; 0 where none is of 16-bit grey."""
    highest = max((sample.peak for sample in samples), default=0)
    return white_of(highest) if highest else 0


def notes(samples: Sequence[Sample]) -> Iterable[str]:
    """Yield what a user should know of images, whatever their labels say."""
    if plain := [sample.place for sample in samples if sample.plain]:
        yield f"{len(plain)} images are of one colour: {listed(plain)}"
    if deep := [sample.place for sample in samples if sample.deep]:
        what = f"{len(deep)} images have 16 bits a colour, and are read with 8 of them"
        yield f"{what}: {listed(deep)}; --surgery channels=3 takes them as they are"


def prove(row: Row, target: Any, content: bytes) -> Sample:
    """Return the sample of a row with its target.

    :raises DataError: its file is no image.
    """
    highest, deep = depth(BytesIO(content))
    image = decode(BytesIO(content), white=white_of(highest) if highest else Preprocess.white)
    colours, (width, height) = image.tobytes(), image.size
    plain = colours[: 3 * width] == colours[:3] * width and colours == colours[:3] * (width * height)
    # No sha256, which takes a sixth of the time of decoding: nothing but notes and which side of a split depends on it.
    words = int(numpy.frombuffer(colours, numpy.uint64, len(colours) // 8).sum())
    pixels = f"{width} {height} {highest} {crc32(colours):08x} {words:016x}"
    sha256 = hashlib.sha256(content).hexdigest()
    return Sample(row.place, target, sha256, image.size, pixels, plain, highest, row.group, deep)
