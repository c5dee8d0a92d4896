"""Who works on a run: threads that compute, and processes that load images."""

from __future__ import annotations

from collections.abc import Mapping

from hubft.machine.runtime import cores

SAME = 1.02  # ratio of times that are as good as equal


def crew(passes: Mapping[int, float], decode: float, workers: int, on_cpu: bool) -> tuple[int, int]:
    """Return (threads, workers), together no more than the cores: times were taken where every thread had one.

    :param passes: seconds that a pass takes, an image, by the threads that compute it.
    :param decode: seconds that loading an image takes.
    :param workers: how many the user wants; -1 leaves it open. 0 loads between the passes.
    :param on_cpu: whether the passes need the cores too.
    """
    available = cores()
    options = []  # (seconds an image, workers, threads)
    for threads, each in passes.items():
        free = max(0, available - threads) if on_cpu else available - 1
        for number in range(free + 1) if workers < 0 else [workers]:
            options.append((max(each, decode / number) if number else each + decode, number, threads))
    fitting = [one for one in options if one[1] + one[2] <= available] or options
    good = [one for one in fitting if one[0] <= SAME * min(fitting)[0]]
    _, found, threads = min(good, key=lambda one: (one[1], one[0]))  # as few processes as do
    return threads, found
