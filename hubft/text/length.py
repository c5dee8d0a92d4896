"""How long the inputs of a run are: as long as nearly all of its texts, and no longer than the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray

from hubft.base.errors import JobError
from hubft.inputs import Text, Words
from hubft.text import tokens
from hubft.text.samples import Sample

QUANTILE = 0.99  # of the texts that are not cut
LOOK = 2000  # texts at most, evenly over the data: they tell the quantile, and all are tokenised later
MOST = 4096  # tokens, as `--size` has it
STEP = 8  # tokens: the kernels of processors and GPUs compute in such parts

Taken = TypeVar("Taken", bound=Text)


def chosen(inputs: Text, samples: Sequence[Sample]) -> Text:
    """Return inputs as long as the 99 % quantile of the training texts, rounded up to eight tokens.

    A longer input costs memory and time in every batch that holds a long text, and tells little more.

    :param inputs: as the model takes them at most.
    :raises JobError: texts of which the tokenizer makes nothing.
    """
    few = [sample.text for sample in samples[:: -(-len(samples) // LOOK)]]
    found = _lengths(few, inputs)
    return _as_long(inputs, int(numpy.quantile(found, QUANTILE, method="higher")))


def longest(inputs: Words, sentences: Sequence[Sequence[str]]) -> Words:
    """Return inputs as long as the longest sentence of training, rounded up to eight tokens: a word that is cut has no
    tag.

    :param sentences: the words of each.
    :raises JobError: as `chosen`.
    """
    return _as_long(inputs, int(_lengths(sentences, inputs).max()))


def _lengths(its: Sequence[Any], inputs: Text) -> NDArray[numpy.int64]:
    found = tokens.lengths(its, inputs)
    if not found.any():
        raise JobError("the tokenizer of the model makes no token of any text of the data: take another model")
    return found


def _as_long(inputs: Taken, tokens: int) -> Taken:
    return replace(inputs, length=min(inputs.length, MOST, -(-tokens // STEP) * STEP))
