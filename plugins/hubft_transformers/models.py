"""The models of transformers: the class that a use needs, built with its weights or without, and its head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.models.auto import modeling_auto as known

from hubft.base.display import listed
from hubft.base.errors import FamilyError, reason, suggest
from hubft.families.stages import under
from hubft_transformers.files import HERE, WEIGHTS

FOREIGN = ("auto_map", "attn_implementation", "_attn_implementation", "experts_implementation", "quantization_config")
"""Keys of a config.json by which transformers would run or fetch code that is not its own, or change the layers."""
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
    own: bool = False
    """Whether its head is that of its checkpoint; else it has an output for each label."""


CLASSIFIERS = (
    Use(
        "AutoModelForSequenceClassification",
        "text",
        "a classifier of texts",
        known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    ),
    Use(
        "AutoModelForImageClassification",
        "images",
        "a classifier of images",
        known.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    ),
)
LANGUAGE = Use(
    "AutoModelForCausalLM", "documents", "a language model", known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, own=True
)
USES: Mapping[str, tuple[Use, ...]] = {"generation": (LANGUAGE,)}
"""Kind of a task -> its uses, the first that knows the type of a model is taken; classes and numbers of any other."""


def use(reference: str, stated: Mapping[str, Any], task: str) -> Use:
    """Return what a model of this config is for.

    :param stated: what config.json says.
    :param task: its kind.
    :raises FamilyError: transformers has no such models, or none of the type for this task.
    """
    kind = type(_config(reference, stated)).model_type
    uses = USES.get(task, CLASSIFIERS)
    found = next((one for one in uses if kind in one.types), None)
    if found is None:
        wanted = " nor ".join(one.title for one in uses)
        raise FamilyError(f"{reference}: transformers has neither {wanted} of the type {kind!r}: take another model")
    return found


def logits(model: nn.Module, inputs: Any) -> Tensor:
    """Return what a classifier gives, `[batch, outputs]`.

    :param inputs: of texts `input_ids` and `attention_mask`; of images float32 `[batch, 3, height, width]`.
    """
    said = model(**inputs) if isinstance(inputs, Mapping) else model(pixel_values=inputs)
    outputs: Tensor = said.logits
    return outputs


def _config(reference: str, stated: Mapping[str, Any]) -> Any:
    """Return a config of a class that is transformers' own.

    :raises FamilyError: of a kind that it does not have, that asks for other code, or of sizes that nobody builds.
    """
    kind, types = stated.get("model_type"), transformers.CONFIG_MAPPING
    if foreign := [key for key in FOREIGN if stated.get(key)]:
        raise FamilyError(f"{reference}: its config asks for {foreign[0]}, which hubft does not follow")
    if not isinstance(kind, str) or kind not in types:
        near = suggest(str(kind), list(types.keys()))
        version = transformers.__version__
        raise FamilyError(f"{reference}: transformers {version} knows no models of type {kind!r}.{near}")
    for key, value in stated.items():
        if type(value) is int and abs(value) > (DEEPEST if "layers" in key else LARGEST):
            raise FamilyError(f"{reference}: {key} of {value:,} in its config")
    try:
        return types[kind].from_dict(dict(stated))
    except Exception as error:  # whatever a class says of values that are none
        raise FamilyError(f"{reference}: its config cannot be used: {reason(error)}") from error


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
    with _quiet(), _explained(reference, use):
        model, told = getattr(transformers, use.auto).from_pretrained(
            folder,
            config=_config(reference, stated),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    layer = head(model, use, reference)
    missing = sorted(told["missing_keys"])
    if more := missing if use.own else [name for name in missing if not under(name, layer)]:
        beside = "" if use.own else f", beside the head {layer}"
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
    """Have transformers print no report and no bar: what it would say is asked for, and told as an error."""
    log = transformers.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def head(model: Any, use: Use, reference: str) -> str:
    """Return the name of the layer that has an output for each label: of two models with other numbers of labels, it
    alone has other shapes. Of a language model, of the one that has an output for each token."""
    if use.own:
        layer = model.get_output_embeddings()
        return str(next(name for name, module in model.named_modules() if module is layer))
    config = model.config.to_dict()
    for key in ("id2label", "label2id", *HERE, *FOREIGN):
        config.pop(key, None)
    with torch.device("meta"):
        two, three = ({n: p.shape for n, p in built(reference, config, use, k).named_parameters()} for k in (2, 3))
    names = {name.rpartition(".")[0] for name, shape in two.items() if three[name] != shape}
    if len(names) != 1:
        raise FamilyError(f"{reference}: its head is not one layer, but {', '.join(sorted(names)) or 'none'}")
    return str(names.pop())


def stated(model: Any, labelled: bool = True) -> dict[str, Any]:
    """Return the config.json by which transformers builds this model.

    :param labelled: whether it has labels, which are for the core to fill in.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name not in (*FOREIGN, "_name_or_path")}
    config |= {"architectures": [type(model).__name__], "dtype": "float32"}
    labels: dict[str, Any] = {"id2label": {}, "label2id": {}, "problem_type": None}
    config = {name: value for name, value in config.items() if name not in labels} | (labels if labelled else {})
    return dict(json.loads(json.dumps(config)))
