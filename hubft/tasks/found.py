"""Which task the columns state."""

from __future__ import annotations

from collections.abc import Sequence

from hubft.job import Labels
from hubft.tasks.task import Column


def kind(columns: Sequence[Column], labels: Labels) -> tuple[str, str]:
    """Return the kind of task, and what a user should know of how it was found."""
    return "classification", ""
