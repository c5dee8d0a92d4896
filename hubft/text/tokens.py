"""From texts to numbers of tokens, by the library `tokenizers` alone. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from hubft.base.distributions import installs, missing
from hubft.base.errors import FamilyError
from hubft.inputs import Text

EXTRA = "transformers"
IDS = numpy.int32  # vocabularies have less than 2**31 tokens


def tokenizer(inputs: Text) -> Any:
    """Return the `tokenizers.Tokenizer` that cuts at `inputs.length` and fills nothing up.

    :raises FamilyError: the library is not installed, or cannot read this tokenizer.
    """
    try:
        from tokenizers import Tokenizer  # an extra; torch is not imported with it
    except ModuleNotFoundError as error:
        raise FamilyError(f"a model of text {missing('tokenizers', installs(EXTRA))}") from error
    try:
        made = Tokenizer.from_str(inputs.tokenizer)
        made.no_padding()
        made.enable_truncation(inputs.length)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # its panics are no Exception
        raise FamilyError(f"this tokenizer.json cannot be used: {' '.join(str(error).split())[:300]}") from error
    return made


def tokenised(texts: Sequence[str], inputs: Text) -> tuple[list[NDArray[numpy.int32]], list[NDArray[numpy.bool_]], int]:
    """Return the token ids of each text, int32 `[tokens]`; which are special tokens; how many texts were cut."""
    encodings = tokenizer(inputs).encode_batch_fast(list(texts))
    ids = [numpy.asarray(encoding.ids, IDS) for encoding in encodings]
    special = [numpy.asarray(encoding.special_tokens_mask, bool) for encoding in encodings]
    return ids, special, sum(bool(encoding.overflowing) for encoding in encodings)


def lengths(texts: Sequence[str], inputs: Text) -> NDArray[numpy.int64]:
    """Return how many tokens each text would have if none were cut, special tokens among them."""
    whole = tokenizer(inputs)
    whole.no_truncation()
    return numpy.asarray([len(encoding.ids) for encoding in whole.encode_batch_fast(list(texts))], numpy.int64)
