"""A model in shards: each process has a part of every tensor, and a layer at a time is whole while it computes.

It is PyTorch's `fully_shard` (FSDP2). Weights, gradients and what the optimizer keeps are in shards; before a layer
computes, forward or backward, its weights are gathered, and they are given back when it is done. Gradients are summed
where they are split. All that a step does with them, number by number, each process does with its own.

Every pass of the model is one of all processes, so each must call it equally often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hubft.base.whole import in_shards, local, whole
from hubft.machine.ranks import Ranks

T = TypeVar("T")
LAYERS = "_no_split_modules"
"""Where a model of transformers names the classes of its layers, which are computed whole."""


def layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that can be gathered one by one, those within others first; none where the model names none.

    A layer that shares a parameter with what lies around it, as an embedding with the head, is gathered with that.
    """
    names = set(getattr(model, LAYERS, None) or ())
    uses, found = _uses(model), []
    for module in model.modules():
        if type(module).__name__ in names and module is not model:
            its = _uses(module)
            if its and all(uses[parameter] == number for parameter, number in its.items()):
                found.append(module)
    return found[::-1]


def _uses(model: nn.Module) -> Counter[nn.Parameter]:
    """Return how often each parameter stands in a model: more than once where it is shared."""
    return Counter(parameter for _, parameter in model.named_parameters(remove_duplicate=False))


def split(model: nn.Module, ranks: Ranks, device: torch.device) -> None:
    """Put the model in shards, in place: this process keeps its own, on its device."""
    from torch.distributed.device_mesh import init_device_mesh  # not at the top: most runs need none of it
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index or 0)  # that is the one which the library takes
    mesh = init_device_mesh(device.type, (ranks.world,))
    for module in (*layers(model), model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):  # the losses of the processes add up to that of the batch
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


@torch.no_grad()
def gathered(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a model, by name, whole and on the CPU, one at a time; each process must take them all."""
    for name, tensor in model.state_dict().items():
        yield name, whole(tensor).cpu()


@torch.no_grad()
def norms(gradients: Sequence[Tensor], ranks: Ranks) -> Tensor:
    """Return the norm of each gradient, float32 `[gradients]`; of those in shards over all of them."""
    own = torch.stack(torch._foreach_norm([local(one) for one in gradients]))
    return ranks.add(own.square()).sqrt() if any(map(in_shards, gradients)) else own


def beside(number: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Return a number that each process has, so that it can be computed with beside these tensors."""
    first: Any = tensors[0]
    if not in_shards(first):
        return number
    from torch.distributed.tensor import DTensor, Replicate

    return DTensor.from_local(number, first.device_mesh, [Replicate()], run_check=False)


def evened(its: Sequence[tuple[float, T]], ranks: Ranks) -> list[tuple[float, T]]:
    """Return the parts in which this process computes its share of a batch, as many as any process has: those that it
    lacks are the last one again, with a share of nothing."""
    return [*its, *((0.0, its[-1][1]),) * (ranks.most(len(its)) - len(its))]
