"""Sentences as a model that tags words sees them: token ids, and the tag of each word at its first token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hubft.data.words import TEXT, WORDS
from hubft.inputs import Words
from hubft.job import Recipe
from hubft.tasks.losses import MISSING
from hubft.tasks.task import Task
from hubft.text import tokens
from hubft.text.samples import Sample
from hubft.text.views import Batch, joined


class Sentence(NamedTuple):
    """A sentence as token ids."""

    ids: NDArray[numpy.int32]
    """`[tokens]`."""
    starts: Mapping[int, int]
    """Number of a word -> its first token, in order; a word that is cut away, or of which the tokenizer makes nothing,
    has none."""


class Frame(NamedTuple):
    """Where the words of a sentence lie."""

    words: Sequence[str]
    starts: Mapping[int, int]
    """As `Sentence.starts`."""
    places: Sequence[tuple[int, int]]
    """First character and the one behind the last of each word: in its text, else in its words with blanks between."""


@lru_cache(maxsize=2)  # at the full length, and at that of a self-test
def _tokenizer(inputs: Words) -> Any:
    """Return a tokenizer that nobody changes: it takes long to read, and each sentence that is asked about needs it."""
    return tokens.tokenizer(inputs)


def encoded(sentences: Sequence[str], inputs: Words) -> list[Sentence]:
    """Return sentences, as `hubft.data.words` states them, as the model takes them."""
    its = [json.loads(sentence)[WORDS] for sentence in sentences]
    return [_sentence(one) for one in _tokenizer(inputs).encode_batch(its, is_pretokenized=True)]


def _sentence(encoding: Any) -> Sentence:
    starts: dict[int, int] = {}
    for place, word in enumerate(encoding.word_ids):
        if word is not None:
            starts.setdefault(word, place)
    return Sentence(numpy.asarray(encoding.ids, tokens.IDS), starts)


def frame(sentence: str, inputs: Words) -> Frame:
    """Return where the words of a sentence lie."""
    stated = json.loads(sentence)
    words, (one,) = stated[WORDS], encoded([sentence], inputs)
    text, behind, places = stated.get(TEXT, " ".join(words)), 0, []
    for word in words:
        first = text.index(word, behind)
        behind = first + len(word)
        places.append((first, behind))
    return Frame(words, one.starts, places)


class Tagged(Dataset[tuple[Tensor, Tensor]]):
    """Token ids of a sentence, int32 `[tokens]`, and its tags, int64 `[tokens]`: that of each word at its first token,
    `MISSING` elsewhere.

    Every view of a sentence is the same one.
    """

    def __init__(self, task: Task, samples: Sequence[Sample], inputs: Words) -> None:
        self.task, self.samples, self.inputs = task, samples, inputs
        self.sentences = encoded([sample.text for sample in samples], inputs)

    @property
    def lost(self) -> int:
        """How many words have no token."""
        words = sum(len(sample.target) for sample in self.samples)
        return words - sum(len(one.starts) for one in self.sentences)

    def under(self, recipe: Recipe) -> Tagged:
        """Return the same sentences: no recipe augments them."""
        return self

    def targets(self) -> list[Tensor]:
        """Return the tags of all sentences."""
        return [self._tags(i) for i in range(len(self.samples))]

    def costs(self) -> Sequence[int]:
        """Return how many tokens each sentence has."""
        return [len(one.ids) for one in self.sentences]

    def collate(self, items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Batch, list[Tensor]]:
        """Return items as a batch, as long as the longest of them, and a list of the tags of each."""
        ids, tags = zip(*items, strict=True)
        return joined(ids, self.inputs.padding), list(tags)

    def keep(self, view: int) -> None:
        """All of it is kept already."""

    def _tags(self, i: int) -> Tensor:
        one, target = self.sentences[i], self.samples[i].target
        found = torch.full((len(one.ids),), MISSING, dtype=torch.int64)
        for word, place in one.starts.items():
            found[place] = target[word]
        return found

    def __getitem__(self, index: tuple[int, int]) -> tuple[Any, Any]:
        _, i = index
        return torch.from_numpy(self.sentences[i].ids), self._tags(i)
