"""From the options of a function to a job, and to its signature."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hubft.base.errors import JobError, suggest
from hubft.job import Adapting, Compute, Head, Job, Labels, Recipe, Teaching
from hubft.machine import ranks
from hubft.options import Options
from hubft.tasks import ownloss

F = TypeVar("F", bound=Callable[..., Any])

PARTS: Mapping[str, type] = {
    "labels": Labels,
    "head": Head,
    "recipe": Recipe,
    "adapting": Adapting,
    "compute": Compute,
    "teaching": Teaching,
}
"""Parts of a job whose fields are options of their own."""
OWN = ("outputs",)  # fields that no user sets


def job(reference: str, data: str | Path, options: Mapping[str, Any], of: type = Options) -> Job:
    """Return the job that options say, each put into the part of a job that has it.

    :param of: the options that may be given.
    :raises JobError: an option that there is none of, or a value that it cannot have.
    """
    ranks.check_alone()
    known = _known(of)
    parts: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        if name not in known:
            raise JobError(f"there is no option {name!r}.{suggest(name, known)}")
        part, field = known[name]
        value = ownloss.name_of(value) if name == "loss" and callable(value) else value
        one = isinstance(field.default, tuple) and isinstance(value, str)
        parts.setdefault(part, {})[name] = (value,) if one else value
    own = parts.pop("", {})
    return Job(reference, data, **own, **{part: PARTS[part](**its) for part, its in parts.items()})


def fields() -> Iterator[tuple[str, tuple[str, dataclasses.Field[Any]]]]:
    """Yield every option with the part of a job that it is of, and its field; the job's own have no part."""
    for field in dataclasses.fields(Job):
        if field.name in PARTS:
            for inner in dataclasses.fields(PARTS[field.name]):
                if inner.name not in OWN:
                    yield inner.name, (field.name, inner)
        elif field.name not in ("reference", "data"):
            yield field.name, ("", field)


def spelled(of: type) -> Callable[[F], F]:
    """Return what gives a function that takes options the signature with every one and its default, for `help` and
    notebooks.

    :param of: its options.
    """

    def decorate(function: F) -> F:
        stated = inspect.signature(function)
        given = [one for one in stated.parameters.values() if one.kind is not one.VAR_KEYWORD]
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
            for name, (_, field) in _known(of).items()
            if name not in {one.name for one in given}
        ]
        function.__signature__ = stated.replace(parameters=[*given, *options])  # type: ignore[attr-defined]
        return function

    return decorate


def _known(of: type) -> dict[str, tuple[str, dataclasses.Field[Any]]]:
    names = inspect.get_annotations(of)
    return {name: its for name, its in fields() if name in names}
