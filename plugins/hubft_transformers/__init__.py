"""The family `transformers`: classifiers of texts and of images, and language models, from the Hugging Face Hub or
from a folder.

    transformers:owner/name, transformers:owner/name@REVISION
    transformers:/path/to/folder

A folder holds what `save_pretrained` of a model and of its tokenizer or image processor write: config.json,
model.safetensors, and tokenizer.json or preprocessor_config.json. Weights are read as safetensors and from nowhere
else, and no code of a repository is run.

The model is that of the Auto class that its task and the kind of its inputs need (`models.use`). Where its checkpoint
has no head, as of a model that was trained to fill gaps or to embed, the head is a fresh one; anything else that a
checkpoint lacks is refused. A language model keeps its own head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from hubft import hookimpl
from hubft.families import defaults, structure
from hubft.hookspecs import Base, Loaded
from hubft.inputs import Images
from hubft.job import Head
from hubft.publish.manifest import PREPROCESSOR
from hubft.text.tokenizer import Carried
from hubft_transformers import files, inputs, language, models
from hubft_transformers.models import Use

hubft_family = {"api": (1, 4), "takes": ("text", "images", "documents"), "libraries": ("transformers", "tokenizers")}


@hookimpl
def load(name: str, pretrained: bool, config: Mapping[str, Any], task: str) -> Loaded:
    """Return a model for a task; its head is the layer whose width the number of labels says.

    :raises FamilyError: an unknown name, files that are missing or damaged, a model that is of no use here.
    """
    reference = f"transformers:{name}"
    if config and not pretrained:  # of a package, which brings its own inputs
        stated = {name: value for name, value in config.items() if name != language.HABITS}
        use = models.use(reference, stated, task)
        model = models.built(reference, stated, use)
        if use.own:
            language.inhabited(reference, model, config.get(language.HABITS) or {})
        return _loaded(model, use, Base(reference, config=dict(config)), inputs.unknown(model, use.takes))
    found = files.found(name, pretrained)
    stated = files.stated(reference, found.folder)
    use = models.use(reference, stated, task)
    carried = inputs.of(reference, found.folder, use.takes)
    build = partial(models.filled, folder=found.folder) if pretrained else models.built
    model = build(reference, stated, use)
    if pretrained and isinstance(carried, Images):
        inputs.require_size(model, reference, carried)
    if pretrained and use.own:
        language.require_causal(reference, model)
        stated |= {language.HABITS: language.habits(model)}
    base = Base(found.reference, found.revision, files.license(found.folder), hub=found.hub, config=stated)
    return _loaded(model, use, base, carried)


def _loaded(model: Any, use: Use, base: Base, carried: Carried | Images) -> Loaded:
    head = models.head(model, use, base.reference)
    stages = structure.stages(model, structure.blocks(model, head), [head])
    takes = inputs.fitted(base.reference, model, carried, use.takes)
    return Loaded(model, head, stages, takes, base, forward=language.logits if use.own else models.logits)


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Give the model a fresh last layer, and have its config say so; a language model keeps its own."""
    if not head.outputs:
        return language.published(loaded)
    model: Any = loaded.model
    biased = getattr(model.get_submodule(loaded.head), "bias", None) is not None
    adapted = defaults.adapt_head(loaded, head)
    model.num_labels = model.config.num_labels = head.outputs
    if not biased or head.hidden or head.dropout:  # transformers builds one layer, of decoders without bias
        return replace(adapted, config={}, files={})
    its = loaded.inputs
    files = {PREPROCESSOR: inputs.processor(its)} if isinstance(its, Images) else {}
    return replace(adapted, config=models.stated(model), files=files)
