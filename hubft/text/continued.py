"""Documents as a language model sees them: token ids, and at each place the token that follows, where it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hubft.inputs import Documents
from hubft.job import Recipe
from hubft.tasks import following
from hubft.tasks.losses import MISSING
from hubft.tasks.task import Task
from hubft.text import documents
from hubft.text.samples import Sample
from hubft.text.views import Batch, joined


class Continued(Dataset[tuple[Tensor, Tensor]]):
    """Token ids of a document, int32 `[tokens]`, and what follows each, int64 `[tokens]`: `MISSING` where that is not
    learned, as within a prompt and behind the end.

    Every view of a document is the same one. Where it is measured which of some answers is the likeliest, an item is a
    tuple of token ids, of the document as it is and with each other answer, and what follows in each, `[answers,
    tokens]`.
    """

    def __init__(self, task: Task, samples: Sequence[Sample], inputs: Documents, measured: bool = False) -> None:
        """:param measured: by the answers that documents choose among, too."""
        self.task, self.samples, self.inputs = task, samples, inputs
        self.marked, self.cut = documents.marked(samples, inputs)
        """`cut` is how many documents are longer than the input."""
        self.others = documents.chosen(samples, inputs) if measured else [[] for _ in samples]

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
        return [self[0, i][1] for i in range(len(self.marked))]

    def costs(self) -> Sequence[int]:
        """Return how many tokens each document has, with each of its answers."""
        return [sum(len(each.ids) for each in (one, *more)) for one, more in zip(self.marked, self.others, strict=True)]

    def collate(self, items: Sequence[tuple[Any, Tensor]]) -> tuple[Batch, list[Tensor]]:
        """Return items as a batch, as long as the longest of them, and a list of what follows in each. A document with
        answers to choose among has a row for each."""
        ids = [row for its, _ in items for row in (its if isinstance(its, tuple) else (its,))]
        return joined(ids, self.inputs.padding), [followed for _, followed in items]

    def keep(self, view: int) -> None:
        """All of it is kept already."""

    def __getitem__(self, index: tuple[int, int]) -> tuple[Any, Any]:
        _, i = index
        ids = tuple(torch.from_numpy(one.ids) for one in (self.marked[i], *self.others[i]))
        followed = [_followed(one) for one in (self.marked[i], *self.others[i])]
        return (ids, following.padded(followed)) if self.others[i] else (ids[0], followed[0])


def _followed(one: documents.Marked) -> Tensor:
    """Return what follows each token of a document, int64 `[tokens]`."""
    ids, learned = (torch.from_numpy(part) for part in one)
    found = torch.full((len(ids),), MISSING, dtype=torch.int64)
    found[:-1] = torch.where(learned[1:], ids[1:].long(), MISSING)
    return found
