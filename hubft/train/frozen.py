"""The run's own proof that what was frozen stood still: sha256 of parameters and buffers, before and after."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from hubft.base import digest
from hubft.base.errors import TrainingError


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that must not move: parameters without gradient, buffers of modules in eval mode.

    To be asked in training mode (`stages.train_mode`): there, eval marks what is frozen.
    """
    frozen: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    for prefix, module in model.named_modules():
        if not module.training:
            frozen |= {f"{prefix}.{n}".lstrip("."): b for n, b in module.named_buffers(recurse=False)}
    return frozen


def fingerprint(model: nn.Module) -> dict[str, str]:
    """Return the sha256 of every tensor that must not move, by name."""
    return digest.of_tensors(tensors(model))


def same(model: nn.Module, before: Mapping[str, str]) -> dict[str, str]:
    """Return what of an earlier fingerprint still holds."""
    now = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: sha256 for name, sha256 in before.items() if digest.of_tensor(now[name]) == sha256}


def verify(model: nn.Module, before: Mapping[str, str]) -> None:
    """Compare a model with an earlier fingerprint.

    :raises TrainingError: a frozen tensor has other bits now; names the first.
    """
    now = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, sha256 in before.items():
        if digest.of_tensor(now[name]) != sha256:
            raise TrainingError(
                f"the frozen tensor {name!r} moved during training: a hook of the family writes to it, or a module "
                "ignores eval(); nothing was packaged"
            )
