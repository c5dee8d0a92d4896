"""Bounds of options, and the messages that state them: one place, so that no message states another bound."""

from __future__ import annotations

from pathlib import Path

from hubft.base.errors import JobError, Option

SEEDS = (0, 2**63 - 1)


def check(good: bool, field: str, got: object, *wanted: str) -> None:
    """Raise JobError where a field's value is not what it must be."""
    if not good:
        raise JobError(Option(field), f" {got!r}: must be ", *wanted)


def check_bounds(field: str, value: float, low: float, high: float) -> None:
    """Raise JobError where a field's number lies out of its bounds, which the message states."""
    check(low <= value <= high, field, value, in_words(low, high))  # False for NaN


def in_words(low: float, high: float) -> str:
    """Return bounds as words: `in 1..64` of whole numbers, `in [0, 0.99]` of others."""
    if (low, high) == SEEDS:
        return "in 0..2^63-1"
    return f"in {low}..{high}" if isinstance(high, int) else f"in [{low:.10g}, {high:.10g}]"


def check_new(output: Path, *endings: str) -> None:
    """Raise JobError where `output` is no file that can be written anew: told before seconds go into what it gets.

    :param endings: what its name must end in, then those of the files that will lie beside it.
    """
    check(output.suffix == endings[0], "output", str(output), f"a new file that ends in {endings[0]}")
    for file in map(output.with_suffix, endings):
        check(not file.exists(), "output", str(file), "a new file")
    check(output.parent.is_dir(), "output", str(output), "a file in a folder that is there")
