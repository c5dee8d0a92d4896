"""The stages of a model: from groups of its parameters, or from its children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from torch import nn

from hubft.base.errors import FamilyError
from hubft.families.stages import under

Stages = dict[str, tuple[str, ...]]

BLOCKS = 4  # a model is opened until it shows that many blocks: fewer say little to `--train last:N`


def stages(model: nn.Module, groups: Iterable[Sequence[str]], heads: Sequence[str]) -> Stages:
    """Return the stages of a model whose parameters lie in `groups`, in forward order.

    :param groups: names of parameters; what belongs to a head is left out of them.
    :param heads: dotted names of the modules that make the last stage.

    A group without a matrix (a norm before the head) goes with the group before it. A stage is named after its
    largest module; the first is `stem`, the last `head`, and a body module called `head` is `neck`.
    """
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    matrices = {name for name, p in model.named_parameters() if p.ndim >= 2}
    bodies: list[list[str]] = []
    for group in groups:
        body = [name for name in group if not any(under(name, head) for head in heads)]
        if bodies and matrices.isdisjoint(body):
            bodies[-1] += body
        elif body:
            bodies.append(body)
    covers = [_prefixes(body, sizes) for body in bodies]
    found: Stages = {}
    for cover in covers:
        largest = max(cover, key=lambda prefix: sum(sizes[n] for n in sizes if under(n, prefix)))
        found["stem" if not found else "neck" if largest == "head" else largest] = cover
    found["head"] = tuple(heads)
    if len(found) != len(covers) + 1:
        raise FamilyError(f"two stages of {type(model).__name__} have one name: {', '.join(found)}")
    return found


def blocks(model: nn.Module, heads: Sequence[str]) -> list[list[str]]:
    """Return the names of the parameters before the head, grouped by the entries of the model's outermost lists of
    modules, with what is registered before, between and behind them: for models that are written so, as transformers
    has them."""
    lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [name for name in lists if not any(name != other and under(name, other) for other in lists)]

    def block(name: str) -> str:
        above = next((f"{one}." for one in outer if under(name, one)), "")
        return above + name.removeprefix(above).partition(".")[0] if above else ""

    names = [name for name, _ in model.named_parameters() if not any(under(name, head) for head in heads)]
    return [list(its) for _, its in groupby(names, block)]


def _prefixes(group: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the shortest dotted prefixes that cover the names of `group` and no other of `names`."""
    everywhere = Counter(prefix for name in names for prefix in _ancestors(name))
    here = Counter(prefix for name in group for prefix in _ancestors(name))
    covers = (next(p for p in _ancestors(name) if here[p] == everywhere[p]) for name in group)
    return tuple(dict.fromkeys(covers))


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def children(model: nn.Module, heads: Sequence[str], order: Mapping[str, int] | None = None) -> list[list[str]]:
    """Return the names of the parameters before the head, grouped by the model's blocks, in forward order.

    Blocks are the children of the model; where those are few, the largest is replaced by its own children, and
    so on. A child without a matrix (a norm) goes with the one before it; tokens and positions go with the first.

    :param order: position of each module in the forward pass (`first_use`); without it, order of registration.
    """
    shapes = {n: p.shape for n, p in model.named_parameters() if not any(under(n, head) for head in heads)}
    units = _units(shapes)
    if order is not None:
        units = _in_order(units, order)
    first: list[str] = []
    groups: list[list[str]] = []
    for prefix, names in units.items():
        matrix = any(len(shapes[name]) >= 2 for name in names)
        if prefix in shapes and matrix:
            first += names
        elif groups and not (matrix and any(len(shapes[name]) >= 2 for name in groups[-1])):
            groups[-1] += names
        else:
            groups.append(list(names))
    return [first + groups[0], *groups[1:]] if groups else [first]


def _units(shapes: Mapping[str, Any]) -> dict[str, list[str]]:
    units = _split("", list(shapes))
    while True:
        blocks = {
            prefix: names for prefix, names in units.items() if any(n.count(".") > prefix.count(".") + 1 for n in names)
        }
        if not blocks or len(blocks) >= BLOCKS:
            return units
        largest = max(blocks, key=lambda prefix: sum(shapes[name].numel() for name in blocks[prefix]))
        opened: dict[str, list[str]] = {}
        for prefix, names in units.items():
            opened |= _split(prefix + ".", names) if prefix == largest else {prefix: names}
        units = opened


def _split(prefix: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names, all below `prefix`, by their next component."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(prefix + name.removeprefix(prefix).partition(".")[0], []).append(name)
    return found


def _in_order(units: Mapping[str, list[str]], order: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the blocks by their first use; what the pass does not use goes with its neighbour in registration."""
    found: dict[str, list[str]] = {}
    places: dict[str, int] = {}
    waiting: list[str] = []
    for prefix, names in units.items():
        uses = [place for module, place in order.items() if under(module, prefix)]
        if uses:
            found[prefix], places[prefix] = [*waiting, *names], min(uses)
            waiting = []
        else:
            (found[next(reversed(found))] if found else waiting).extend(names)
    return dict(sorted(found.items(), key=lambda unit: places[unit[0]])) if found else dict(units)
