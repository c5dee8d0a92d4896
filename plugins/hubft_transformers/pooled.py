"""The mean of a text's tokens, as one more layer of the model's own encoder.

Models that were trained to embed sentences (Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084) hold what they
know of a text in the mean of its tokens, and say so in 1_Pooling/config.json; the classifiers of transformers read the
first token, which nobody trained. A layer of the same kind, with attention that is even over all tokens, values that
are as they were, and a feed-forward part that adds nothing, puts the mean in the place of each token. So the model is
one of its class still, which every library loads, and all of the layer can be trained further.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubft.families import structure
from hubft.hookspecs import Loaded

POOLING, MEAN = "pooling", "mean"  # in `Base.config`
FILE, STATED = "1_Pooling/config.json", "pooling_mode_"
LOUD = 100.0  # how much the mean counts beside the token in whose place it is put
CLOSE = 0.05  # how far what the layer gives may be from the mean, which is of size 1
PROBED = (7, 4)  # tokens of the texts on which that is found out


def stated(folder: Path) -> dict[str, str]:
    """Return what to add to a config: that the mean of the tokens, and nothing else, is what the model was trained for;
    nothing if its folder does not say so."""
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        modes = [name.removeprefix(STATED) for name, on in said.items() if name.startswith(STATED) and on is True]
    except (OSError, ValueError, AttributeError):
        return {}
    return {POOLING: MEAN} if modes == ["mean_tokens"] else {}


def pooled(loaded: Loaded, pool: str) -> Loaded:
    """Return a classifier of texts whose head is given the mean of the tokens, if its config has `POOLING` and its
    encoder is of layers as BERT's; else as it is.

    :param pool: of `Head`; what is not `auto` leaves the model as it is.
    """
    model: Any = loaded.model
    if loaded.base.config.get(POOLING) != MEAN:
        return loaded
    config: dict[str, Any] = {name: value for name, value in loaded.base.config.items() if name != POOLING}
    if pool == "auto" and _grown(model):
        heads, config["num_hidden_layers"] = loaded.stages["head"], model.config.num_hidden_layers
        loaded = replace(loaded, stages=structure.stages(model, structure.blocks(model, heads), heads))
    return replace(loaded, base=replace(loaded.base, config=config))


def _grown(model: Any) -> bool:
    """Give a model the layer, and have its pooler leave that as it is; tell whether it can be done."""
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList) or (made := _mean(copy.deepcopy(layers[-1]))) is None:
        return False
    layers.append(made)
    if not _gives_mean(model):
        del layers[-1]
        return False
    model.config.num_hidden_layers = len(layers)
    dense = getattr(getattr(model.base_model, "pooler", None), "dense", None)
    if isinstance(dense, nn.Linear):
        _as_it_is(dense)
    return True


def _mean(made: Any) -> nn.Module | None:
    """Return the layer as one that gives the mean of its tokens in the place of each; None if it is not as BERT's."""
    try:
        attention, after = made.attention.self, made.attention.output
        parts = attention.query, attention.key, attention.value, after.dense, made.intermediate.dense, made.output.dense
        norms = after.LayerNorm, made.output.LayerNorm
    except AttributeError:
        return None
    if not all(isinstance(part, nn.Linear) for part in parts):
        return None
    with torch.no_grad():
        for part in (attention.query, made.intermediate.dense):  # with their partners as they were, gradients flow
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
        _as_it_is(attention.value)
        _as_it_is(after.dense, LOUD)
        nn.init.zeros_(made.output.dense.bias)
        for norm in norms:
            nn.init.ones_(norm.weight)
            nn.init.zeros_(norm.bias)
    layer: nn.Module = made
    return layer


def _as_it_is(layer: nn.Linear, times: float = 1.0) -> None:
    with torch.no_grad():
        layer.weight.copy_(times * torch.eye(*layer.weight.shape))
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def _gives_mean(model: Any) -> bool:
    """Tell whether the last layer gives the mean of the tokens that are there, to a norm, for texts of two lengths."""
    ids = torch.arange(PROBED[0]).repeat(2, 1) % model.config.vocab_size
    mask = torch.stack([(torch.arange(PROBED[0]) < length).long() for length in PROBED])
    training = model.training
    model.eval()
    try:
        found = model.base_model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    finally:
        model.train(training)
    before, after = found.hidden_states[-2:]
    mean = (before * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    wanted = nn.functional.layer_norm(mean, mean.shape[1:])
    return bool((after[:, 0] - wanted).abs().mean() < CLOSE)
