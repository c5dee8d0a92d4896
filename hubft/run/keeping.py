"""Which epoch is kept, and whether training still waits for a better one: both by the headline on validation data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from hubft.base.files import fsync, save_file, temporary_file
from hubft.job import Recipe
from hubft.tasks.metrics import Measured
from hubft.train import sharded, states

FILE = "best.safetensors"


def best(history: Sequence[Mapping[str, Any]], headline: str) -> int:
    """Return the epoch with the best headline, the first of equal ones; 0 where none was measured."""
    found, leader = 0, None
    for line in history:
        one = Measured(**line[headline])
        if leader is None or one.beats(leader):
            found, leader = line["epoch"], one
    return found


def is_over(read: Callable[[], Sequence[Mapping[str, Any]]], headline: str, recipe: Recipe) -> bool:
    """Tell whether `--patience` epochs have passed without a better headline.

    :param read: gives the history; not asked where there is no patience, for an epoch may take ten milliseconds.
    """
    if not recipe.patience or not (history := read()):
        return False
    return int(history[-1]["epoch"]) - best(history, headline) >= recipe.patience


def save(folder: Path, model: nn.Module, epoch: int, first: bool = True) -> None:
    """Keep the model as it is now, whole or not at all.

    :param first: whether this process writes; of a model in shards each must call it.
    """
    tensors = {name: its.contiguous().clone() for name, its in sharded.gathered(model) if first}
    if not first:
        return
    with temporary_file(folder / FILE) as temporary:
        save_file(tensors, temporary, {"epoch": str(epoch)})
        fsync(temporary)


def restore(folder: Path, model: nn.Module) -> int:
    """Give the model the state that was kept; return of which epoch it is."""
    path = folder / FILE
    with safe_open(path, "pt") as file:
        epoch = int((file.metadata() or {})["epoch"])
    states.put(model, load_file(path))
    return epoch
