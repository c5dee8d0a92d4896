"""Texts that are drawn from a tokenizer's vocabulary: a package must not carry anybody's texts away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hubft.data.freetext import PAIR
from hubft.inputs import Text
from hubft.text import tokens

LENGTHS = (5, 24)  # tokens of which a text is made
SCRIPTS = "Ünïcode, naïve café: Привет мир, 你好, こんにちは, مرحبا, שלום, नमस्ते \U0001f600 e\u0301."
"""What a tokenizer that was written anew is likely to take apart in another way."""


def examples(inputs: Text) -> dict[str, Tensor]:
    """Return `text.0`, `text.1`, ...: uint8 `[bytes]`, the UTF-8 of each text.

    They are texts, not token ids, so that they prove the tokenizer too.
    """
    tokenizer = tokens.tokenizer(inputs)
    size = tokenizer.get_vocab_size()
    random = np.random.default_rng(0)
    drawn = [tokenizer.decode(random.integers(0, size, length).tolist()) for length in LENGTHS]
    texts = [*(text for text in drawn if text and not text.isspace()), SCRIPTS]
    if inputs.pair:
        texts = [PAIR.join((one, other)) for one, other in pairwise([*texts, texts[0]])]
    arrays = [np.frombuffer(text.encode(), np.uint8).copy() for text in texts]
    return {f"text.{i}": torch.from_numpy(array) for i, array in enumerate(arrays)}


def rows(inputs: Text, number: int, signs: Sequence[int] = ()) -> list[Tensor]:
    """Return token ids, int32 `[tokens]` each, of other lengths; those of sign -1 are of the first half of the
    vocabulary, those of sign 1 of the second."""
    size, random = tokens.tokenizer(inputs).get_vocab_size(), np.random.default_rng(0)
    ends = {-1: (0, size // 2), 1: (size // 2, size)}
    found = []
    for place in range(number):
        low, high = ends[signs[place]] if signs else (0, size)
        length = min(inputs.length, LENGTHS[0] + place)
        shape = (2, length) if inputs.typed else (length,)
        ids = torch.from_numpy(random.integers(low, high, shape, np.int32))
        found.append(ids if ids.ndim == 1 else ids * torch.tensor([[1], [0]], dtype=torch.int32))
    return found
