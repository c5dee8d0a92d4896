"""Tensors that several processes have in shards (`torch.distributed.tensor.DTensor`), asked without importing that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def in_shards(tensor: Tensor) -> bool:
    """Tell whether each process has a part of the tensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all its numbers; of one in shards each process must ask, and each gets a copy."""
    its: Any = tensor.detach()
    found: Tensor = its.full_tensor() if in_shards(tensor) else its
    return found


def local(tensor: Tensor) -> Tensor:
    """Return what this process has of a tensor, in the same memory: who writes to it writes to the tensor."""
    its: Any = tensor.detach()
    found: Tensor = its.to_local() if in_shards(tensor) else its
    return found
