"""Processes that train one model together: which of them this one is, and what they tell one another.

`torchrun`, or `hubft finetune --devices N` (`hubft.machine.launch`), starts them. What they tell goes through gloo,
between processes of one user; gradients on GPUs go through NCCL. Alone, nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from hubft.base.errors import JobError, Option, Silent, Stopped, TrainingError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

WAIT = timedelta(days=7)
"""Before a process that does not answer counts as lost. One that ends is noticed at once, by its connection."""
START = "`hubft finetune --devices N` starts more of them, or `torchrun -m hubft finetune`"
FAILED = "hubft/failed"
"""Key of the first process that failed, in the store that all of them see."""
LOST = ("gloo", "Connection", "NCCL")
"""Words of what the libraries say where a process does not answer any more."""


@dataclass(frozen=True)
class Ranks:
    """The processes, as one of them sees them."""

    rank: int = 0
    world: int = 1

    @property
    def alone(self) -> bool:
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def own(self, things: Sequence[T]) -> Sequence[T]:
        """Return every world-th thing, from the rank on: none is in two ranks, and none is in no rank."""
        return things[self.rank :: self.world]

    def told(self, value: T) -> list[T]:
        """Return what each process says, by rank; each must call it."""
        if self.alone:
            return [value]
        from torch import distributed

        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, value)
        return found

    def most(self, number: int) -> int:
        """Return the largest number that a process says; each must call it."""
        if self.alone:
            return number
        import torch
        from torch import distributed

        found = torch.tensor(number)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return int(found)

    def joined(self, own: Sequence[T]) -> list[T]:
        """Return the things of which each process has its `own`, in the order that they had."""
        its = [[(turn, one) for turn, one in enumerate(of_one)] for of_one in self.told(list(own))]
        return [one for _, one in sorted(chain(*its), key=itemgetter(0))]

    def same(self, make: Callable[[], T]) -> T:
        """Return what the first process makes; each must call it."""
        if self.alone:
            return make()
        from torch import distributed

        found: list[Any] = [make() if self.first else None]
        distributed.broadcast_object_list(found)
        return found[0]  # type: ignore[no-any-return]

    def add(self, tensor: Tensor) -> Tensor:
        """Return the sum of this tensor over all processes, in the order that the library chooses."""
        if not self.alone:
            from torch import distributed

            distributed.all_reduce(tensor)
        return tensor

    def send(self, tensor: Tensor, rank: int) -> Tensor:
        """Return the tensor of one process, in the memory of this one's."""
        if not self.alone:
            from torch import distributed

            distributed.broadcast(tensor, rank)
        return tensor


ALONE = Ranks()


def asked() -> bool:
    """Tell whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def check(devices: int, shard: bool = False) -> None:
    """Refuse more devices than there are processes, and shards of one process.

    :raises JobError: this process is alone.
    """
    if shard and not asked() and devices == 1:
        raise JobError(
            Option("shard"), " splits a model over processes, and here is one alone: add ", Option("devices"), " 2"
        )
    if devices > 1 and not asked():
        raise JobError(Option("devices"), f" {devices}: here is one process alone; {START}; leave it out elsewhere")


def check_alone() -> None:
    """Refuse what one process does for itself, and several would do all at once.

    :raises JobError: this process is one of several.
    """
    if asked():
        raise JobError(
            f"this is one of {os.environ['WORLD_SIZE']} processes, and functions of Python train in one; {START}"
        )


@contextmanager
def joining() -> Iterator[Ranks]:
    """Give this process its place among those that were started with it, for the time of a `with`.

    Where one of them fails, the others cannot go on: the first one to fail says why, and the others end with `Silent`.

    :raises TrainingError: a process ended without a word, as one that was killed does.
    """
    if not asked():
        yield ALONE
        return
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(iter(rendezvous("env://", timeout=timedelta(minutes=10))))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=WAIT)
    try:
        yield Ranks(rank, world)
    except Stopped as stopped:  # all of them were, and the first one says so
        if rank:
            raise Silent(128 + stopped.signal) from stopped
        raise
    except Silent:  # its work is done, and it leaves the rest to another one: nothing failed
        raise
    except Exception as error:
        if not _is_first(store, rank):
            raise Silent from error
        if type(error) is RuntimeError and any(word in str(error) for word in LOST):
            raise TrainingError(
                f"process {rank} of {world} lost another one, which ended or was killed without a word; go on from "
                "the newest checkpoint with: hubft finetune --resume RUN"
            ) from error
        raise
    finally:
        distributed.destroy_process_group()


def _is_first(store: Any, rank: int) -> bool:
    """Tell whether no other process failed before this one."""
    try:
        return bool(store.compare_set(FAILED, "", str(rank)) == str(rank).encode())
    except RuntimeError:  # the process that had the store is gone: it failed
        return False
