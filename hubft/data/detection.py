"""The formats of boxes around objects: which one data is in, and its rows. A new one is a file and its place here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hubft.base import files, urls
from hubft.base.bars import Counting, nobody
from hubft.base.errors import DataError, Option
from hubft.data import annotated, coco, voc, yolo
from hubft.data.annotated import Annotated
from hubft.data.rows import Rows


class Format(Protocol):
    """A way to write down boxes."""

    NAME: str

    def look(self, path: Path) -> Sequence[Path]:
        """Return the files of annotations, or what else tells that a file or folder is in this format; else none."""

    def read(self, path: Path, found: Sequence[Path], images: Path | None, counting: Counting) -> Annotated:
        """Return the images and their boxes.

        :param path: what the user gave: a file or a folder.
        :param found: what `look` gave.
        :param images: folder of the images, where the user says it.
        :raises DataError: it is damaged, or cannot be told.
        """


FORMATS: tuple[Format, ...] = (coco, yolo, voc)


def is_one(data: str | Path) -> bool:
    """Tell whether data is a file or a folder in one of these formats."""
    return bool(_found(Path(data)))


def read(data: str | Path, images: str = "", counting: Counting = nobody) -> Rows:
    """Return the rows of data in one of these formats.

    :param images: folder of the images, where the user says it.
    :raises DataError: it is in two formats, damaged, or of no use.
    """
    path = Path(data)
    if images and not Path(images).is_dir():
        raise DataError(f"{images!r}, where ", Option("images"), " says that images lie, is no folder")
    found = _found(path)
    if len(found) > 1:
        named = " and ".join(f"{one.NAME} ({its[0].relative_to(path).as_posix()})" for one, its in found)
        raise DataError(f"{str(path)!r} has boxes in {len(found)} formats, {named}: keep one of them")
    ((form, its),) = found
    return annotated.rows(form.read(path, its, Path(images) if images else None, counting), str(data))


def _found(path: Path) -> list[tuple[Format, Sequence[Path]]]:
    """Return the formats that data is in, with what told them."""
    if not urls.there(path) or files.ours(path) or not (path.is_dir() or path.is_file()):
        return []
    return [(one, its) for one in FORMATS if (its := one.look(path))]
