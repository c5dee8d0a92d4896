"""The hook `compress`: the core's methods keep their meaning, the family's own what it states of them."""

from __future__ import annotations

import copy
from dataclasses import replace
from unittest import SkipTest

import torch

from hubft.base.errors import HubftError
from hubft.compress import int8, structure, surgery
from hubft.families.build import compressed
from hubft.surgery import ACTIVATIONS, CHANNELS, GROUP, NORM, taken
from hubft.testing.copies import deepcopy_computes_the_same
from hubft.testing.heads import head_fits_the_task
from hubft.testing.loading import eval_is_deterministic
from hubft.testing.subject import Subject, batch, compute, copied, differing, expect, noise, shapes, shown
from hubft.testing.trial import check


@check(head_fits_the_task)
def none_and_bf16_are_exact(subject: Subject) -> None:
    """`none` keeps every bit; `bf16` rounds every number of the state to bfloat16, and keeps names and dtypes."""
    loaded = subject.adapted()
    before = copied(loaded.model)
    same = compressed(subject.pm, loaded, "none", []).model
    wrong = differing(before, copied(same))
    expect(not wrong, f"`none` changes {shown(wrong)}")
    small = compressed(subject.pm, loaded, "bf16", []).model
    rounded = {n: t.bfloat16().to(t.dtype) if t.is_floating_point() else t for n, t in before.items()}
    wrong = differing(rounded, copied(small))
    expect(not wrong, f"`bf16` gives other numbers than the nearest of bfloat16 in {shown(wrong)}")


@check(head_fits_the_task)
def int8_keeps_a_scale_a_channel(subject: Subject) -> None:
    """`int8` rounds every weight of two or more dimensions to one of 255 steps of its channel, and nothing else."""
    loaded = subject.adapted()
    before = copied(loaded.model)
    small = copied(compressed(subject.pm, loaded, "int8", []).model)
    rounded = {n: int8.widened(*int8.quantized(t)) if int8.takes(t) else t for n, t in before.items()}
    wrong = differing(rounded, small)
    expect(not wrong, f"`int8` gives other numbers than the nearest of its steps in {shown(wrong)}")


@check(head_fits_the_task, eval_is_deterministic)
def own_methods_stay_in_tolerance(subject: Subject) -> None:
    """Each method of the family's own moves logits by no more than it states, and its state still fits the model."""
    if not subject.declared.methods:
        raise SkipTest("it declares no methods of its own")
    for method, tolerance in subject.declared.methods.items():
        loaded = subject.adapted()
        inputs = noise(loaded)
        before = compute(loaded, inputs)
        made = compressed(subject.pm, loaded, method, [batch(loaded)])
        small = made.model
        after = compute(loaded, inputs, small)
        expect(after.shape == before.shape, f"after {method!r} the outputs are {list(after.shape)}")
        share = float((after - before).abs().max() / before.abs().max())
        expect(share <= tolerance, f"{method!r} moves logits by {share:.2g} of the largest, and states {tolerance:.2g}")
        built = structure.build(subject.adapted(), made.structure).model
        wrong = differing(shapes(built), shapes(small))
        expect(not wrong, f"{method!r} changes name, shape or dtype of {shown(wrong)}, and states no record of that")


@check(head_fits_the_task)
def unknown_methods_are_refused(subject: Subject) -> None:
    """A method that nobody knows is a HubftError."""
    loaded = subject.adapted()
    try:
        compressed(subject.pm, loaded, "that_nobody_made", [batch(loaded)])
    except HubftError:
        return
    raise AssertionError("`compress` takes any method: return None for what is not the family's own")


@check(head_fits_the_task, eval_is_deterministic, deepcopy_computes_the_same)
def surgery_is_done_again(subject: Subject) -> None:
    """Other activations, group norms and numbers of channels change what is computed; the record does it again."""
    whole = subject.adapted()
    known = surgery.counted(whole)
    changes = [f"{kind}={'tanh' if kind != 'tanh' else 'relu'}" for kind in ACTIVATIONS if kind in known]
    changes += [f"{NORM}={GROUP}:2"] if NORM in known else []
    changes += [f"{CHANNELS}=4"] if CHANNELS in known else []
    if not changes:
        raise SkipTest("none of its layers can be changed")
    for change in changes:
        loaded, again = (replace(whole, model=copy.deepcopy(whole.model)) for _ in range(2))
        before, records = compute(loaded, noise(loaded)), surgery.made(loaded, change)
        loaded = replace(loaded, preprocess=taken(loaded.inputs, change))
        inputs = noise(loaded)
        try:
            after = compute(loaded, inputs)
        except RuntimeError:
            if change.startswith(CHANNELS):  # it looks at its three channels itself, and a run says so
                continue
            raise
        expect(not torch.equal(before, after), f"{change} changes no output: it computes with layers that it hides")
        structure.build(again, records).model.load_state_dict(loaded.model.state_dict())
        expect(torch.equal(compute(again, inputs), after), f"{change}, done again, gives other outputs")


CHECKS = (
    none_and_bf16_are_exact,
    int8_keeps_a_scale_a_channel,
    own_methods_stay_in_tolerance,
    surgery_is_done_again,
    unknown_methods_are_refused,
)
