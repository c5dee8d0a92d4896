"""Samples as token ids: tokenised once, and filled up to the longest of a batch when they are joined."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hubft.base import draws
from hubft.base.batches import even
from hubft.inputs import Text
from hubft.job import Recipe
from hubft.machine.runtime import Runtime
from hubft.tasks.task import Task
from hubft.text import tokens
from hubft.text.samples import Sample

Batch = dict[str, Tensor]
"""`input_ids` and `attention_mask` (1 where there is a token, else 0), int64 `[batch, tokens]` each; of pairs
`token_type_ids` too, where the model takes them."""

TYPES = "token_type_ids"
DROPPED: Mapping[str, float] = MappingProxyType(
    {"none": 0.0, "auto": 0.0, "light": 0.05, "standard": 0.1, "strong": 0.2}
)
"""Share of the tokens that an augmented view lacks, by `--augment`."""


class Views(Dataset[tuple[Tensor, Any]]):
    """Samples as the model shall see them but for the padding: int32 `[tokens]`, or as `tokens.row` has pairs; and the
    target.

    Item (0, i) is the evaluation's view of sample i. Item (v, i) is its augmented view v, a function of (seed, v, i),
    that lacks some of its tokens, never a special one; without a recipe, or where that augments nothing, the
    evaluation's again.
    """

    def __init__(self, task: Task, samples: Sequence[Sample], inputs: Text, recipe: Recipe | None = None) -> None:
        self.task, self.samples, self.inputs = task, samples, inputs
        self.recipe = recipe or Recipe(augment="none")
        self.rows, self.special, self.cut = tokens.tokenised([sample.text for sample in samples], inputs)
        """`cut` is how many texts are longer than the input."""

    def under(self, recipe: Recipe) -> Views:
        """Return the same samples, as another recipe augments them."""
        other = copy.copy(self)
        other.recipe = recipe
        return other

    def targets(self) -> Any:
        """Return the targets of all samples, a row each."""
        return self.task.collate([sample.target for sample in self.samples])

    def costs(self) -> Sequence[int]:
        """Return how many tokens each text has."""
        return [row.shape[-1] for row in self.rows]

    def collate(self, items: Sequence[tuple[Tensor, Any]]) -> tuple[Batch, Any]:
        """Return items as a batch, as long as the longest of them, and their targets."""
        rows, targets = zip(*items, strict=True)
        return joined(rows, self.inputs.padding), self.task.collate(targets)

    def keep(self, view: int) -> None:
        """All of it is kept already."""

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Any]:
        view, i = index
        row, share = torch.from_numpy(self.rows[i]), DROPPED[self.recipe.augment]
        if view and share:
            drawn = torch.rand(row.shape[-1], generator=draws.generator("sample", self.recipe.seed, view - 1, i))
            kept = (drawn >= share) | torch.from_numpy(self.special[i])
            row = row[..., kept] if int(kept.sum()) > int(self.special[i].sum()) else row
        return row, self.samples[i].target


def joined(rows: Sequence[Tensor], padding: int) -> Batch:
    """Return texts as `tokens.row` has them, as a batch that is filled up behind their ends.

    A text without a token is one token of padding that counts: attention needs something to look at.
    """
    longest = max(1, *(row.shape[-1] for row in rows))
    size = (len(rows), longest)
    filled = {"input_ids": torch.full(size, padding), "attention_mask": torch.zeros(size, dtype=torch.int64)}
    if rows[0].ndim == 2:
        filled[TYPES] = torch.zeros(size, dtype=torch.int64)
    for number, row in enumerate(rows):
        ids, *types = row if row.ndim == 2 else (row,)
        filled["input_ids"][number, : len(ids)] = ids
        filled["attention_mask"][number, : max(1, len(ids))] = 1
        for one in types:
            filled[TYPES][number, : len(ids)] = one
    return filled


def parts(batch: Any, least: int, most: int) -> list[tuple[float, Any]]:
    """Return a batch in parts of at most so many tokens each, `least` parts or more, with their shares of the samples.

    Each is as long as the longest text in it: what it is filled up with beyond that is cut away.

    :param batch: (inputs, targets); inputs that are no token ids, as features, are only counted.
    """
    inputs = batch[0]
    if not (isinstance(inputs, dict) and "input_ids" in inputs):
        return even(batch, least)
    cut = even(batch, max(least, -(-inputs["input_ids"].numel() // most)))
    return [(share, (_short(part[0]) if len(cut) > 1 else part[0], *part[1:])) for share, part in cut]


def _short(inputs: Batch) -> Batch:
    longest = int(inputs["attention_mask"].sum(1).max())
    return {name: tensor[:, :longest] for name, tensor in inputs.items()}


def longer(batch: Batch, padding: int, number: int) -> Batch:
    """Return a batch filled up by so many tokens more, as a longer text among its neighbours would have it."""
    more = {name: tensor.new_zeros(len(tensor), number) for name, tensor in batch.items()}
    more["input_ids"] += padding
    return {name: torch.cat([batch[name], more[name]], 1) for name in batch}


class Ready:
    """Makes a batch the model's inputs, on its device."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def __call__(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.runtime.device, non_blocking=True) for name, tensor in batch.items()}
