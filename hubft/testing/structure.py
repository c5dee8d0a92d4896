"""Head and stages: what freezing, layer-wise rates and thawing speak in."""

from __future__ import annotations

from functools import partial

from torch import nn

from hubft.families import stages
from hubft.hookspecs import Loaded
from hubft.testing.loading import load_gives_a_plain_model, preprocess_fits_the_model
from hubft.testing.subject import Subject, compute, expect, noise
from hubft.testing.trial import check


@check(load_gives_a_plain_model)
def stages_cover_everything_once(subject: Subject) -> None:
    """Every parameter lies in exactly one stage, and every stage has parameters, but the place for a head."""
    loaded = subject.load()
    try:
        found = set(stages.stage_of(loaded).values())
    except ValueError as error:
        raise AssertionError(str(error)) from error
    given = isinstance(dict(loaded.model.named_modules()).get(loaded.head), nn.Identity)  # it gives features
    last = list(loaded.stages)[-1] if loaded.stages else ""
    empty = [stage for stage in loaded.stages if stage not in found and not (given and stage == last)]
    expect(not empty, f"the stage {', '.join(empty)} has no parameter")


@check(stages_cover_everything_once, preprocess_fits_the_model)
def stages_are_in_forward_order(subject: Subject) -> None:
    """A forward pass enters the stages in their order."""
    loaded = subject.build()
    order = list(dict.fromkeys(_entered(loaded)))
    wanted = [stage for stage in loaded.stages if stage in order]
    expect(order == wanted, f"a forward pass enters {', '.join(order)}; the stages are {', '.join(wanted)}")


@check(stages_cover_everything_once)
def head_is_the_last_stage(subject: Subject) -> None:
    """The head is a module, and one of those that the last stage lists."""
    loaded = subject.load()
    modules = dict(loaded.model.named_modules())
    expect(loaded.head in modules and bool(loaded.head), f"the model has no module {loaded.head!r}, its head")
    last = list(loaded.stages)[-1]
    listed = ", ".join(loaded.stages[last])
    expect(loaded.head in loaded.stages[last], f"the last stage {last!r} is {listed}, and not the head {loaded.head!r}")


def _entered(loaded: Loaded) -> list[str]:
    """Return the stage of every module that a forward pass enters, in order; a module around stages has none."""
    found: list[str] = []

    def enter(stage: str, *_: object) -> None:
        found.append(stage)

    handles = [
        module.register_forward_pre_hook(partial(enter, stage))
        for name, module in loaded.model.named_modules()
        for stage, prefixes in loaded.stages.items()
        if any(stages.under(name, prefix) for prefix in prefixes)
    ]
    try:
        compute(loaded, noise(loaded, 1))
    finally:
        for handle in handles:
            handle.remove()
    return found


CHECKS = (stages_cover_everything_once, stages_are_in_forward_order, head_is_the_last_stage)
