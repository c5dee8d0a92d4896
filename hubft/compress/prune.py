"""Fewer channels: structured pruning by Torch-Pruning, in steps, with training between.

A group of channels that must go together (through residual sums, depthwise convolutions, concatenations) is found by
Torch-Pruning's dependency graph and judged by the norm of all its weights (DepGraph, Fang et al. 2023,
https://arxiv.org/abs/2301.12900). What is left is a smaller model of the same class: its widths are the record by
which a package of it is built.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hubft.base import distributions
from hubft.base.batches import rows
from hubft.base.errors import HubftError, JobError, Option, PackageError, reason
from hubft.compress import widths
from hubft.compress.work import Work
from hubft.hookspecs import Compressed, Loaded

RATIOS = (0.05, 0.9)
STEPS = 4
"""Parts in which the channels go. After each but the last the model trains for a step's share of the run's epochs, and
after the last for all of them: what is left is then farthest from what was trained, and a whole schedule brings it to
rest."""
ROUND_TO = 8  # channels that are left are a multiple of it: what the kernels of processors are made for
TOLERANCE = 1e-4
"""How far outputs may lie from those of the model built again, as a share of the largest."""


def check(argument: str) -> None:
    """Check the ratio of `prune:RATIO`.

    :raises JobError: it is no number in RATIOS.
    """
    try:
        good = RATIOS[0] <= float(argument) <= RATIOS[1]
    except ValueError:
        good = False
    if not good:
        bounds = f"in [{RATIOS[0]}, {RATIOS[1]}], as in prune:0.5"
        raise JobError(Option("compress"), f" 'prune:{argument}': RATIO is the share of channels to take out, {bounds}")


def pruned(work: Work) -> Compressed:
    """Return the model with this share of the channels of every layer taken out, those with the smallest weights.

    The outputs of the head stay. The model is changed in place.

    :raises JobError: Torch-Pruning is not installed, or the model cannot be pruned, or not built again from a record.
    """
    loaded, name = work.loaded, work.loaded.base.reference
    inputs = rows(next(iter(work.batches))[0], 0, 1)
    whole = copy.deepcopy(loaded.model)
    before = widths.read(whole)
    try:
        pruner = _pruner(loaded, float(work.argument), inputs)
        for step in range(STEPS):
            _live(loaded.model)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tensors in no layer, which it cuts as they must be
                pruner.step()
            widths.follow(loaded.model)
            last = step == STEPS - 1
            work.tune(loaded.model, 1.0 if last else 1 / STEPS)
    except HubftError:
        raise
    except Exception as error:  # whatever a foreign graph does to a model that it does not understand
        raise JobError(
            Option("compress"), f" prune: {name} cannot be pruned by Torch-Pruning: {reason(error)}"
        ) from error
    record = widths.changed(before, loaded)
    if problem := _unlike(replace(loaded, model=whole), loaded, record, inputs):
        raise JobError(Option("compress"), f" prune: {name} cannot be built again from its widths: {problem}")
    return Compressed(loaded.model, (record,))


def _pruner(loaded: Loaded, ratio: float, inputs: Any) -> Any:
    try:
        import torch_pruning  # not at the top: it is an extra
    except ImportError as error:
        raise JobError(Option("compress"), f" prune: {distributions.missing('Torch-Pruning', 'prune')}") from error
    loaded.model.eval()
    _live(loaded.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch_pruning.pruner.BasePruner(
            loaded.model,
            inputs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            iterative_steps=STEPS,
            ignored_layers=[loaded.model.get_submodule(loaded.head)],
            round_to=ROUND_TO,
            num_heads=_heads(loaded.model),
            prune_head_dims=True,
            forward_fn=loaded.forward,
        )


def _heads(model: nn.Module) -> dict[nn.Module, int]:
    """Return the number of heads of each attention, by the layer that makes them: heads stay, and get narrower."""
    found: dict[nn.Module, int] = {}
    for module in model.modules():
        if (layer := widths.qkv(module)) is not None:
            found[layer] = module.num_heads  # type: ignore[assignment]
        elif isinstance(module, nn.MultiheadAttention):
            found[module] = module.num_heads
    return found


def _live(model: nn.Module) -> None:
    """Have every parameter ask for a gradient: the graph of layers is read from that of gradients."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)


@torch.no_grad()
def _unlike(whole: Loaded, small: Loaded, record: dict[str, Any], inputs: Any) -> str:
    """Return why the model before pruning, given the record and the weights, is not the pruned one; else nothing."""
    try:
        widths.check(record)
        widths.give(whole, record)
        whole.model.load_state_dict(small.model.state_dict())
        built, wanted = (one.forward(one.model.eval(), inputs) for one in (whole, small))
    except (PackageError, RuntimeError, ValueError) as error:
        return reason(error)
    if not record["modules"]:
        return "no layer of it got narrower"
    if not torch.allclose(built, wanted, rtol=0, atol=TOLERANCE * max(1.0, float(wanted.abs().max()))):
        return "it computes something else"
    return ""
