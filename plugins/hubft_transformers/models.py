"""The models of transformers: the class that a use needs, built with its weights or without, and its head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.models.auto import modeling_auto as known

from hubft.base import draws
from hubft.base.display import listed
from hubft.base.errors import FamilyError, reason, suggest
from hubft.base.quiet import quiet
from hubft.families.stages import under
from hubft.hookspecs import Forward
from hubft_transformers.files import HERE, WEIGHTS

FOREIGN = ("auto_map", "attn_implementation", "_attn_implementation", "experts_implementation", "quantization_config")
"""Keys of a config.json by which transformers would run or fetch code that is not its own, or change the layers."""
LABELS = ("id2label", "label2id")
DEEPEST, LARGEST = 1024, 2**24  # blocks of a stranger's config, and any other whole number in it


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
    kind = type(_config(reference, stated)).model_type
    found = next((one for one in uses if kind in one.types), None)
    if found is None:
        wanted = " nor ".join(one.title for one in uses)
        no = "neither" if len(uses) > 1 else "not"
        raise FamilyError(f"{reference}: transformers has {no} {wanted} of the type {kind!r}: take another model")
    return found


def _config(reference: str, stated: Mapping[str, Any]) -> Any:
    """Return a config of a class that is transformers' own.

    :raises FamilyError: of a kind that it does not have, that asks for other code, or of sizes that nobody builds.
    """
    kind, types = stated.get("model_type"), transformers.CONFIG_MAPPING
    if not isinstance(kind, str) or kind not in types:
        near = suggest(str(kind), list(types.keys()))
        version = transformers.__version__
        raise FamilyError(f"{reference}: transformers {version} knows no models of type {kind!r}.{near}")
    _require_bounds(reference, stated)
    try:
        with _quiet():
            return types[kind].from_dict(dict(stated))
    except Exception as error:  # whatever a class says of values that are none
        raise FamilyError(f"{reference}: its config cannot be used: {reason(error)}") from error


def _require_bounds(reference: str, stated: Mapping[str, Any]) -> None:
    """Refuse what asks for other code, or for sizes that nobody builds, in a config or in one inside it."""
    if foreign := [key for key in FOREIGN if stated.get(key)]:
        raise FamilyError(f"{reference}: its config asks for {foreign[0]}, which hubft does not follow")
    for key, value in stated.items():
        if type(value) is int and abs(value) > (DEEPEST if "layers" in key else LARGEST):
            raise FamilyError(f"{reference}: {key} of {value:,} in its config")
        if isinstance(value, Mapping) and key not in LABELS:
            _require_bounds(reference, value)


def built(reference: str, stated: Mapping[str, Any], use: Use, labels: int = 0) -> Any:
    """Return the model with the values of its constructor.

    :param labels: of another number than the config says.
    """
    config = _config(reference, stated)
    if labels:
        config.num_labels = labels
    with _quiet(), _explained(reference, use):
        return getattr(transformers, use.auto).from_config(config, dtype=torch.float32)


def filled(reference: str, stated: Mapping[str, Any], use: Use, folder: Path) -> Any:
    """Return the model with the weights of its folder.

    :raises FamilyError: they lack more than the head.
    """
    if not any((folder / file).is_file() for file in WEIGHTS):
        raise FamilyError(f"{reference} has no {WEIGHTS[0]}, and hubft reads no pickles")
    with _quiet(), _explained(reference, use), draws.preserved():
        draws.seed("fresh", use.auto)  # what a checkpoint lacks of the head starts with the same values each time
        model, told = getattr(transformers, use.auto).from_pretrained(
            folder,
            config=_config(reference, stated),
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
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError, SafetensorError) as error:
        raise FamilyError(f"{reference} cannot be loaded as {use.title}: {reason(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Have transformers and what it imports say nothing, and show no bar: what counts is asked for, and told as an
    error."""
    log = transformers.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with quiet():
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


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
    config = architecture(model)
    with torch.device("meta"):
        both = [built(reference, config, use, labels).named_parameters(remove_duplicate=not every) for labels in (2, 3)]
    two, three = ({name: parameter.shape for name, parameter in its} for its in both)
    names = list(dict.fromkeys(name.rpartition(".")[0] for name, shape in two.items() if three[name] != shape))
    if not names:
        raise FamilyError(f"{reference}: no layer of it has an output for each label")
    return names


def architecture(model: Any) -> dict[str, Any]:
    """Return the config by which transformers builds a model, without its labels."""
    config = model.config.to_dict()
    return {name: value for name, value in config.items() if name not in (*LABELS, *HERE, *FOREIGN)}


def stated(model: Any, labelled: bool = True) -> dict[str, Any]:
    """Return the config.json by which transformers builds this model.

    :param labelled: whether it has labels, which are for the core to fill in.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name not in (*FOREIGN, "_name_or_path")}
    config |= {"architectures": [type(model).__name__], "dtype": "float32"}
    labels: dict[str, Any] = {"id2label": {}, "label2id": {}, "problem_type": None}
    config = {name: value for name, value in config.items() if name not in labels} | (labels if labelled else {})
    return dict(json.loads(json.dumps(config)))
