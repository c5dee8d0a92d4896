"""Documents as a language model sees them: token ids, and at each place the token that follows, where it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hubft.inputs import Documents
from hubft.job import Recipe
from hubft.tasks.losses import MISSING
from hubft.tasks.task import Task
from hubft.text import documents
from hubft.text.samples import Sample
from hubft.text.views import Batch, joined


class Continued(Dataset[tuple[Tensor, Tensor]]):
    """Token ids of a document, int32 `[tokens]`, and what follows each, int64 `[tokens]`: `MISSING` where that is not
    learned, as within a prompt and behind the end.

    Every view of a document is the same one.
    """

    def __init__(self, task: Task, samples: Sequence[Sample], inputs: Documents) -> None:
        self.task, self.samples, self.inputs = task, samples, inputs
        self.marked, self.cut = documents.marked(samples, inputs)
        """`cut` is how many documents are longer than the input."""

    @property
    def tokens(self) -> int:
        """How many there are of all documents."""
        return sum(len(one.ids) for one in self.marked)

    @property
    def learned(self) -> int:
        """How many of them are learned."""
        return sum(int(one.learned[1:].sum()) for one in self.marked)

    def under(self, recipe: Recipe) -> Continued:
        """Return the same documents: no recipe augments them."""
        return self

    def targets(self) -> list[Tensor]:
        """Return what follows each token of all documents."""
        return [self._followed(i) for i in range(len(self.marked))]

    def costs(self) -> Sequence[int]:
        """Return how many tokens each document has."""
        return [len(one.ids) for one in self.marked]

    def collate(self, items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Batch, list[Tensor]]:
        """Return items as a batch, as long as the longest of them, and a list of what follows in each."""
        ids, followed = zip(*items, strict=True)
        return joined(ids, self.inputs.padding), list(followed)

    def keep(self, view: int) -> None:
        """All of it is kept already."""

    def _followed(self, i: int) -> Tensor:
        ids, learned = (torch.from_numpy(part) for part in self.marked[i])
        following = torch.full((len(ids),), MISSING, dtype=torch.int64)
        following[:-1] = torch.where(learned[1:], ids[1:].long(), MISSING)
        return following

    def __getitem__(self, index: tuple[int, int]) -> tuple[Any, Any]:
        _, i = index
        return torch.from_numpy(self.marked[i].ids), self._followed(i)
