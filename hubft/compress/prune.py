"""Fewer channels: structured pruning by Torch-Pruning, in steps, with training between.

A group of channels that must go together (through residual sums, depthwise convolutions, concatenations) is found by
Torch-Pruning's dependency graph and judged by the norm of all its weights (DepGraph, Fang et al. 2023,
https://arxiv.org/abs/2301.12900). What is left is a smaller model of the same class: its widths are the record by
which a package of it is built.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hubft.base import distributions
from hubft.base.batches import rows
from hubft.base.errors import HubftError, JobError, Option, PackageError, reason
from hubft.compress import counts, layers, ties, widths
from hubft.compress.bounded import bounded
from hubft.compress.work import Work
from hubft.hookspecs import Compressed, Loaded

RATIOS = (0.05, 0.9)
NEAR = 0.9  # of RATIO: where less goes, it is said
INSTEAD = "; int8 makes any model smaller"
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
    whole, tied = replace(loaded, model=copy.deepcopy(loaded.model)), ties.found(loaded.model)
    with _foreign(loaded):
        pruner = _pruner(loaded, float(work.argument), inputs)
    for step in range(STEPS):
        _live(loaded.model)
        with _foreign(loaded):
            pruner.step()
            _tie(loaded, tied)
            widths.follow(loaded.model)
            _still_runs(loaded, inputs)
        last = step == STEPS - 1
        work.tune(loaded.model, 1.0 if last else 1 / STEPS)
    note, record = _short(whole, loaded, float(work.argument)), widths.changed(whole, loaded)
    if problem := _unlike(whole, loaded, record, inputs):
        raise JobError(Option("compress"), f" prune: {name} cannot be built again from its widths: {problem}{INSTEAD}")
    return Compressed(loaded.model, (record,), note)


@contextmanager
def _foreign(loaded: Loaded) -> Iterator[None]:
    """The border for whatever Torch-Pruning's graph does to a model that it does not understand."""
    name = loaded.base.reference
    with warnings.catch_warnings(), bounded(loaded.model):
        warnings.simplefilter("ignore")  # of tensors in no layer, which it cuts as they must be
        try:
            yield
        except HubftError:
            raise
        except Exception as error:
            raise JobError(
                Option("compress"), f" prune: {name} cannot be pruned by Torch-Pruning: {reason(error)}{INSTEAD}"
            ) from error


def _pruner(loaded: Loaded, ratio: float, inputs: Any) -> Any:
    try:
        import torch_pruning  # not at the top: it is an extra
    except ImportError as error:
        raise JobError(
            Option("compress"), f" prune: {distributions.missing('Torch-Pruning', distributions.installs('prune'))}"
        ) from error
    loaded.model.eval()
    _live(loaded.model)
    if name := _uncalled(loaded, inputs):
        why = f"the weight of {name} is used without a call of it, which Torch-Pruning does not follow"
        raise JobError(Option("compress"), f" prune: {loaded.base.reference} cannot be pruned: {why}{INSTEAD}")
    return torch_pruning.pruner.BasePruner(
        loaded.model,
        inputs,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        iterative_steps=STEPS,
        ignored_layers=[loaded.model.get_submodule(loaded.head)],
        round_to=_rounding(loaded.model),
        num_heads=_heads(loaded.model),
        prune_head_dims=True,
        in_channel_groups={},  # it would enter layers in one dict for all pruners
        out_channel_groups=_grouped(loaded.model),
        forward_fn=loaded.forward,
    )


def _uncalled(loaded: Loaded, inputs: Any) -> str:
    """Return the name of a layer that takes part with its weight alone, as in torchvision's Swin; else nothing.

    The graph is made of calls: without those of such layers, it may cut what they take and not them.
    """
    within = tuple(f"{name}." for name, its in loaded.model.named_modules() if isinstance(its, nn.MultiheadAttention))
    known = {m: name for name, m in loaded.model.named_modules() if layers.of(m) and not name.startswith(within)}
    called: set[nn.Module] = set()
    hooks = [module.register_forward_hook(lambda module, *_: called.add(module)) for module in known]
    try:
        outputs = loaded.forward(loaded.model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    seen = {id(parameter) for module in called for parameter in module.parameters()}
    weights = {name: module.weight for module, name in known.items() if module not in called}
    weights = {name: its for name, its in weights.items() if isinstance(its, nn.Parameter) and id(its) not in seen}
    used = torch.autograd.grad(outputs.sum(), list(weights.values()), allow_unused=True) if weights else ()
    return next((name for name, gradient in zip(weights, used, strict=True) if gradient is not None), "")


def _heads(model: nn.Module) -> dict[nn.Linear, int]:
    """Return the number of heads of each attention, by the layer that makes them: heads stay, and get narrower."""
    attentions: list[Any] = [module for module in model.modules() if widths.qkv(module)]
    return {module.qkv: module.num_heads for module in attentions}


def _grouped(model: nn.Module) -> dict[nn.MultiheadAttention, int]:
    """Return the number of heads of each attention of torch's own, whose width is that of the residual stream.

    Equally many channels go from each head. It is no entry of `_heads`: the layers of its queries, keys and values are
    inside it, and Torch-Pruning leaves out an attention of which it sees none.
    """
    return {module: module.num_heads for module in model.modules() if isinstance(module, nn.MultiheadAttention)}


def _rounding(model: nn.Module) -> int:
    """Return the number that widths become multiples of: ROUND_TO would leave nothing of narrow groups or heads."""
    within = [layer.out_features // (3 * heads) for layer, heads in _heads(model).items()]
    within += [layer.embed_dim // heads for layer, heads in _grouped(model).items()]
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and 1 < module.groups < module.out_channels:
            within.append(module.out_channels // module.groups)
        elif isinstance(module, nn.GroupNorm) and module.num_groups > 1:
            within.append(module.num_channels // module.num_groups)
    return max(1, min([4 * ROUND_TO, *within]) // 4)


def _tie(loaded: Loaded, tied: Mapping[str, str]) -> None:
    """Make parameters one again that were before a step, which gives each layer a new one.

    :raises JobError: it took other channels out of one than of the other.
    """
    if name := ties.parted(loaded.model, tied):
        one = f"{tied[name]} and {name} are one tensor, and Torch-Pruning takes other channels out of each"
        raise JobError(Option("compress"), f" prune: {loaded.base.reference} cannot be pruned: {one}{INSTEAD}")
    ties.again(loaded.model, tied)


@torch.no_grad()
def _still_runs(loaded: Loaded, inputs: Any) -> None:
    """Call the model once: between the steps it is trained, with widths that an attention may not take."""
    was_training = loaded.model.training
    loaded.forward(loaded.model.eval(), inputs)
    loaded.model.train(was_training)


def _short(whole: Loaded, small: Loaded, ratio: float) -> str:
    """Return what to tell where Torch-Pruning left so many layers alone that far less went than was asked for."""
    before, after = counts.outputs(whole), counts.outputs(small)
    taken = 1 - sum(after.values()) / sum(before.values())
    left = [name for name, number in before.items() if after[name] == number]
    if taken > NEAR * ratio or not left:
        return ""
    share = f"prune:{ratio:g} takes {taken:.0%} of the channels out of {small.base.reference}"
    return f"{share}: Torch-Pruning leaves {len(left)} of its {len(before)} layers as they are, the first {left[0]}"


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
