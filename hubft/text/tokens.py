"""From texts to numbers of tokens, by the library `tokenizers` alone. Without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from hubft.base.distributions import installs, missing
from hubft.base.errors import FamilyError
from hubft.data import freetext
from hubft.inputs import Text, Words

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
    """Return of each text, or pair, what `row` makes of it; which tokens are special ones; how many texts were cut."""
    encodings = tokenizer(inputs).encode_batch_fast([given(text, inputs) for text in texts])
    special = [numpy.asarray(encoding.special_tokens_mask, bool) for encoding in encodings]
    cut = sum(bool(encoding.overflowing) for encoding in encodings)
    return [row(encoding, inputs) for encoding in encodings], special, cut


def encoder(inputs: Text) -> Callable[[str], NDArray[numpy.int32]]:
    """Return what makes of one text, or pair, what `row` makes of it."""
    made = tokenizer(inputs)

    def encoded(text: str) -> NDArray[numpy.int32]:
        whole = given(text, inputs)
        return row(made.encode(*whole) if inputs.pair else made.encode(whole), inputs)

    return encoded


def unknown(rows: Sequence[NDArray[numpy.int32]], inputs: Text) -> float:
    """Return the share of the tokens, as `row` has them, that stand for what the vocabulary cannot say."""
    model = json.loads(inputs.tokenizer)["model"]
    number = model.get("unk_id")
    if number is None:
        number = model["vocab"].get(model["unk_token"]) if model.get("unk_token") else None
    if number is None:  # of bytes, which say everything
        return 0.0
    ids = numpy.concatenate([row[0] if row.ndim == 2 else row for row in rows])
    return float((ids == number).mean()) if len(ids) else 0.0


def given(text: str, inputs: Text) -> Any:
    """Return a text as the tokenizer takes it: of pairs, both texts.

    :raises DataError: it is no pair, where there must be one.
    """
    return freetext.pair(text) if inputs.pair else text


def row(encoding: Any, inputs: Text) -> NDArray[numpy.int32]:
    """Return token ids, int32 `[tokens]`; of pairs, where the model takes them, types too, int32 `[2, tokens]`."""
    both = inputs.typed
    return numpy.asarray([encoding.ids, encoding.type_ids] if both else encoding.ids, IDS)


def spaced(tokenizer: str) -> str:
    """Return a tokenizer.json that tells a word by itself from the rest of one: one of bytes, as RoBERTa's, has a
    blank in front of a word, which it adds where it is asked to.

    :param tokenizer: its text.
    """
    made = json.loads(tokenizer)
    front = made.get("pre_tokenizer") or {}
    steps = [one for one in (front, *front.get("pretokenizers", ())) if one.get("add_prefix_space") is False]
    for one in steps:
        one["add_prefix_space"] = True
    return json.dumps(made, ensure_ascii=False) if steps else tokenizer


def lengths(texts: Sequence[Any], inputs: Text) -> NDArray[numpy.int64]:
    """Return how many tokens each text, or list of words, would have if none were cut, special tokens among them."""
    words = isinstance(inputs, Words)
    whole = tokenizer(inputs)
    whole.no_truncation()
    its = texts if words else [given(text, inputs) for text in texts]
    found = whole.encode_batch_fast(its, is_pretokenized=words)
    return numpy.asarray([len(encoding.ids) for encoding in found], numpy.int64)
