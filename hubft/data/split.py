"""Which samples are held out: even over the strata of the task, by content and seed alone, groups whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

from hubft.base.keys import key


class Content(Protocol):
    """What a split looks at."""

    @property
    def sha256(self) -> str:
        """Of the bytes of the input."""

    @property
    def content(self) -> str:
        """What is equal for equal inputs."""

    @property
    def group(self) -> str:
        """Of the samples that stay together; empty where there are none."""


S = TypeVar("S", bound=Content)


def split(
    samples: Sequence[S],
    strata: Callable[[S], Iterable[Hashable]],
    share: float,
    seed: int,
    purpose: str = "split",
) -> tuple[list[S], list[S]]:
    """Return (samples that stay, samples that are held out): of each stratum the share, at least one of two or more.

    Which ones depends on the seed and on content, not on names or order. Equal inputs stay on one side, and so does a
    group. A sample may have several strata; those of few samples are served first, as in the iterative stratification
    of Sechidis et al. (2011, https://doi.org/10.1007/978-3-642-23808-6_10). None is left without a sample that stays.

    :param purpose: of the draw: others are drawn otherwise.
    """
    units = _units(samples)
    counts = {name: _counts(members, strata) for name, members in units.items()}
    first = {name: min(sample.sha256 for sample in members) for name, members in units.items()}
    turn = {name: (key(purpose, seed, sha256), sha256) for name, sha256 in first.items()}
    having: dict[Hashable, list[tuple[str, str]]] = defaultdict(list)
    for name in sorted(units, key=turn.__getitem__):
        for stratum in counts[name]:
            having[stratum].append(name)
    staying = Counter({stratum: len(names) for stratum, names in having.items()})  # units of each
    total: Counter[Hashable] = Counter()
    for found in counts.values():
        total.update(found)
    held: set[tuple[str, str]] = set()
    have: Counter[Hashable] = Counter()
    apart = all(len(found) == 1 and found.total() == 1 for found in counts.values())
    room = len(samples) if apart else round(share * len(samples))  # strata that overlap would hold out more than that
    for stratum in sorted(total, key=lambda stratum: (total[stratum], str(stratum))):
        wanted = max(1, round(share * total[stratum]))
        for name in having[stratum]:
            missing = wanted - have[stratum]
            if missing <= 0 or (room <= 0 and have[stratum]):
                break
            fits = counts[name][stratum] - missing <= missing and all(staying[one] > 1 for one in counts[name])
            if name not in held and fits:
                held.add(name)
                room -= len(units[name])
                have.update(counts[name])
                staying.subtract(counts[name].keys())
    chosen = {id(sample) for name in held for sample in units[name]}
    return [s for s in samples if id(s) not in chosen], [s for s in samples if id(s) in chosen]


def _units(samples: Iterable[S]) -> dict[tuple[str, str], list[S]]:
    """Return what stays on one side: groups, and where there are none, equal inputs."""
    units: dict[tuple[str, str], list[S]] = defaultdict(list)
    for sample in samples:
        units[("group", sample.group) if sample.group else ("content", sample.content)].append(sample)
    return units


def _counts(members: Iterable[S], strata: Callable[[S], Iterable[Hashable]]) -> Counter[Hashable]:
    """Return how many different inputs of a unit have each stratum."""
    return Counter(stratum for _, stratum in {(s.content, stratum) for s in members for stratum in strata(s)})
