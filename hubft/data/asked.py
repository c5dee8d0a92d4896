"""What a model is asked about: files, whatever in folders is an image by the rule for data, texts, rows of tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from hubft.base import urls
from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.base.files import MANIFEST
from hubft.data import listing, reading, table
from hubft.data.formats import FORMATS, UNKNOWN, recognised
from hubft.data.freetext import KIND, Texts
from hubft.data.rows import Rows, Source
from hubft.job import Columns


def images_in(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """Return (the images below a folder by the rule for data, sorted; everything else and why it is left out)."""
    found = listing.below(folder, folder)
    images = [file for file in found.files if recognised(file)]
    return images, found.passed | dict.fromkeys(sorted(set(found.files) - set(images)), UNKNOWN)


class Input(NamedTuple):
    """An input that a model is asked about."""

    name: str
    """As it is shown: a path, a place in a table, or a text."""
    place: str
    source: Source | None = None
    """What opens the place; without one, it is the path of a file."""
    table: bool = False
    """Whether it is a row of one."""

    def open(self) -> Path | BytesIO:
        """Return the file, or its bytes.

        :raises DataError: it is not there, or no regular file.
        """
        if self.source is not None:
            return self.source.open(self.place)
        path = Path(self.place)
        if not urls.there(path):
            raise DataError(urls.answer(path) or "no such file")
        return path


class Asked(NamedTuple):
    """Inputs that a model is asked about."""

    inputs: list[Input]
    notes: list[str]
    """What lies in the folders and is not among them, a line for each reason."""
    word: str = "image"
    """What one of them is called."""

    @property
    def files(self) -> list[Path]:
        """Those that are files, not rows of a table."""
        return [Path(one.place) for one in self.inputs if one.source is None]


def kind(package: str) -> str:
    """Return the kind of inputs of a package in a folder, as its manifest states it; of nothing at all, images. Empty
    where the package itself must be asked, as one on the Hub, or a file that was exported from one.

    Nothing of the manifest is checked here: whoever loads the package does that.
    """
    folder = Path(package).expanduser()
    try:
        found = next(file for file in (folder / MANIFEST, folder / "package" / MANIFEST) if file.is_file())
        return str(json.loads(found.read_bytes())["inputs"]["kind"])
    except StopIteration:
        return "" if urls.there(folder) or "/" in package else Rows.kind
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def pictures(paths: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
    """Return the images of files, folders replaced by the images in them, tables by those that their rows name.

    A file that is named is one, whatever it holds, but for a table.

    :param columns: of a table, that with the images; found, where one column alone holds such.
    :raises DataError: nothing there: no such path, or folders without images; a table without.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    inputs: list[Input] = []
    notes: list[str] = []
    for one in given:
        path = Path(one)
        if _is_table(str(one)):
            _add_rows(str(one), columns, Rows.kind, inputs, notes)
        elif urls.there(path) and path.is_dir():
            images, others = images_in(path)
            inputs += [Input(str(image), str(image)) for image in images]
            notes += listing.told({listing.shown(one, path): reason for one, reason in others.items()})
        else:
            inputs.append(Input(str(path), str(path)))
    if not any(one.source or urls.there(Path(one.place)) for one in inputs):
        raise DataError(_nothing([Path(one) for one in given], [Path(one.place) for one in inputs]))
    return Asked(inputs, notes)


def texts(given: str | Path | Iterable[str | Path], columns: Columns | None = None, kind: str = KIND) -> Asked:
    """Return texts as they are given, tables replaced by the texts in their rows, any other file by the text in it.

    :param columns: of a table, those with the texts; found, where one column alone holds such.
    :param kind: of the inputs that tables hold.
    :raises DataError: a table that is not there, or holds none; a folder.
    """
    inputs: list[Input] = []
    notes: list[str] = []
    for one in map(str, [given] if isinstance(given, str | Path) else given):
        path = Path(one)
        if _is_table(one):
            _add_rows(one, columns, kind, inputs, notes)
        elif urls.there(path) and path.is_dir():
            raise DataError(f"{one!r} is a folder: give a text, a file with one, or a table")
        elif urls.there(path):
            inputs.append(Input(one, one))
        elif table.is_table_file(path) and len(one.split()) == 1:
            raise DataError(f"{one!r} does not exist")
        else:
            inputs.append(Input(one, one, Texts({one: one})))
    if not inputs:
        raise DataError("no texts to be asked about")
    return Asked(inputs, notes, KIND)


def _is_table(given: str) -> bool:
    path = Path(given)
    return table.elsewhere(given) or (urls.there(path) and path.is_file() and table.is_table_file(path))


def _add_rows(given: str, columns: Columns | None, kind: str, inputs: list[Input], notes: list[str]) -> None:
    rows = reading.inputs(given, columns or Columns(), kind)
    notes += [*rows.notes, *(f"{where}: {reason}" for where, reason in rows.left_out.items())]
    inputs += [Input(row.place, row.place, rows.source, True) for its in rows.parts.values() for row in its]


def _nothing(given: Sequence[Path], missing: Sequence[Path]) -> str:
    if missing:
        others = f", nor do {len(missing) - 1:,} more" if len(missing) > 1 else ""
        return urls.answer(missing[0]) or f"{str(missing[0])!r} does not exist{others}"
    return f"no images in {listed(map(str, given)) or 'nothing'}; known formats are {', '.join(FORMATS)}"
