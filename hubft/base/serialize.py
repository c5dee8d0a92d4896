"""Dataclasses as plain JSON types, and back: every key and type is checked, nothing is guessed."""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from hubft.base.errors import JobError, Option, suggest

T = TypeVar("T")


def to_dict(value: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON types."""
    return dataclasses.asdict(value)


def finite(value: Any) -> Any:
    """Return plain JSON types with None for a number that JSON has not: NaN and the infinities."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_dict(cls: type[T], data: Any, where: str = "job", made: Mapping[str, Any] | None = None) -> T:
    """Return the dataclass that `data`, parsed JSON, describes; the reverse of `to_dict`.

    :param made: fields that are not plain data, already made.
    :raises JobError: an unknown or missing key, a value of the wrong type or out of bounds.
    """
    if not isinstance(data, dict):
        raise JobError(f"{where}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    made = made or {}
    for key in data:
        if key not in fields or key in made:
            raise JobError(f"{where}: unknown key {key!r}.{suggest(key, fields)}")
    for key, f in fields.items():
        optional = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        if key not in {*data, *made} and not optional:
            raise JobError(f"{where}: key {key!r} is missing")
    return cls(**made, **{key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()})


def settle(instance: Any) -> None:
    """Give the fields of a new dataclass their plain types: a path as text, a list as a tuple, numpy's numbers as ours.

    :raises JobError: a value that is not of its field's type, named by the field.
    """
    for name, hint in _hints(instance.__class__).items():
        value = getattr(instance, name)
        if dataclasses.is_dataclass(hint) and isinstance(value, typing.cast(type, hint)):
            continue
        try:
            plain = _value(hint, _python(value), name)
        except JobError as error:
            raise JobError(Option(name), f" {value!r}: must be {_words(hint)}") from error
        object.__setattr__(instance, name, plain)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    known = typing.get_type_hints(cls)
    return {field.name: known[field.name] for field in dataclasses.fields(cls)}


def _python(value: Any) -> Any:
    """Return a value of a class of its own as the plain value that it is."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return tuple(map(_python, value))
    if isinstance(value, os.PathLike):
        return Path(value)
    if hasattr(value, "__index__"):
        return operator.index(value)
    if isinstance(value, str):
        return str.__str__(value)  # whatever a subclass makes of itself
    return float(value) if isinstance(value, float) else value


def _words(hint: Any) -> str:
    """Return what a field of this type must be, as words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(args)}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_words, args))
    if origin is tuple:
        return f"a list, and each of it {_words(args[0])}"
    known = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    return known.get(hint, f"a {hint.__name__}")


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for option in args:
            try:
                return _value(option, value, where)
            except JobError:
                continue
    elif origin is Literal:
        if value in args:
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) == len(value):
            return tuple(_value(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {_value(args[0], k, where): _value(args[1], v, where) for k, v in value.items()}
    elif hint is Path and isinstance(value, Path):
        return os.fspath(value)
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is Any or type(value) is hint:
        return value
    raise JobError(f"{where}: {value!r} is not {getattr(hint, '__name__', hint)}")
