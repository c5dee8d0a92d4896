"""What trains in a model, by the rules of `--train`; what is frozen stands still, in every module of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hubft.base.errors import JobError, Option, suggest
from hubft.rules import KINDS, Rule, forms, parse

if TYPE_CHECKING:
    from torch import nn

    from hubft.hookspecs import Loaded

ADAPTED = "base_layer"  # child of a layer that has an adapter: the layer as it was


def under(name: str, prefix: str) -> bool:
    """Tell whether a dotted name is `prefix` itself or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def stage_of(loaded: Loaded) -> dict[str, str]:
    """Return the stage of every parameter, by parameter name, in the model's own order.

    :raises ValueError: a parameter that no stage, or more than one, covers.
    """
    found = {}
    for name, _ in loaded.model.named_parameters():
        stages = [s for s, prefixes in loaded.stages.items() for p in prefixes if under(name, p)]
        if len(stages) != 1:
            raise ValueError(f"parameter {name} lies in {stages or 'no stage'}, not in exactly one")
        found[name] = stages[0]
    return found


def head_of(loaded: Loaded) -> nn.Module:
    """Return the modules of the last stage: the layer that gives the outputs, and those that are solved with it."""
    from torch import nn  # not at the top: rules are checked before torch is imported

    parts = [loaded.model.get_submodule(prefix) for prefix in loaded.stages[list(loaded.stages)[-1]]]
    return parts[0] if len(parts) == 1 else nn.ModuleList(parts)


def trainable(loaded: Loaded, train: str, progress: float) -> frozenset[str]:
    """Return the names of the parameters that `train` selects at this point of the run.

    :raises JobError: a rule that selects nothing in this model; the message lists what it has.
    """
    stages = stage_of(loaded)
    head = {name for name, stage in stages.items() if stage == list(loaded.stages)[-1]}
    plus: set[str] = set()
    minus: set[str] = set()
    for rule in parse(train):
        selected = set(select(rule, loaded, stages))
        # a model without norms has none to hold, and one that gives features has no head yet
        if not selected and rule.kind != "head" and (rule.kind, rule.minus) != ("norms", True):
            raise JobError(Option("train"), f": {selects_nothing(rule, loaded)}")
        if rule.start <= progress:
            (minus if rule.minus else plus).update(selected)
    return frozenset(head | (plus - minus))


def select(rule: Rule, loaded: Loaded, stages: dict[str, str]) -> Iterator[str]:
    """Yield the names of the parameters that a rule selects.

    :param stages: of every parameter, as `stage_of` gives it.
    """
    order = list(loaded.stages)
    wanted = {
        "all": order,
        "head": order[-1:],
        "last": order[-1 - int(rule.value) :] if rule.kind == "last" else [],
        "stage": [rule.value],
        "name": [rule.value],
    }.get(rule.kind, [])
    layers = [
        name
        for name, module in loaded.model.named_modules()
        if (rule.kind == "type" and type(module).__name__ == rule.value)
        or (rule.kind == "norms" and getattr(module, "running_mean", None) is not None)
    ]
    for name, stage in stages.items():
        if (
            stage in wanted
            or any(under(name, layer) for layer in layers)
            or (rule.kind == "match" and re.search(rule.value, name))
        ):
            yield name


def selects_nothing(rule: Rule, loaded: Loaded) -> str:
    """Return what to say of a rule that selects no parameter, with what the model has."""
    if rule.kind == "name":
        its = ", ".join(loaded.stages)
        near = suggest(rule.value, [*loaded.stages, *KINDS])
        return f"{rule.value!r} is neither a stage of this model ({its}) nor a rule ({forms()}).{near}"
    known = {
        "stage": list(loaded.stages),
        "type": sorted({type(m).__name__ for n, m in loaded.model.named_modules() if n and list(m.parameters())}),
    }.get(rule.kind)
    name = f"{rule.kind}:{rule.value}".rstrip(":") + " selects no parameter"
    if known is None:
        return f"{name}; `hubft show {shlex.quote(loaded.base.reference)}` lists the stages"
    return f"{name}; this model has {', '.join(known)}.{suggest(rule.value, known)}"


def table(loaded: Loaded, train: str, starts: list[float]) -> list[list[object]]:
    """Return a row a stage and a total: name, modules, parameters, those that train as loaded, and by `train` at
    each of `starts`."""
    stages = stage_of(loaded)
    chosen = [trainable(loaded, train, start) for start in starts]
    parameters = dict(loaded.model.named_parameters())
    rows: list[list[object]] = []
    for stage, prefixes in loaded.stages.items():
        sizes = {name: parameters[name].numel() for name, its in stages.items() if its == stage}
        live = {name for name in sizes if parameters[name].requires_grad}
        trains = [sum(size for name, size in sizes.items() if name in names) for names in (sizes, live, *chosen)]
        rows.append([stage, " ".join(prefixes), *trains])
    return [*rows, ["total", "", *(sum(int(str(row[i])) for row in rows) for i in range(2, len(rows[0])))]]


def set_trainable(model: nn.Module, names: frozenset[str]) -> None:
    """Set `requires_grad` of every parameter: on for `names`, off for the rest, whose gradients are dropped."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
        if name not in names:
            parameter.grad = None


def train_mode(model: nn.Module) -> None:
    """Put the model in training mode, and in eval mode what is frozen.

    A module whose parameters are all frozen is in `eval()`, so that norm statistics and dropout stand
    still. A module without parameters (dropout, stochastic depth, norms without affine) goes with the
    layer that it feeds: the next one in order of registration, with its adapter, if it has one.
    """
    model.train()
    waiting: list[nn.Module] = []
    for module in model.modules():
        if next(module.parameters(), None) is None:
            waiting.append(module)
            continue
        frozen = not any(p.requires_grad for p in module.parameters())
        if frozen:
            module.eval()
        if next(module.parameters(recurse=False), None) is not None or hasattr(module, ADAPTED):
            if frozen:
                for feeder in waiting:
                    feeder.eval()
            waiting.clear()
