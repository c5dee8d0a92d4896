"""The family `transformers`: models of text that classify, by their names on the Hugging Face Hub, or of a folder.

    transformers:owner/name, transformers:owner/name@REVISION
    transformers:/path/to/folder

A folder holds what `save_pretrained` of a model and of its tokenizer write: config.json, model.safetensors and
tokenizer.json. Weights are read as safetensors and from nowhere else, and no code of a repository is run.

The model is that of `AutoModelForSequenceClassification`. Where its checkpoint has no head, as of a model that was
trained to fill gaps or to embed, the head is a fresh one; anything else that a checkpoint lacks is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCard, snapshot_download
from safetensors import SafetensorError
from torch import Tensor, nn

from hubft import hookimpl
from hubft.base.display import listed
from hubft.base.errors import FamilyError, reason, suggest
from hubft.base.network import PATIENCE
from hubft.families import defaults, structure
from hubft.families.stages import under
from hubft.hookspecs import Base, Loaded
from hubft.inputs import Text
from hubft.job import Head
from hubft.publish import hub
from hubft.text import tokenizer
from hubft.text.tokenizer import Carried

hubft_family = {"api": (1, 4), "takes": "text", "libraries": ("transformers", "tokenizers")}

CONFIG, CARD = "config.json", "README.md"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
FOREIGN = ("auto_map", "attn_implementation", "_attn_implementation", "experts_implementation", "quantization_config")
"""Keys of a config.json by which transformers would run or fetch code that is not its own, or change the layers."""
HERE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Keys that say where and by what a config.json was written: they build nothing."""
LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length")
LENGTH = 2**20  # tokens, of a model that says no limit: a run takes as many as its texts need
DEEPEST, LARGEST = 1024, 2**24  # blocks of a stranger's config, and any other whole number in it


@dataclass(frozen=True)
class Found:
    """A model's folder."""

    folder: Path
    reference: str
    revision: str = ""
    hub: str = ""


@hookimpl
def load(name: str, pretrained: bool, config: Mapping[str, Any]) -> Loaded:
    """Return a model that classifies texts; its head is the layer whose width the number of labels says.

    :raises FamilyError: an unknown name, files that are missing or damaged, a model that is of no use here.
    """
    reference = f"transformers:{name}"
    if config and not pretrained:  # of a package, which brings its own tokenizer
        model = _built(reference, config)
        return _loaded(model, Base(reference, config=dict(config)), Carried("", LENGTH, None))
    found = _found(name, pretrained)
    stated = _stated(reference, found.folder)
    carried = tokenizer.of(found.folder, reference)
    model = _filled(reference, found.folder, stated) if pretrained else _built(reference, stated)
    base = Base(found.reference, found.revision, _license(found.folder), hub=found.hub, config=stated)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = carried.padding if carried.padding is not None else model.config.eos_token_id
    if model.config.pad_token_id is None:
        raise FamilyError(f"{reference}: neither its config nor its tokenizer has a token that fills up short texts")
    return _loaded(model, base, carried)


def _loaded(model: Any, base: Base, carried: Carried) -> Loaded:
    head = _head(model, base.reference)
    inputs = Text(carried.text, min(carried.most, _positions(model)), model.config.pad_token_id or 0)
    found = structure.stages(model, structure.blocks(model, head), [head])
    return Loaded(model, head, found, inputs, base, forward=logits)


