"""How long the inputs of a run are: as long as nearly all of its texts, and no longer than the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy

from hubft.base.errors import JobError
from hubft.inputs import Text
from hubft.text import tokens
from hubft.text.samples import Sample

QUANTILE = 0.99  # of the texts that are not cut
LOOK = 2000  # texts at most, evenly over the data: they tell the quantile, and all are tokenised later
MOST = 4096  # tokens, as `--size` has it
STEP = 8  # tokens: the kernels of processors and GPUs compute in such parts


def chosen(inputs: Text, samples: Sequence[Sample]) -> Text:
    """Return inputs as long as the 99 % quantile of the training texts, rounded up to eight tokens.

    A longer input costs memory and time in every batch that holds a long text, and tells little more.

    :param inputs: as the model takes them at most.
    :raises JobError: texts of which the tokenizer makes nothing.
    """
    few = [sample.text for sample in samples[:: -(-len(samples) // LOOK)]]
    found = tokens.lengths(few, inputs)
    if not found.any():
        raise JobError("the tokenizer of the model makes no token of any text of the data: take another model")
    wanted = int(numpy.quantile(found, QUANTILE, method="higher"))
    return replace(inputs, length=min(inputs.length, MOST, -(-wanted // STEP) * STEP))
