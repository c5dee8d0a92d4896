"""The core's methods by name: the one place that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from hubft import methods
from hubft.base.errors import JobError, Option, suggest
from hubft.compress import bf16, int8, prune, torchao
from hubft.compress.work import Method, Work, rounding
from hubft.hookspecs import Compressed

METHODS: Mapping[str, Method] = {
    "bf16": rounding(bf16.rounded),
    "int8": rounding(int8.rounded),
    "prune": Method(prune.pruned, "RATIO", prune.check, rounds=False),
    "torchao": Method(torchao.quantized, "METHOD", torchao.check_argument),
}


def apply(text: str, work: Work) -> Compressed:
    """Return what a method makes of a model.

    :param text: `NAME` or `NAME:ARGUMENT`; `none` makes nothing of it.
    :raises JobError: an unknown method, or a wrong argument.
    """
    if text == methods.NONE:
        return Compressed(work.loaded.model)
    (asked,) = methods.parse(text)
    method = _found(asked)
    return method.apply(replace(work, argument=asked.argument))


def check_order(asked: Sequence[methods.Method]) -> None:
    """Check that no method undoes the rounding of one before it; methods that are not the core's may stand anywhere.

    :raises JobError: one does.
    """
    for first, second in combinations((m for m in asked if m.name in METHODS), 2):
        if METHODS[first.name].rounds:
            undone = "rounds weights again" if METHODS[second.name].rounds else "trains weights"
            cure = "leave one of them out" if METHODS[second.name].rounds else f"write {second},{first}"
            raise JobError(Option("compress"), f" {first},{second}: {second} {undone}, which undoes {first}: {cure}")


def check_delta(asked: Sequence[methods.Method]) -> None:
    """Check that a delta would share something: of a model that a method trains again, no weight is its base's.

    :raises JobError: it would not.
    """
    for method in asked:
        if method.name in METHODS and not METHODS[method.name].rounds:
            why = f" {method}, after which no weight is the base's: leave "
            raise JobError(Option("package"), " delta shares nothing with ", Option("compress"), why, Option("package"),
                           " out")  # fmt: skip


def _found(asked: methods.Method) -> Method:
    method = METHODS.get(asked.name)
    if method is None:
        known = [f"{name}:{its.argument}" if its.argument else name for name, its in METHODS.items()]
        listed, near = ", ".join([methods.NONE, *known]), suggest(asked.name, [methods.NONE, *METHODS])
        raise JobError(Option("compress"), f" {str(asked)!r}: known methods are {listed}.{near}")
    if asked.argument and not method.argument:
        raise JobError(Option("compress"), f" {str(asked)!r}: {asked.name} takes no argument: write {asked.name}")
    method.check(asked.argument)
    return method
