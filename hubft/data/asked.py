"""Images that a model is asked about: files, and whatever in folders is an image by the rule for data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hubft.base import urls
from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.data import listing
from hubft.data.formats import FORMATS, UNKNOWN, recognised


def images_in(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """Return (the images below a folder by the rule for data, sorted; everything else and why it is left out)."""
    found = listing.below(folder, folder)
    images = [file for file in found.files if recognised(file)]
    return images, found.passed | dict.fromkeys(sorted(set(found.files) - set(images)), UNKNOWN)


class Pictures(NamedTuple):
    """Images that a model is asked about."""

    files: list[Path]
    notes: list[str]
    """What lies in the folders and is not among them, a line for each reason."""


def pictures(paths: str | Path | Iterable[str | Path]) -> Pictures:
    """Return the files, folders replaced by the images in them. A file that is named is one, whatever it holds.

    :raises DataError: nothing there: no such path, or folders without images.
    """
    given = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    files: list[Path] = []
    notes: list[str] = []
    for path in given:
        if not (urls.there(path) and path.is_dir()):
            files.append(path)
            continue
        images, others = images_in(path)
        files += images
        notes += listing.told({listing.shown(one, path): reason for one, reason in others.items()})
    if not any(map(urls.there, files)):
        raise DataError(_nothing(given, files))
    return Pictures(files, notes)


def _nothing(given: Sequence[Path], missing: Sequence[Path]) -> str:
    if missing:
        others = f", nor do {len(missing) - 1:,} more" if len(missing) > 1 else ""
        return urls.answer(missing[0]) or f"{str(missing[0])!r} does not exist{others}"
    return f"no images in {listed(map(str, given)) or 'nothing'}; known formats are {', '.join(FORMATS)}"
