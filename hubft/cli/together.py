"""Commands that several processes run together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hubft.base.errors import Silent
from hubft.machine import ranks
from hubft.machine.ranks import Ranks


@contextmanager
def together(devices: int) -> Iterator[Ranks]:
    """Give this process its place among those that run the command, for the time of a `with`. Where several are asked
    for, and none were started yet, this one starts them, and ends as they do.

    :raises Silent: they ended, which was told by one of them.
    """
    if devices > 1 and not ranks.asked():
        from hubft.machine.launch import launch  # not at the top: it imports torch

        raise Silent(launch(sys.argv[1:], devices))
    with ranks.joining() as own:
        yield own
