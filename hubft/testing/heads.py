"""The hook `adapt_head`, and that hooks which change something say so."""

from __future__ import annotations

from typing import Any

from torch import nn

from hubft.base import digest
from hubft.families import build, stages
from hubft.hookspecs import Loaded
from hubft.job import Head
from hubft.testing.loading import preprocess_fits_the_model
from hubft.testing.structure import head_is_the_last_stage
from hubft.testing.subject import Subject, batch, compute, copied, differing, expect, noise, shapes, shown
from hubft.testing.trial import check

HEADS = (
    Head(outputs=1),
    Head(outputs=2),
    Head(outputs=1000),
    Head(outputs=3, hidden=(5, 4), dropout=0.25),
    Head(outputs=3, dropout=0.5),
)


@check(head_is_the_last_stage, preprocess_fits_the_model)
def head_fits_the_task(subject: Subject) -> None:
    """A new head gives 1, 2 or 1000 outputs, has the hidden layers and the dropout asked for, and stays one stage."""
    before = shapes(subject.build().model)
    for asked in HEADS:
        adapted = subject.adapted(asked)
        outputs = compute(adapted, noise(adapted))
        expect(outputs.shape == (2, asked.outputs), f"with {asked} two images give {list(outputs.shape)}")
        stages.stage_of(adapted)
        for head in _changed(adapted, before):
            layers = list(adapted.model.get_submodule(head).modules())
            widths = [layer.weight.shape[0] for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
            wanted = [*asked.hidden, asked.outputs]
            expect(widths[-len(wanted) :] == wanted, f"with {asked} the layers of {head} have the widths {widths}")
            drops = {layer.p for layer in layers if isinstance(layer, nn.Dropout)}
            expect(not asked.dropout or asked.dropout in drops, f"with {asked} {head} has no such dropout")


@check(head_fits_the_task)
def new_head_leaves_the_rest(subject: Subject) -> None:
    """A new head changes no bit of any other tensor, and adds and removes none."""
    loaded = subject.build()
    before = copied(loaded.model)
    adapted = build.adapt(subject.pm, subject.job(), loaded)
    heads = _heads(adapted)
    rest = [
        {name: tensor for name, tensor in state.items() if not any(stages.under(name, head) for head in heads)}
        for state in (before, copied(adapted.model))
    ]
    wrong = differing(*rest)
    expect(not wrong, f"`adapt_head` changes {shown(wrong)}, not only {', '.join(heads)}")


@check(head_fits_the_task)
def hooks_return_their_result(subject: Subject) -> None:
    """A hook that changed something returns its result; with None the core's default would run after it."""
    for hook in ("adapt_head", "freeze", "train_step", "compress"):
        for own in getattr(subject.pm.hook, hook).get_hookimpls():
            if own.plugin is not subject.plugin or own.wrapper or own.hookwrapper:
                continue
            for arguments in _calls(subject, hook):
                model = arguments["loaded"].model if "loaded" in arguments else arguments["model"]
                before = _traits(model)
                result = own.function(*(arguments[name] for name in own.argnames))
                wrong = shown(differing(before, _traits(model)))
                expect(result is not None or not wrong, f"`{hook}` changed {wrong} and returned None")


def _calls(subject: Subject, hook: str) -> list[dict[str, Any]]:
    """Return the arguments of some calls of a hook."""
    if hook == "adapt_head":
        return [{"loaded": subject.build(), "head": head, "task": head} for head in HEADS]
    loaded = subject.adapted()
    if hook == "freeze":
        return [{"loaded": loaded, "train": train, "progress": 0.5} for train in ("head", "all", "all,-norms")]
    if hook == "train_step":
        given = {"model": loaded.model, "batch": batch(loaded), "criterion": nn.CrossEntropyLoss()}
        return [{**given, "forward": loaded.forward}]
    calls = [(method, subject.adapted()) for method in ("none", "bf16", *subject.declared.methods)]
    known = {"batches": [batch(loaded)], "tune": build.untuned}
    return [{"model": it.model, "loaded": it, "forward": it.forward, "method": m, **known} for m, it in calls]


def _traits(model: nn.Module) -> dict[str, Any]:
    """Return what a hook could change in place: modules, values, and what requires a gradient."""
    return {
        **{f"module {name!r}": module for name, module in model.named_modules()},
        **digest.of_tensors(model.state_dict()),
        **{f"requires_grad of {name}": p.requires_grad for name, p in model.named_parameters()},
    }


def _changed(loaded: Loaded, before: dict[str, Any]) -> list[str]:
    """Return those of `_heads` that make the outputs: layers in front of them keep their shapes."""
    now = shapes(loaded.model)
    kept = {head for head in _heads(loaded) if _of(now, head) == _of(before, head)}
    return [head for head in _heads(loaded) if head == loaded.head or head not in kept]


def _of(tensors: dict[str, Any], head: str) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if stages.under(name, head)}


def _heads(loaded: Loaded) -> list[str]:
    """Return the modules of the last stage."""
    modules = dict(loaded.model.named_modules())
    return [prefix for prefix in loaded.stages[list(loaded.stages)[-1]] if prefix in modules]


CHECKS = (head_fits_the_task, new_head_leaves_the_rest, hooks_return_their_result)
