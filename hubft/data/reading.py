"""Rows of whatever a user names as data: a folder of classes, a table, a data set of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from hubft.data import folder, layout
from hubft.data.rows import Rows
from hubft.job import Labels


def is_there(data: str) -> bool:
    """Tell whether data that is named by a path lies there; what lies elsewhere always does."""
    return Path(data).exists()


def check(data: str) -> None:
    """Check that a package can be measured on data, as far as that is known without reading its rows.

    :raises DataError: there is no such data, or nothing in it to measure on.
    """
    layout.to_measure(Path(data))


def absolute(data: str) -> str:
    """Return what names the same data from any working folder."""
    return str(Path(data).resolve())


def to_train(data: str, labels: Labels) -> Rows:
    """Return the rows to train on, in the parts that the data states.

    :raises DataError: there is no such data, or it cannot be told what in it is what.
    """
    return folder.to_train(Path(data))


def to_measure(data: str, labels: Labels) -> Rows:
    """Return the rows on which a package is measured, as one part: validation, else test, else all there are.

    :raises DataError: as `to_train` does.
    """
    return folder.to_measure(Path(data))
