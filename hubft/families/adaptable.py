"""Which layers of a model can have adapters, and which of them get one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base.errors import JobError, Option
from hubft.compress import ties
from hubft.families import stages
from hubft.families.stages import under
from hubft.hookspecs import Loaded
from hubft.rules import Rule, parse


def heads(loaded: Loaded) -> list[str]:
    """Return the modules that make the head.

    :raises JobError: peft's file cannot hold one.
    """
    modules, tied = dict(loaded.model.named_modules()), ties.found(loaded.model)
    heads = list(loaded.stages[list(loaded.stages)[-1]])
    where = f" does not work for {loaded.base.reference}: "
    for head in heads:
        if head not in modules:
            why = f"its head {head!r} is no module, and peft stores modules"
            raise JobError(Option("adapter"), where, why)
    for name, first in tied.items():
        if any(under(name, head) != under(first, head) for head in heads):
            why = f"{name} of its head is {first} of its body, so the body would train with it"
            raise JobError(Option("adapter"), where, why)
    return heads


def reasons(loaded: Loaded, heads: list[str], inputs: Any) -> dict[str, str]:
    """Return for every layer with a matrix, before the head, why it can have no adapter; nothing where it can."""
    model, tied = loaded.model, ties.found(loaded.model)
    shared = {name.rpartition(".")[0] for pair in tied.items() for name in pair}
    shares = [prefix for its in loaded.stages.values() for prefix in its]
    kept = () if heads else loaded.stages[list(loaded.stages)[-1]]
    called = _called(loaded, inputs)
    found = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2 or any(under(name, head) for head in heads):
            continue
        if name in shared:
            found[name] = "its weight is that of another layer, too"
        elif any(under(name, head) for head in kept):
            found[name] = "the head of the base, which stays as it is"
        elif any(re.match(rf"(^|.*\.){head}($|\..*)", name) for head in heads):
            found[name] = "peft would take it for the head, by its name"
        elif any(under(prefix, name) and prefix != name for prefix in shares):
            found[name] = "its parameters are of several stages"
        elif name not in called:
            found[name] = "the model reads its weight and does not call it"
        else:
            found[name] = _unfit(module)
    return found


def _unfit(module: nn.Module) -> str:
    """Return why peft has no adapter for such a layer, or one that could not be folded into it."""
    its: Any = module
    if type(its).forward is nn.Linear.forward:
        return ""
    if type(its) is not nn.Conv2d:
        return f"a {type(its).__name__} is neither a plain Linear nor a plain Conv2d"
    if its.groups > 1:
        return "a convolution in groups"
    plain = its.padding_mode == "zeros" and set(its.dilation) == {1}
    return "" if plain else "a convolution with dilation, or with other padding than zeros"


@torch.no_grad()
def _called(loaded: Loaded, inputs: Any) -> set[str]:
    """Return the modules that a forward pass calls."""
    called: set[str] = set()

    def note(name: str, *_: object) -> None:
        called.add(name)

    hooks = [m.register_forward_hook(partial(note, name)) for name, m in loaded.model.named_modules()]
    try:
        loaded.forward(loaded.model.eval(), inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return called


def chosen(loaded: Loaded, text: str, reasons: Mapping[str, str]) -> list[str]:
    """Return the layers that rules select, in the model's order.

    :raises JobError: a rule that selects none which can have an adapter, or rules that leave none.
    """
    of, option = stages.stage_of(loaded), Option("adapter_layers")
    plus: set[str] = set()
    minus: set[str] = set()
    for rule in parse(text, option):
        names = set(stages.select(rule, loaded, of))
        if not names:
            raise JobError(option, f": {stages.selects_nothing(rule, loaded)}")
        layers = {name for name in reasons if f"{name}.weight" in names}
        fitting = {name for name in layers if not reasons[name]}
        if not fitting and not rule.minus:
            why = next((f"{name}: {reasons[name]}" for name in reasons if name in layers), "it has no matrix")
            kinds = sorted({type(loaded.model.get_submodule(n)).__name__ for n, bad in reasons.items() if not bad})
            known = f"adapters go to {' and '.join(kinds)} before the head" if kinds else "no layer of it can have one"
            raise JobError(option, f": nothing that {_written(rule)!r} selects can have an adapter ({why}); {known}")
        (minus if rule.minus else plus).update(fitting)
    found = [name for name in reasons if name in plus - minus]
    if not found:
        raise JobError(option, f" {text!r}: leaves no layer: write all, or a stage of {', '.join(loaded.stages)}")
    return found


def _written(rule: Rule) -> str:
    return rule.value if rule.kind == "name" else f"{rule.kind}:{rule.value}".rstrip(":")


def targets(layers: list[str], names: list[str]) -> list[str] | str:
    """Return the layers as peft's config names them: as a list, by the ends of names, where that means no other layer;
    else as a pattern of whole names."""
    meant = [name for name in names if any(name == layer or name.endswith(f".{layer}") for layer in layers)]
    return layers if set(meant) == set(layers) else "|".join(map(re.escape, layers))
