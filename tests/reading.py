"""Data as a run reads it, for tests of what it reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hubft import Job
from hubft.images.samples import Sample
from hubft.job import Labels, Recipe
from hubft.run import data
from hubft.run.data import Data
from hubft.tasks.classification import Classification


def read(source: Path | str, holdout: float = 0.2, seed: int = 0, labels: Labels | None = None) -> Data:
    """Return the data of a job on these images."""
    return data.read(Job("toy:small", source, holdout=holdout, recipe=Recipe(seed=seed), labels=labels or Labels()))


def labelled(source: Path | str, classes: Sequence[str]) -> tuple[Sequence[Sample], Mapping[str, str]]:
    """Return (samples, what was left out) of labelled images, for a package with these classes."""
    found = data.labelled(str(source), Labels(), None, Classification(tuple(classes)))
    return found.samples, found.left_out
