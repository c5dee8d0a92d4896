"""The gradient of a batch that several processes compute, or that is summed in parts, always in one order.

Each part is a forward and a backward pass of its own, on what one process loaded, with random draws of its own. Its
loss is weighted so that the parts add up to the loss of the batch, whatever that divides by: samples, labels, tokens.

Without `--exact` each process has one part, and the library adds them up in its own order. With it there is a fixed
number of parts, and every process adds all of them in their order: the same bits for any number of processes. Between
processes each part is then sent by itself, which takes as many times as long as one sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base import digest, draws, memory
from hubft.base.batches import concat, count, to
from hubft.base.errors import TrainingError
from hubft.base.whole import in_shards
from hubft.hookspecs import Batch
from hubft.machine.ranks import Ranks
from hubft.train import sharded
from hubft.train.gradient import Gradient
from hubft.train.loader import Batches

CPU = torch.device("cpu")
Results = list[tuple[float, dict[str, Tensor]]]


def together(gradient: Gradient, parts: Sequence[Batch], sampler: Batches) -> tuple[int, Results]:
    """Return how many samples a batch has, and what the hook `train_step` gave for each part, with its share of them;
    the gradients of the whole batch are there then, in every process.

    :param parts: of the batch, that this process computes (`Batches.own`).
    :raises TrainingError: memory ran out.
    """
    ranks, recipe = gradient.runtime.ranks, gradient.recipe
    targets = ranks.joined([to(part[1], CPU) for part in parts])
    sizes, every = [count(its) for its in targets], concat(targets)
    recipe = replace(recipe, accumulate=max(1, -(-recipe.accumulate // sampler.parts)))
    live = [] if gradient.runtime.shard else _live(gradient)  # what is in shards is summed where it is split
    own, said = [], []
    for number, part in zip(sampler.own, parts, strict=True):
        draws.seed("step", recipe.seed, gradient.state.step, number)
        share = sizes[number] / sum(sizes)
        its = [(share * inner, piece) for inner, piece in gradient.divided(part, recipe)]
        its = sharded.evened(its, ranks) if gradient.runtime.shard else its
        results = _computed(gradient, every, its)
        said.append(([one.grad is not None for one in live], [_plain(*result) for result in results]))
        if live:
            own.append(_taken(live))
    told = ranks.joined(said)
    _mean(ranks, gradient.moving.live)
    if live:
        total = _in_order(ranks, own, live, sampler.parts) if gradient.runtime.exact else ranks.add(own[0])
        _put(live, total, [any(its) for its in zip(*(has for has, _ in told), strict=True)])
    return sum(sizes), [result for _, results in told for result in results]


def _computed(gradient: Gradient, every: Any, its: Sequence[tuple[float, Batch]]) -> Results:
    try:
        return gradient.backwards(every, its)
    except RuntimeError as error:
        if not memory.ran_out(error):
            raise
        step = gradient.state.step + 1
        raise TrainingError(f"step {step} ran out of memory in one of the processes: ", *memory.CURES) from error


def _live(gradient: Gradient) -> list[nn.Parameter]:
    groups = gradient.state.optimizer.param_groups
    return [one for group in groups for one in group["params"] if one.requires_grad]


def _plain(share: float, result: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """Return what is told of a part: all but its outputs."""
    return share, {name: value.detach().to(CPU) for name, value in result.items() if name != "outputs"}


def _taken(live: Sequence[nn.Parameter]) -> Tensor:
    """Return the gradients one after the other, float32 `[numbers]`, and leave none."""
    found = torch.empty(sum(one.numel() for one in live), device=live[0].device)
    for one, room in zip(live, _rooms(found, live), strict=True):
        room.zero_() if one.grad is None else room.copy_(one.grad)
        one.grad = None
    return found


def _rooms(all_: Tensor, live: Sequence[nn.Parameter]) -> Iterator[Tensor]:
    """Yield the part of a tensor of all gradients that is a parameter's, in its shape and its order in memory: sums go
    by that order, and a copy that keeps it is quick."""
    for one, piece in zip(live, all_.split([one.numel() for one in live]), strict=True):
        yield piece.as_strided(one.shape, torch.empty_like(one, device="meta").stride())


def _in_order(ranks: Ranks, own: Sequence[Tensor], live: Sequence[nn.Parameter], parts: int) -> Tensor:
    """Return the sum of all parts, added in their order.

    :param own: those of this process.
    """
    room = torch.empty(sum(one.numel() for one in live), device=live[0].device)
    total = None
    for number in range(parts):
        turn, rank = divmod(number, ranks.world)
        part = ranks.send(own[turn] if rank == ranks.rank else room, rank)
        total = part.clone() if total is None else total.add_(part)
    assert total is not None
    return total


def _put(live: Sequence[nn.Parameter], total: Tensor, has: Sequence[bool]) -> None:
    """Give the parameters their gradients; one that has none in any part stays without."""
    for one, room, known in zip(live, _rooms(total, live), has, strict=True):
        if known:
            one.grad = room.to(one.dtype)


@torch.no_grad()
def _mean(ranks: Ranks, moved: Sequence[Tensor]) -> None:
    """Have each process have the mean of what forward passes moved: statistics of norms, which each has of its own part
    of a batch."""
    its = [one for one in moved if one.is_floating_point()]
    if ranks.alone or not its:
        return
    mean = ranks.add(torch.cat([one.float().flatten() for one in its])).div_(ranks.world)
    for one, piece in zip(its, mean.split([one.numel() for one in its]), strict=True):
        one.copy_(piece.view(one.shape))


def agreed(ranks: Ranks, model: nn.Module) -> None:
    """Prove that each process has the same model, all of it that is not in shards.

    :raises TrainingError: a tensor has other bits in one of them, as where their processors compute differently.
    """
    if ranks.alone:
        return
    its = {name: tensor for name, tensor in model.state_dict().items() if not in_shards(tensor)}
    found = ranks.told(digest.of_state(digest.of_tensors(its)))
    if len(set(found)) > 1:
        raise TrainingError(
            "the processes do not have the same weights any more: their machines compute differently; go on from the "
            "last checkpoint on machines of one kind, with: hubft finetune --resume RUN"
        )
