"""Where a student's features are held against its teacher's: stages of both at the same share of their depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hubft.base.errors import JobError, Option
from hubft.cut.calls import Blank, Call, in_eval, record
from hubft.cut.feed import among
from hubft.hookspecs import Loaded
from hubft.train.lessons import Place, Teacher, as_map, averaged, listening

NEAR = 0.1  # share of the depth that two stages may be apart
LARGEST = 14  # pixels a side to which features are averaged: a picture of 224 pixels has as many of 16


@dataclass(frozen=True)
class End:
    """The module that gives what a stage gives."""

    name: str
    depth: float
    """Share of the forward pass that is done, by calls."""


def places(student: Loaded, teacher: Teacher, inputs: Tensor, live: frozenset[str]) -> tuple[Place, ...]:
    """Return the places of the stages that both have, the head left out: each of the student's with the teacher's that
    is nearest in depth, no stage twice.

    FitNets (https://arxiv.org/abs/1412.6550) takes one in the middle; by share of depth, networks of different
    lengths have their stages side by side.

    :param inputs: a few real inputs of the student, on the device of both.
    :param live: names of the student's parameters that train at some time; stages before all of them learn nothing.
    :raises JobError: they have none.
    """
    first = next((n for n, prefixes in enumerate(student.stages.values()) if any(among(p, prefixes) for p in live)), 0)
    mine = _ends(student, inputs, first)
    its = _ends(teacher.loaded, teacher.convert(inputs), 0)
    pairs = sorted((abs(a.depth - b.depth), a.name, b.name) for a in mine for b in its)
    chosen: dict[str, str] = {}
    for apart, a, b in pairs:
        if apart <= NEAR and a not in chosen and b not in chosen.values():
            chosen[a] = b
    ours = _given(student, inputs, list(chosen))
    theirs = _given(teacher.loaded, teacher.convert(inputs), list(chosen.values()))
    found = [_place(a, chosen[a], ours[a], theirs[chosen[a]]) for a in (end.name for end in mine) if a in chosen]
    if not found:
        why = ": no stage that trains, but the head, is as deep as one of the teacher's; leave it out, or change "
        raise JobError(Option("hints"), why, Option("train"))
    return tuple(found)


def _ends(loaded: Loaded, inputs: Tensor, first: int) -> list[End]:
    """Return where each stage ends from the first on, but the head: with the last module of it that gives a row a
    sample."""
    with torch.no_grad(), in_eval(loaded.model):
        calls = record(loaded, inputs)
    every = max(call.end for call in calls)
    found = []
    for prefixes in list(loaded.stages.values())[first:-1]:
        its = [c for c in calls if among(c.name, prefixes) and _fits(c)]
        if its:
            last = max(its, key=lambda call: call.end)
            found.append(End(last.name, last.end / every))
    return found


def _fits(call: Call) -> bool:
    given = call.output
    return isinstance(given, Blank) and given.per_sample == 1 and len(given.shape) in (2, 3, 4)


def _given(loaded: Loaded, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    with torch.no_grad(), in_eval(loaded.model), listening(loaded.model, names) as heard:
        loaded.forward(loaded.model, inputs)
        return {name: as_map(heard[name]).float() for name in names}


def _place(student: str, teacher: str, ours: Tensor, theirs: Tensor) -> Place:
    """Return the place of two modules; what is no picture of places has one mean, unless both have as many tokens."""
    (height, width), its = ours.shape[2:], theirs.shape[2:]
    grid = (height, width)
    if min(width, its[1]) > 1:
        grid = (min(height, its[0], LARGEST), min(width, its[1], LARGEST))
    elif (height, width) != tuple(its):
        grid = (1, 1)
    place = Place(student, teacher, (ours.shape[1], theirs.shape[1]), grid)
    means = averaged(theirs, grid)
    return replace(place, scale=max(float((means - means.mean((0, 2, 3), keepdim=True)).std()), 1e-6))
