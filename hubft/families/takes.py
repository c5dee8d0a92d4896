"""Which kinds of inputs a family's models take, read from its source: importing it would import its libraries."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from hubft.base.distributions import OWN, Family
from hubft.base.errors import FamilyError
from hubft.families import plugins
from hubft.hookspecs import Declared

DECLARES = "hubft_family"


def kinds(name: str) -> tuple[str, ...]:
    """Return the kinds that a family declares as `takes`; of a family that is not there, those of most."""
    try:
        family = plugins.find(name)
        stated = _stated(family)
        return plugins.declared(plugins.manager(name), name).takes if stated is None else stated
    except FamilyError:  # told where the family is asked for its model
        return Declared.takes


def _stated(family: Family) -> tuple[str, ...] | None:
    """Return what the source says; None where it cannot be told without running it."""
    try:
        tree = ast.parse(_source(family).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, ImportError, AttributeError):
        return None
    values = [node.value for node in tree.body if isinstance(node, ast.Assign) and _declares(node)]
    if not values:
        return Declared.takes
    stated = values[-1]
    if not isinstance(stated, ast.Dict) or None in stated.keys:  # made by a call, or of another dict
        return None
    found = [value for key, value in zip(stated.keys, stated.values, strict=True) if _named(key)]
    if not found:
        return Declared.takes
    try:
        said = ast.literal_eval(found[-1])
    except ValueError:  # computed
        return None
    return said if isinstance(said, tuple) and all(isinstance(one, str) for one in said) else None


def _named(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "takes"


def _declares(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == DECLARES for target in node.targets)


def _source(family: Family) -> Path:
    if family.distribution == OWN and (path := plugins.in_checkout(family.name)):
        return path
    spec = importlib.util.find_spec(family.module)
    if spec is None or spec.origin is None:
        raise ImportError(family.module)
    return Path(spec.origin)