def logits(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return what a model gives for `input_ids` and `attention_mask`: `[batch, outputs]`."""
    outputs: Tensor = model(**inputs).logits
    return outputs


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Give the model a fresh last layer, and have its config say so."""
    model: Any = loaded.model
    biased = getattr(model.get_submodule(loaded.head), "bias", None) is not None
    adapted = defaults.adapt_head(loaded, head)
    model.num_labels = model.config.num_labels = head.outputs
    plain = biased and not head.hidden and not head.dropout  # transformers builds one layer, of decoders without bias
    return replace(adapted, config=_hub_config(model) if plain else {})


def _hub_config(model: Any) -> dict[str, Any]:
    """Return the config.json by which transformers builds this model; its labels are for the core to fill in."""
    config = {name: value for name, value in model.config.to_dict().items() if name not in (*FOREIGN, "_name_or_path")}
    config |= {"architectures": [type(model).__name__], "dtype": "float32"}
    config |= {"id2label": {}, "label2id": {}, "problem_type": None}
    return dict(json.loads(json.dumps(config)))


# ---- files -------------------------------------------------------------------------------------------


def _found(name: str, pretrained: bool) -> Found:
    """Return the folder of a name, downloaded if need be."""
    path = Path(name).expanduser()
    if path.is_absolute() or name.startswith("."):
        if not path.is_dir():
            raise FamilyError(f"transformers:{name}: there is no such folder")
        return Found(path.resolve(), f"transformers:{path.resolve()}")
    repository, _, revision = name.partition("@")
    if not hub.REPOSITORY.fullmatch(repository):
        raise FamilyError(f"transformers:{name}: write transformers:owner/name, or transformers:/path/to/folder")
    wanted = [CONFIG, *tokenizer.FILES, CARD, *(("model*.safetensors", WEIGHTS[1]) if pretrained else ())]
    at = revision or None
    try:
        folder = Path(snapshot_download(repository, revision=at, allow_patterns=wanted, etag_timeout=PATIENCE))
    except Exception as error:  # of the network, of the Hub, of the cache
        raise hub.explained(error, repository, at) from error
    return Found(folder, f"transformers:{repository}@{folder.name}", folder.name, repository)


def _stated(reference: str, folder: Path) -> dict[str, Any]:
    """Return what config.json says of the architecture."""
    try:
        stated = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return {name: value for name, value in stated.items() if name not in HERE}
    except (OSError, ValueError, AttributeError) as error:
        raise FamilyError(f"{reference} has no {CONFIG} that can be read: {reason(error)}") from error


def _license(folder: Path) -> str:
    """Return what the card says; nothing where there is none, or it cannot be read."""
    try:
        return str(ModelCard.load(folder / CARD, ignore_metadata_errors=True).data.license or "").lower()
    except Exception:  # whatever YAML of strangers does
        return ""


# ---- the model ---------------------------------------------------------------------------------------


def _config(reference: str, stated: Mapping[str, Any]) -> Any:
    """Return a config of a class that is transformers' own.

    :raises FamilyError: of a kind that it does not have, that asks for other code, or of sizes that nobody builds.
    """
    kind, known = stated.get("model_type"), transformers.CONFIG_MAPPING
    if foreign := [key for key in FOREIGN if stated.get(key)]:
        raise FamilyError(f"{reference}: its config asks for {foreign[0]}, which hubft does not follow")
    if not isinstance(kind, str) or kind not in known:
        near = suggest(str(kind), list(known.keys()))
        version = transformers.__version__
        raise FamilyError(f"{reference}: transformers {version} knows no models of type {kind!r}.{near}")
    for key, value in stated.items():
        if type(value) is int and abs(value) > (DEEPEST if "layers" in key else LARGEST):
            raise FamilyError(f"{reference}: {key} of {value:,} in its config")
    try:
        return known[kind].from_dict(dict(stated))
    except Exception as error:  # whatever a class says of values that are none
        raise FamilyError(f"{reference}: its config cannot be used: {reason(error)}") from error


def _built(reference: str, stated: Mapping[str, Any], labels: int = 0) -> Any:
    """Return the model with the values of its constructor.

    :param labels: of another number than the config says.
    """
    config = _config(reference, stated)
    if labels:
        config.num_labels = labels
    with _quiet(), _explained(reference):
        return transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def _filled(reference: str, folder: Path, stated: Mapping[str, Any]) -> Any:
    """Return the model with the weights of its folder.

    :raises FamilyError: they lack more than the head.
    """
    if not any((folder / file).is_file() for file in WEIGHTS):
        raise FamilyError(f"{reference} has no {WEIGHTS[0]}, and hubft reads no pickles")
    with _quiet(), _explained(reference):
        model, told = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=_config(reference, stated),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    head = _head(model, reference)
    if more := sorted(name for name in told["missing_keys"] if not under(name, head)):
        raise FamilyError(
            f"{reference}: its weights lack {listed(more)}, beside the head {head}: these would start as noise; take "
            "weights that were saved with them"
        )
    return model


@contextmanager
def _explained(reference: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError, SafetensorError) as error:
        raise FamilyError(f"{reference} cannot be loaded as a classifier of texts: {reason(error)}") from error


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


def _head(model: Any, reference: str) -> str:
    """Return the name of the layer that has an output for each label: of two models with other numbers of labels, it
    alone has other shapes."""
    config = model.config.to_dict()
    for key in ("id2label", "label2id", *HERE, *FOREIGN):
        config.pop(key, None)
    with torch.device("meta"):
        two, three = ({n: p.shape for n, p in _built(reference, config, k).named_parameters()} for k in (2, 3))
    names = {name.rpartition(".")[0] for name, shape in two.items() if three[name] != shape}
    if len(names) != 1:
        raise FamilyError(f"{reference}: its head is not one layer, but {', '.join(sorted(names)) or 'none'}")
    return str(names.pop())


def _positions(model: Any) -> int:
    """Return how many tokens a model has positions for; RoBERTa's table begins behind its padding token."""
    stated = [value for key in LENGTHS if isinstance(value := getattr(model.config, key, None), int) and value > 0]
    tables = [m for n, m in model.named_modules() if n.endswith("position_embeddings") and isinstance(m, nn.Embedding)]
    taken = [table.num_embeddings - table.padding_idx - 1 for table in tables if table.padding_idx is not None]
    return min([*stated, *taken], default=LENGTH)
