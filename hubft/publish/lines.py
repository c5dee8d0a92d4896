"""The lines that load a package and look at a picture with it: cards and commands print them from here alone."""

from __future__ import annotations

import json
import shlex

from hubft.base.distributions import repository
from hubft.families import plugins
from hubft.families.plugins import ROOT
from hubft.job import Reference
from hubft.publish.manifest import Manifest

TRANSFORMERS = "transformers"
PLACE = "path/to/hubft"
"""Stands for the folder of a checkout of hubft on cards, while hubft has no public repository."""


def family(manifest: Manifest) -> str:
    """Return the family that builds a package's model, whatever was fine-tuned from it since."""
    return Reference.parse(manifest.base.architecture).family


def library(manifest: Manifest) -> str:
    """Return the library whose format the package's config.json is in: timm's, where a family says no other."""
    return TRANSFORMERS if family(manifest) == TRANSFORMERS else "timm"


def foreign(manifest: Manifest) -> bool:
    """Return whether loading a package runs code that is part neither of it nor of a library: it asks for trust."""
    return bool(manifest.base.code) or plugins.foreign_code(family(manifest))


def install() -> str:
    """Return the command that installs hubft."""
    return f"pip install git+https://github.com/{found}" if (found := repository()) else f"pip install {PLACE}"


def torch_hub(source: str, trust: bool, place: str = PLACE) -> str:
    """Return the expression that loads a package with torch.hub.

    :param source: owner/name or owner/name@revision on the Hub, or a folder.
    :param trust: say that the code which runs is trusted (`foreign`).
    :param place: folder of a checkout, which serves while hubft has no public repository.
    """
    found = repository()
    how = "trust_repo=True" if found else 'source="local"'  # without it, torch.hub asks at the keyboard
    said = ", trust=True" if trust else ""
    return f'torch.hub.load({_quoted(found or place)}, "finetuned", {_quoted(source)}, {how}{said})'


def python(source: str, trust: bool) -> str:
    """Return the expression that loads a package with hubft."""
    return f"hubft.load({_quoted(source)}{', trust=True' if trust else ''})"


def here(source: str, trust: bool) -> str:
    """Return the line of Python that loads a package for whoever typed a command, with what is there."""
    if repository() or (ROOT / "hubconf.py").is_file():
        return torch_hub(source, trust, str(ROOT))
    return f"import hubft; model = {python(source, trust)}"


def predict(source: str, image: str, trust: bool) -> str:
    """Return the command that looks at a picture with a package."""
    return shlex.join(["hubft", "predict", source, image]) + (" --trust" if trust else "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
