"""The machine that a figure was measured on: without its name a figure says nothing."""

from hubft.machine.processor import name
from hubft.machine.runtime import cores


def processor() -> str:
    """Return the processor's name and the number of cores that this process may use."""
    return f"{name()}, {cores()} cores"
