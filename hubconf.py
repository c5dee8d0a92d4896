"""Table of contents for torch.hub: the entries of the catalogue, and `finetuned` for any package.

    torch.hub.load("path/to/hubft", "resnet50_ft", source="local")
    torch.hub.load("path/to/hubft", "finetuned", "OWNER/NAME@COMMIT", source="local")

or, where a copy of this repository lies on GitHub, torch.hub.load("OWNER/REPOSITORY", "resnet50_ft", trust_repo=True).

This file is run afresh at every call, with nothing installed and only this folder on the path; so it imports hubft
inside the entries, where torch.hub has already checked the dependencies. torch.hub downloads without a lock: where
several processes load for the first time at once, load once before they start, or under `hubft.hub_lock`, which says
how without hubft.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable as _Callable
from pathlib import Path as _Path
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

dependencies = ["torch", "torchvision", "numpy", "PIL", "safetensors", "pluggy", "huggingface_hub"]

_ROOT = _Path(__file__).resolve().parent
_CATALOGUE = _ROOT / "hubft" / "share" / "catalogue.json"


def _loader() -> _ModuleType:
    """Return hubft.share.load of this checkout, or of a hubft that is imported already and can stand in for it.

    :raises ImportError: one is imported that is older, or of another series; two cannot be, in one process.
    """
    text = (_ROOT / "hubft" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"', text, re.MULTILINE)[0]
    there = sys.modules.get("hubft")
    if there is not None and not _serves(getattr(there, "__version__", ""), version):
        raise ImportError(
            f"hubft {getattr(there, '__version__', 'unknown')} of {there.__file__} is already imported, and this is "
            f"hubft {version} of {_ROOT}: call torch.hub.load in a fresh process that does not import the other, or "
            "install this version there"
        )
    from hubft.share import load

    return load


def _serves(there: str, wanted: str) -> bool:
    """Return whether a version is of the same series, and not older: 0.2.3 serves 0.2.1; 1.4.0 serves 1.3.5."""
    have, want = ([int(number) for number in re.findall(r"\d+", version)[:3]] for version in (there, wanted))
    series = 2 if want[0] == 0 else 1
    return have[:series] == want[:series] and have >= want


def finetuned(source: str, revision: str | None = None, trust: bool = False) -> nn.Module:
    """A fine-tuned model from its package: the plain module of its own library, in eval mode on the CPU.

    `model.hubft` is a dict with reference, task, classes (the names of the outputs), metrics, base and preprocess;
    `model.preprocess` the torchvision transform to the model's input from a picture of 8-bit RGB. The package's card
    says how a file becomes that.

    source: folder of a package, or owner/name or owner/name@revision on the Hugging Face Hub.
    revision: branch, tag or commit there; a commit of 40 digits pins every byte.
    trust: also load what is built by code of a repository, which runs that code.
    """
    model: nn.Module = _loader().load(source, revision=revision, trust=trust)
    return model


_ARGUMENTS = """
    pretrained: the fine-tune; where none is published yet, the base's weights. False: the base's architecture
        with random weights.
    num_classes: the base, not the fine-tune, with a fresh head for that many classes, to be trained.
    weights: another fine-tune of the same base: folder of a package, or owner/name@revision on the Hugging Face Hub.
    trust: also load what is built by code of another repository, which runs that code.

    `model.hubft` and `model.preprocess` are as in `finetuned`.
"""


def _entry(name: str, description: str) -> _Callable[..., nn.Module]:
    def entry(
        pretrained: bool = True, num_classes: int | None = None, weights: str | None = None, trust: bool = False
    ) -> nn.Module:
        model: nn.Module = _loader().entry(
            name, catalogue=_CATALOGUE, pretrained=pretrained, num_classes=num_classes, weights=weights, trust=trust
        )
        return model

    card = _CATALOGUE.parent / "catalogue" / name / "README.md"
    lines = card.read_text(encoding="utf-8").splitlines() if card.exists() else []
    facts = [line for line in lines if line.startswith(("Accuracy ", "hubft finetune "))]
    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = "\n\n    ".join([description, *facts]) + "\n" + _ARGUMENTS
    return entry


for _name, _facts in json.loads(_CATALOGUE.read_text(encoding="utf-8")).items():
    globals()[_name] = _entry(_name, _facts["description"])
