"""The models of transformers: the class that a use needs, built with its weights or without, and its head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.models.auto import modeling_auto as known

from hubft.base import draws
from hubft.base.display import listed
from hubft.base.errors import FamilyError, reason
from hubft.families.stages import under
from hubft.hookspecs import Forward
from hubft_transformers import configs
from hubft_transformers.files import HERE, WEIGHTS


@dataclass(frozen=True)
class Brought:
    """The classes of a model whose code lies beside its weights."""

    model: Any
    config: Any = None
    """None where it is transformers' own."""


@dataclass(frozen=True)
class Use:
    """What a model is for."""

    auto: str
    """Class of transformers that builds it."""
    takes: str
    """Kind of its inputs (`hubft.modality`)."""
    title: str
    """What it is, in messages."""
    types: Mapping[str, str]
    """Types of models, as a config.json names them, that have such a class."""
    forward: Forward
    """How it is called."""
    own: bool = False
    """Whether its head is that of its checkpoint, with an output for each token; else it has one for each label."""
    brought: Brought | None = field(default=None, compare=False)
    """What builds it in place of transformers' own classes."""


def logits(model: nn.Module, inputs: Any) -> Tensor:
    """Return what a classifier gives, `[batch, outputs]`; of words `[batch, tokens, outputs]`.

    :param inputs: of texts `input_ids` and `attention_mask`; of images float32 `[batch, 3, height, width]`.
    """
    said = model(**inputs) if isinstance(inputs, Mapping) else model(pixel_values=inputs)
    outputs: Tensor = said.logits
    return outputs


CLASSIFIERS = (
    Use(
        "AutoModelForSequenceClassification",
        "text",
        "a classifier of texts",
        known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        logits,
    ),
    Use(
        "AutoModelForImageClassification",
        "images",
        "a classifier of images",
        known.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        logits,
    ),
)

TAGGER = Use(
    "AutoModelForTokenClassification",
    "words",
    "a model that tags words",
    known.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    logits,
)


def use(reference: str, stated: Mapping[str, Any], uses: Sequence[Use]) -> Use:
    """Return what a model of this config is for.

    :param stated: what config.json says.
    :param uses: of which the first is taken that has models of this type.
    :raises FamilyError: transformers has no such models, or none of the type for this task.
    """
    kind = type(configs.native(reference, stated)).model_type
    found = next((one for one in uses if kind in one.types), None)
    if found is None:
        wanted = " nor ".join(one.title for one in uses)
        no = "neither" if len(uses) > 1 else "not"
        raise FamilyError(f"{reference}: transformers has {no} {wanted} of the type {kind!r}: take another model")
    return found


def _config(reference: str, stated: Mapping[str, Any], use: Use) -> Any:
    """Return the config of a model."""
    if not use.brought:
        return configs.native(reference, stated)
    stated = {name: value for name, value in stated.items() if name != configs.MAP}
    kind = use.brought.config
    return configs.read(reference, stated, kind) if kind else configs.native(reference, stated)


def built(reference: str, stated: Mapping[str, Any], use: Use) -> Any:
    """Return the model with the values of its constructor."""
    config = _config(reference, stated, use)
    with configs.silent(), _explained(reference, use):
        if use.brought:
            return use.brought.model._from_config(config, dtype=torch.float32)
        return getattr(transformers, use.auto).from_config(config, dtype=torch.float32)


def again(model: Any, use: Use, reference: str, labels: int) -> Any:
    """Return a model of the same class and config, of another number of labels, with the values of its constructor."""
    config = configs.read(reference, architecture(model), type(model.config))
    config.num_labels = labels
    with configs.silent(), _explained(reference, use):
        return type(model)._from_config(config, dtype=torch.float32)


