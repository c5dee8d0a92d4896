"""Files that annotations name: which of those that are there is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hubft.base.display import listed, quoted
from hubft.base.errors import DataError
from hubft.data import listing
from hubft.data.sheet import part_of

YEAR = re.compile(r"(?<=[A-Za-z])\d{4}(?!\d)")  # as COCO and Pascal VOC write it behind the name of a part


def part_in(name: str) -> str:
    """Return the part of a split that a path below the data's folder says: `annotations/instances_train2017.json`."""
    return part_of(YEAR.sub("", name))


def part_above(place: str) -> str:
    """Return the part that the folders of a file say."""
    above = PurePosixPath(place).parent.as_posix()
    return "" if above == "." else part_in(f"{above}/")


class Files:
    """The files below a folder, but hidden ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = {path.relative_to(root).as_posix() for path in listing.below(root, root).files}
        self._called: dict[str, list[str]] = {}
        for place in sorted(self.places):
            self._called.setdefault(place.rpartition("/")[2], []).append(place)
        self._stems: dict[str, list[str]] = {}
        for name in self._called:
            self._stems.setdefault(PurePosixPath(name).stem, []).append(name)

    def named(self, stem: str) -> list[str]:
        """Return the names of files that are this before their suffix."""
        return self._stems.get(stem, [])

    def below(self, folder: str) -> list[str]:
        """Return the files below a folder, sorted by name; all of them below `.`."""
        if folder == ".":
            return sorted(self.places)
        return sorted(place for place in self.places if place.startswith(f"{folder}/"))

    def find(self, stated: str, near: str = ".", part: str = "") -> str:
        """Return the place of the file that a path means: tools write it from folders of their own.

        It is that which has the end of the path in common with it, as far as possible. Of several, it is the one in a
        folder of the part, then the one in the folder nearest to what names it.

        :param near: the folder of the file that names it.
        :param part: in which it is; a file in a folder of another part is never meant.
        :raises DataError: none is there, or more than one could be meant.
        """
        path = stated.strip().replace("\\", "/")
        words = [word for word in path.split("/") if word not in ("", ".")]
        known = self._called.get(words[-1], []) if words else []
        fitting = [place for place in known if not part or part_above(place) in ("", part)]
        if len(fitting) > 1:
            ranks = {place: _rank(place, words, near, part) for place in fitting}
            fitting = [place for place in fitting if ranks[place] == max(ranks.values())]
        if len(fitting) > 1:
            raise DataError(f"more than one file could be meant: {listed(fitting)}")
        if not fitting:
            raise DataError("no such file" if words else f"{quoted(stated)} names no file")
        return fitting[0]


def _rank(place: str, words: list[str], near: str, part: str) -> tuple[int, bool, int]:
    """Return what is highest for the file that is meant: the path in common, the part, the folders in common."""
    end = _in_common(place.split("/")[::-1], words[::-1])
    return end, part_above(place) == part, _in_common(place.split("/"), near.split("/"))


def _in_common(one: Iterable[str], other: Iterable[str]) -> int:
    """Return how many words two lists begin with in common."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
