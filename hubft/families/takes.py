"""Which kind of inputs a family's models take, read from its source: importing it would import its libraries."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

from hubft.base.distributions import OWN, Family
from hubft.base.errors import FamilyError
from hubft.families import plugins
from hubft.hookspecs import Declared

DECLARES = "hubft_family"


def kind(name: str) -> str:
    """Return the kind that a family declares as `takes`; of a family that is not there, that of most."""
    try:
        family = plugins.find(name)
        stated = _stated(family)
        return plugins.declared(plugins.manager(name), name).takes if stated is None else stated
    except FamilyError:  # told where the family is asked for its model
        return Declared.takes


def _stated(family: Family) -> str | None:
    """Return what the source says; None where it cannot be told without running it."""
    try:
        tree = ast.parse(_source(family).read_text(encoding="utf-8"))
        values = [node.value for node in tree.body if isinstance(node, ast.Assign) and _declares(node)]
        stated: Any = ast.literal_eval(values[-1]) if values else {}
        found = stated.get("takes", Declared.takes)
        return found if isinstance(found, str) else None
    except (OSError, ValueError, SyntaxError, ImportError, AttributeError, TypeError):
        return None


def _declares(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == DECLARES for target in node.targets)


def _source(family: Family) -> Path:
    path = plugins.CHECKOUT / f"hubft_{family.name}.py"
    if family.distribution == OWN and path.exists():
        return path
    spec = importlib.util.find_spec(family.module)
    if spec is None or spec.origin is None:
        raise ImportError(family.module)
    return Path(spec.origin)