def filled(reference: str, stated: Mapping[str, Any], use: Use, folder: Path) -> Any:
    """Return the model with the weights of its folder.

    :raises FamilyError: they lack more than the head.
    """
    if not any((folder / file).is_file() for file in WEIGHTS):
        raise FamilyError(f"{reference} has no {WEIGHTS[0]}, and hubft reads no pickles")
    with configs.silent(), _explained(reference, use), draws.preserved():
        draws.seed("fresh", use.auto)  # what a checkpoint lacks of the head starts with the same values each time
        builder = use.brought.model if use.brought else getattr(transformers, use.auto)
        model, told = builder.from_pretrained(
            folder,
            config=_config(reference, stated, use),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    its = [] if use.own else heads(model, use, reference)
    fresh = {*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])}
    if more := sorted(name for name in fresh if not any(under(name, one) for one in its)):
        beside = f", beside the head {', '.join(its)}" if its else ""
        raise FamilyError(
            f"{reference}: its weights lack {listed(more)}{beside}: these would start as noise; take weights that were "
            "saved with them"
        )
    return model


@contextmanager
def _explained(reference: str, use: Use) -> Iterator[None]:
    usual = (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError, SafetensorError)
    kinds = (Exception,) if use.brought else usual
    try:
        yield
    except kinds as error:
        raise FamilyError(f"{reference} cannot be loaded as {use.title}: {reason(error)}") from error


def heads(model: Any, use: Use, reference: str) -> list[str]:
    """Return the modules that make the outputs, that which has one for each label last.

    Of a classifier, of words too, they are those with parameters that are no part of the base model, as RoBERTa's
    `classifier.dense` and `classifier.out_proj`; of a model with a head of its own, the layer with an output for each
    token; of any other what `labelled` gives.

    :raises FamilyError: no layer has an output for each label, or of a classifier more than one.
    """
    if use.own:
        layer = model.get_output_embeddings()
        return [next(name for name, module in model.named_modules() if module is layer)]
    layers = labelled(model, use, reference)
    if use not in (*CLASSIFIERS, TAGGER):
        return layers
    if len(layers) > 1:
        raise FamilyError(f"{reference}: its head is not one layer, but {', '.join(layers)}")
    base = model.base_model_prefix
    owners = [name.rpartition(".")[0] for name, _ in model.named_parameters() if not under(name, base)]
    if not base or not hasattr(model, base) or layers[0] not in owners:
        return layers
    return list(dict.fromkeys([*(name for name in owners if name not in layers), *layers]))


def labelled(model: Any, use: Use, reference: str, every: bool = False) -> list[str]:
    """Return the names of the layers that have an output for each label, in the model's order: of two models with
    other numbers of labels, they alone have other shapes.

    :param every: also the further names of layers that share their parameters.
    :raises FamilyError: there are none.
    """
    with torch.device("meta"):
        pair = [again(model, use, reference, labels) for labels in (2, 3)]
    both = [one.named_parameters(remove_duplicate=not every) for one in pair]
    two, three = ({name: parameter.shape for name, parameter in its} for its in both)
    names = list(dict.fromkeys(name.rpartition(".")[0] for name, shape in two.items() if three[name] != shape))
    if not names:
        raise FamilyError(f"{reference}: no layer of it has an output for each label")
    return names


def architecture(model: Any) -> dict[str, Any]:
    """Return the config by which transformers builds a model, without its labels."""
    config = model.config.to_dict()
    return {name: value for name, value in config.items() if name not in (*configs.LABELS, *HERE, *configs.FOREIGN)}


def stated(model: Any, labelled: bool = True) -> dict[str, Any]:
    """Return the config.json by which transformers builds this model.

    :param labelled: whether it has labels, which are for the core to fill in.
    """
    left_out = (*configs.FOREIGN, "_name_or_path")
    config = {name: value for name, value in model.config.to_dict().items() if name not in left_out}
    config |= {"architectures": [type(model).__name__], "dtype": "float32"}
    labels: dict[str, Any] = {"id2label": {}, "label2id": {}, "problem_type": None}
    config = {name: value for name, value in config.items() if name not in labels} | (labels if labelled else {})
    return dict(json.loads(json.dumps(config)))
