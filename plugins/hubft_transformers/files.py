"""The folder of a model, of this machine or of the Hugging Face Hub, and what it says beside the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, snapshot_download

from hubft.base.errors import FamilyError, reason
from hubft.base.network import PATIENCE
from hubft.publish import hub
from hubft.publish.manifest import GENERATION, PREPROCESSOR
from hubft.text import tokenizer
from hubft_transformers import pooled

CONFIG, CARD = "config.json", "README.md"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
HERE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Keys that say where and by what a config.json was written: they build nothing."""


@dataclass(frozen=True)
class Found:
    """A model's folder."""

    folder: Path
    reference: str
    revision: str = ""
    hub: str = ""


def found(name: str, pretrained: bool, code: bool = False) -> Found:
    """Return the folder of a name, downloaded if need be.

    :param code: also what lies there of code.
    """
    path = Path(name).expanduser()
    if path.is_absolute() or name.startswith("."):
        if not path.is_dir():
            raise FamilyError(f"transformers:{name}: there is no such folder")
        return Found(path.resolve(), f"transformers:{path.resolve()}")
    repository, _, revision = name.partition("@")
    if not hub.REPOSITORY.fullmatch(repository):
        raise FamilyError(f"transformers:{name}: write transformers:owner/name, or transformers:/path/to/folder")
    wanted = [CONFIG, *tokenizer.FILES, PREPROCESSOR, GENERATION, pooled.FILE, CARD]
    wanted += ["model*.safetensors", WEIGHTS[1]] if pretrained else []
    wanted += ["*.py"] if code else []
    at = revision or None
    try:
        folder = Path(snapshot_download(repository, revision=at, allow_patterns=wanted, etag_timeout=PATIENCE))
    except Exception as error:  # of the network, of the Hub, of the cache
        raise hub.explained(error, repository, at) from error
    return Found(folder, f"transformers:{repository}@{folder.name}", folder.name, repository)


def stated(reference: str, folder: Path) -> dict[str, Any]:
    """Return what config.json says of the architecture."""
    try:
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return {name: value for name, value in said.items() if name not in HERE}
    except (OSError, ValueError, AttributeError) as error:
        raise FamilyError(f"{reference} has no {CONFIG} that can be read: {reason(error)}") from error


def license(folder: Path) -> str:
    """Return what the card says; nothing where there is none, or it cannot be read."""
    try:
        return str(ModelCard.load(folder / CARD, ignore_metadata_errors=True).data.license or "").lower()
    except Exception:  # whatever YAML of strangers does
        return ""
