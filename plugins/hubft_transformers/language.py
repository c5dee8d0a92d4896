"""Language models of transformers: what they take, how they are called, and the files by which they are read."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.models.auto import modeling_auto as known

from hubft.base.errors import FamilyError, reason
from hubft.hookspecs import Loaded
from hubft.inputs import Documents, Text
from hubft.publish.manifest import GENERATION, TOKENIZER_CONFIG
from hubft.text.tokenizer import Carried
from hubft_transformers import models
from hubft_transformers.models import Use

KEEP = "logits_to_keep"  # how many of the last tokens are asked for
HABITS = "generation"  # in `Base.config`, what generation_config.json says of how a model writes


def logits(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Return what a language model gives, `[batch, tokens, vocabulary]`: of each token, what may follow.

    :param inputs: `input_ids` and `attention_mask`, and perhaps `logits_to_keep`, so many of the last tokens.
    """
    its, keep = {name: one for name, one in inputs.items() if name != KEEP}, int(inputs.get(KEEP, 0))
    known = KEEP in inspect.signature(model.forward).parameters
    more = {KEEP: keep} if known and keep else {}
    outputs: Tensor = model(**its, **more, use_cache=False).logits
    return outputs[:, -keep:]


TYPES = known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
USE = Use("AutoModelForCausalLM", "documents", "a language model", TYPES, logits, own=True)


def documents(reference: str, model: Any, carried: Carried, text: Text) -> Documents:
    """Return what a language model takes.

    :param carried: what its folder says of its tokenizer; of a package's architecture, nothing.
    :param text: the same as for any model of texts.
    :raises FamilyError: no token that ends a text, or a tokenizer of more tokens than the model has.
    """
    habits, config = model.generation_config, model.config
    found = [carried.end, habits.eos_token_id, config.eos_token_id]
    ends = [end for its in found for end in (its if isinstance(its, list | tuple) else [its]) if end is not None]
    rows = model.get_input_embeddings().num_embeddings
    if carried.text:
        if not ends:
            raise FamilyError(
                f"{reference}: neither its tokenizer nor its config names the token that ends a text, so that what is "
                "written would never end: set eos_token in its tokenizer_config.json"
            )
        if carried.size > rows:
            raise FamilyError(
                f"{reference}: its tokenizer has {carried.size:,} tokens, and the model knows {rows:,}: take the "
                "tokenizer that the model was trained with, or give it more rows first: "
                f"model.resize_token_embeddings({carried.size})"
            )
        if beyond := [end for end in ends if end >= rows]:
            raise FamilyError(f"{reference}: its end token {beyond[0]:,} is none of its {rows:,} tokens")
    return Documents(
        text.tokenizer,
        text.length,
        text.padding,
        ends=tuple(dict.fromkeys(ends)),
        template=carried.template,
        special=dict(carried.special),
    )


@torch.no_grad()
def require_causal(reference: str, model: nn.Module) -> None:
    """Refuse a model that sees what follows: it would learn to copy it.

    :raises FamilyError: what it says of a token changes with a later one.
    """
    model.eval()
    ids = torch.tensor([[0, 1, 1], [0, 1, 0]])
    try:
        first, second = logits(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})[:, :2]
    except (IndexError, ValueError, RuntimeError, TypeError) as error:
        raise FamilyError(f"{reference} cannot be used as a language model: {reason(error)}") from error
    if not torch.allclose(first, second, atol=1e-4):
        raise FamilyError(
            f"{reference} sees the tokens that follow, so it cannot learn to say them: take a model that was trained "
            "to continue texts, as GPT-2 or Llama were"
        )


def habits(model: Any) -> dict[str, Any]:
    """Return what generation_config.json says of how a model writes, JSON types."""
    stated = model.generation_config.to_diff_dict().items()
    known = {name: value for name, value in stated if not name.startswith("_") and name != "transformers_version"}
    return dict(json.loads(json.dumps(known)))


def inhabited(reference: str, model: Any, stated: Mapping[str, Any]) -> None:
    """Have a model write as was stated of it.

    :raises FamilyError: no such values.
    """
    try:
        model.generation_config = GenerationConfig.from_dict(dict(stated))
    except Exception as error:  # whatever a class says of values that are none
        raise FamilyError(f"{reference}: its {GENERATION} cannot be used: {reason(error)}") from error


def published(loaded: Loaded) -> Loaded:
    """Return a language model with the files by which transformers loads its package."""
    model: Any = loaded.model
    its = loaded.inputs
    assert isinstance(its, Documents)
    facts: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **its.special}
    facts |= {"chat_template": its.template} if its.template else {}
    writes = habits(model) | {"eos_token_id": list(its.ends), "pad_token_id": its.padding}
    files = {TOKENIZER_CONFIG: facts, GENERATION: writes}
    return replace(loaded, config=models.stated(model, labelled=False), files=files)
