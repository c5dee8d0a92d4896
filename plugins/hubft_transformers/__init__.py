"""The family `transformers`: classifiers of texts and images, detectors and language models, of the Hugging Face Hub or
of a folder.

    transformers:owner/name, transformers:owner/name@REVISION
    transformers:/path/to/folder

A folder holds what `save_pretrained` of a model and of its tokenizer or image processor write: config.json,
model.safetensors, and tokenizer.json or preprocessor_config.json. Weights are read as safetensors and from nowhere
else. Code that lies beside them runs on request alone (`foreign.py`).

The model is that of the Auto class that its task and the kind of its inputs need (`models.use`). Where its checkpoint
has no head, as of a model that was trained to fill gaps or to embed, the head is a fresh one; anything else that a
checkpoint lacks is refused. A language model keeps its own head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hubft import hookimpl
from hubft.families import defaults, structure
from hubft.hookspecs import CODE, Base, Batch, Forward, Loaded
from hubft.inputs import Images, Text
from hubft.job import Head
from hubft.publish.manifest import PREPROCESSOR
from hubft.tasks.losses import whole_of
from hubft.text.tokenizer import Carried
from hubft_transformers import configs, detection, files, foreign, inputs, language, models, pooled
from hubft_transformers.models import Use

hubft_family = {
    "api": (1, 5),
    "takes": ("text", "images", "documents", "words"),
    "libraries": ("transformers", "tokenizers"),
}
USES: Mapping[str, tuple[Use, ...]] = {
    "boxes": (detection.USE,),
    "generation": (language.USE,),
    "tokens": (models.TAGGER,),
}
"""Kind of a task -> what its models are; those of any other are classifiers."""


@hookimpl
def load(name: str, pretrained: bool, config: Mapping[str, Any], task: str) -> Loaded:
    """Return a model for a task; its head is the layer whose width the number of labels says.

    :raises FamilyError: an unknown name, files that are missing or damaged, a model that is of no use here.
    """
    reference = f"transformers:{name}"
    uses = USES.get(task, models.CLASSIFIERS)
    if config and not pretrained:  # of a package, which brings its own inputs
        ours = (language.HABITS, pooled.POOLING, CODE)
        stated = {name: value for name, value in config.items() if name not in ours}
        use, _ = _use(reference, name, stated, uses)
        model = models.built(reference, stated, use)
        if use.own:
            language.inhabited(reference, model, config.get(language.HABITS) or {})
        kept = {name: value for name, value in config.items() if name != pooled.POOLING}
        return _loaded(model, use, Base(reference, config=kept), inputs.unknown(model, use.takes))
    found = files.found(name, pretrained)
    stated = files.stated(reference, found.folder)
    use, code = _use(reference, found.reference.partition(":")[2], stated, uses)
    carried = inputs.of(reference, found.folder, use)
    build = partial(models.filled, folder=found.folder) if pretrained else models.built
    model = build(reference, stated, use)
    if pretrained and isinstance(carried, Images):
        inputs.require_size(model, reference, carried)
    if pretrained and use.own:
        language.require_causal(reference, model)
        stated |= {language.HABITS: language.habits(model)}
    if use is models.CLASSIFIERS[0]:
        stated |= pooled.stated(found.folder)
    stated |= {CODE: code} if code else {}
    base = Base(found.reference, found.revision, files.license(found.folder), hub=found.hub, config=stated)
    return _loaded(model, use, base, carried)


def _use(reference: str, name: str, stated: Mapping[str, Any], uses: tuple[Use, ...]) -> tuple[Use, Mapping[str, str]]:
    """Return what a model is for, and the sha256 by name of the files of its own code, where it has some."""
    if stated.get(configs.MAP):
        return foreign.use(reference, name, stated, uses)
    return models.use(reference, stated, uses), {}


def _loaded(model: Any, use: Use, base: Base, carried: Carried | Images) -> Loaded:
    heads = models.heads(model, use, base.reference)
    stages = structure.stages(model, structure.blocks(model, heads), heads)
    takes = inputs.fitted(base.reference, model, carried, use.takes)
    if isinstance(takes, Text):  # of decoders a token may come from the tokenizer, and a package is built without one
        base = replace(base, config={**base.config, "pad_token_id": takes.padding})
    return Loaded(model, heads[-1], stages, takes, base, forward=use.forward)


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Give the model a fresh last layer, and have its config say so; a language model keeps its own.

    Where the model has code of its own, a package is nothing that transformers could load: it holds none of it.
    """
    adapted = _adapted(loaded, head)
    return replace(adapted, config={}, files={}) if loaded.base.code else adapted


def _adapted(loaded: Loaded, head: Head) -> Loaded:
    if not head.outputs:
        return language.published(loaded)
    model: Any = loaded.model
    if loaded.forward is detection.detections:
        return _published(detection.adapted(loaded, head))
    loaded = pooled.pooled(loaded, head.pool)
    biased = getattr(model.get_submodule(loaded.head), "bias", None) is not None
    adapted = defaults.adapt_head(loaded, head)
    model.num_labels = model.config.num_labels = head.outputs
    if not biased or head.hidden or head.dropout:  # transformers builds one layer, of decoders without bias
        return replace(adapted, config={}, files={})
    return _published(adapted)


@hookimpl
def train_step(model: nn.Module, batch: Batch, criterion: nn.Module, forward: Forward) -> dict[str, Tensor] | None:
    """Train a detector by its own loss. Without gradients it is asked for its boxes."""
    if forward is not detection.detections or not torch.is_grad_enabled():
        return None
    pixels, targets = batch
    found = detection.losses(model, pixels, targets, whole_of(criterion))
    return {"outputs": pixels.new_zeros(len(pixels), 0, 6), **found}


def _published(loaded: Loaded) -> Loaded:
    """Return a model with the files by which transformers loads it and reads its inputs."""
    model, its = loaded.model, loaded.inputs
    files = {PREPROCESSOR: inputs.processor(its)} if isinstance(its, Images) else inputs.tokenizes(its)
    if isinstance(its, Images) and loaded.forward is detection.detections:
        files[PREPROCESSOR] |= detection.processor(model, its.size, its.crop == "border")
    return replace(loaded, config=models.stated(model), files=files)
