"""Samples as token ids: tokenised once, and filled up to the longest of a batch when they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hubft.inputs import Text
from hubft.job import Recipe
from hubft.machine.runtime import Runtime
from hubft.tasks.task import Task
from hubft.text import tokens
from hubft.text.samples import Sample

Batch = dict[str, Tensor]
"""`input_ids` and `attention_mask` (1 where there is a token, else 0), int64 `[batch, tokens]` each."""


class Views(Dataset[tuple[Tensor, Any]]):
    """Samples as the model shall see them but for the padding: int32 `[tokens]`, and the target.

    Every view of a sample is the same one: texts are not augmented.
    """

    def __init__(self, task: Task, samples: Sequence[Sample], inputs: Text) -> None:
        self.task, self.samples, self.inputs = task, samples, inputs
        self.ids, self.cut = tokens.tokenised([sample.text for sample in samples], inputs)
        """`cut` is how many texts are longer than the input."""

    def under(self, recipe: Recipe) -> Views:
        """Return the same samples: no recipe augments them."""
        return self

    def targets(self) -> Any:
        """Return the targets of all samples, a row each."""
        return self.task.collate([sample.target for sample in self.samples])

    def collate(self, items: Sequence[tuple[Tensor, Any]]) -> tuple[Batch, Any]:
        """Return items as a batch, as long as the longest of them, and their targets."""
        ids, targets = zip(*items, strict=True)
        return joined(ids, self.inputs.padding), self.task.collate(targets)

    def keep(self, view: int) -> None:
        """All of it is kept already."""

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Any]:
        _, i = index
        return torch.from_numpy(self.ids[i]), self.samples[i].target


def joined(ids: Sequence[Tensor], padding: int) -> Batch:
    """Return token ids, `[tokens]` each, as a batch that is filled up behind their ends.

    A text without a token is one token of padding that counts: attention needs something to look at.
    """
    longest = max(1, *(len(one) for one in ids))
    inputs = torch.full((len(ids), longest), padding, dtype=torch.int64)
    mask = torch.zeros((len(ids), longest), dtype=torch.int64)
    for row, one in enumerate(ids):
        inputs[row, : len(one)] = one
        mask[row, : max(1, len(one))] = 1
    return {"input_ids": inputs, "attention_mask": mask}


def longer(batch: Batch, padding: int) -> Batch:
    """Return a batch filled up by a token more, as a longer text among its neighbours would have it."""
    rows = len(batch["input_ids"])
    ids = batch["input_ids"].new_full((rows, 1), padding)
    more = {"input_ids": ids, "attention_mask": batch["attention_mask"].new_zeros(rows, 1)}
    return {name: torch.cat([batch[name], more[name]], 1) for name in batch}


class Ready:
    """Makes a batch the model's inputs, on its device."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def __call__(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.runtime.device, non_blocking=True) for name, tensor in batch.items()}
