"""Norm statistics at the end of a run: measured again, where what training left behind is not what the weights need."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hubft.families import stages
from hubft.hookspecs import Loaded


def live(model: nn.Module) -> dict[str, nn.Module]:
    """Return the norms whose running statistics moved in training: those that `stages.train_mode` leaves in training.

    DETR's backbone has norms with statistics that are constants, in whatever mode: they cannot be measured again.

    The model is in eval mode afterwards.
    """
    stages.train_mode(model)
    found = {name: norm for name, norm in measuring(model).items() if norm.training}
    model.eval()
    return found


def measuring(model: nn.Module) -> dict[str, nn.Module]:
    """Return the norms that have running statistics, by name."""
    return {name: module for name, module in model.named_modules() if _measures(module)}


def unmeasured(model: nn.Module) -> bool:
    """Tell whether a model has norms with running statistics of which none has ever seen a batch: nobody trained it."""
    statistics = [norm.state_dict() for norm in measuring(model).values()]
    fresh = (not its["running_mean"].any() and bool((its["running_var"] == 1).all()) for its in statistics)
    return bool(statistics) and all(fresh)


def _measures(module: nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None and hasattr(module, "reset_running_stats")


@torch.no_grad()
def estimate(loaded: Loaded, norms: dict[str, nn.Module], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Set the running statistics of `norms` to the mean over the batches; return the buffers as they were, by name.

    As torch.optim.swa_utils.update_bn does, but norms that are not named stay as they are, and so does dropout: what
    is frozen is frozen here too.
    """
    before = {f"{n}.{b}".lstrip("."): t.clone() for n, m in norms.items() for b, t in m.named_buffers(recurse=False)}
    model, momenta = loaded.model, {n: m.momentum for n, m in norms.items()}
    model.eval()
    for norm in norms.values():
        norm.reset_running_stats()  # type: ignore[operator]
        norm.momentum = None  # type: ignore[assignment]  # a plain mean over the batches
        norm.training = True
    for inputs in batches:
        loaded.forward(model, inputs)
    for name, norm in norms.items():
        norm.momentum = momenta[name]
    model.eval()
    return before


@torch.no_grad()
def restore(model: nn.Module, buffers: dict[str, Tensor]) -> None:
    """Put back what `estimate` returned."""
    now = dict(model.named_buffers())
    for name, value in buffers.items():
        now[name].copy_(value)
