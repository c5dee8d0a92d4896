"""Dataclasses as plain JSON types, and back: every key and type is checked, nothing is guessed."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar

from hubft.errors import JobError, suggest

T = TypeVar("T")


def to_dict(value: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON types."""
    return dataclasses.asdict(value)


def from_dict(cls: type[T], data: Any, where: str = "job") -> T:
    """Return the dataclass that `data`, parsed JSON, describes; the reverse of `to_dict`.

    :raises JobError: an unknown or missing key, a value of the wrong type or out of bounds.
    """
    if not isinstance(data, dict):
        raise JobError(f"{where}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise JobError(f"{where}: unknown key {key!r}.{suggest(key, fields)}")
    for key, f in fields.items():
        optional = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        if key not in data and not optional:
            raise JobError(f"{where}: key {key!r} is missing")
    return cls(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()})


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
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is Any or type(value) is hint:
        return value
    raise JobError(f"{where}: {value!r} is not {getattr(hint, '__name__', hint)}")
