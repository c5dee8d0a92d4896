"""The page as a Space of the Hub: an app of a few lines, a copy of hubft, and samples where they were asked for.

The package itself is not in it: the app loads it from its own repository, pinned by its commit.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import hubft
from hubft.base.distributions import OWN
from hubft.base.errors import HubError, PackageError
from hubft.base.files import MARK
from hubft.deploy.trial import samples
from hubft.deploy.trial.samples import Examples
from hubft.families import plugins
from hubft.publish import lines
from hubft.publish.hub import explained
from hubft.publish.manifest import Manifest
from hubft.share.transfer import Pushed

if TYPE_CHECKING:
    from huggingface_hub import HfApi

BEGINNING = {".gitattributes", "README.md"}  # that the Hub puts into a new Space
OURS = [f"hubft_{name}" for name in ("torchvision", "timm", "hub", "pip", "package", "transformers")]
GRADIO = "6.31.0"  # that the page was looked at with
APP = '''"""The page of a fine-tuned model. It is what `hubft try` serves at home."""

from pathlib import Path

from hubft.deploy.export import opening
from hubft.deploy.trial import page, samples

page.serve(opening.opened({source!r}), samples.read(Path(__file__).parent), None)
'''
README = """---
title: {title}
sdk: gradio
sdk_version: {gradio}
app_file: app.py
models:
- {name}
---

The page to try [{name}](https://huggingface.co/{name}) on, as `hubft try {name}` serves it. It holds a copy of hubft
{version} and loads the package at the commit {revision}.
"""


def check(manifest: Manifest) -> None:
    """Check that a Space may load a package, before anything is sent.

    :raises PackageError: loading it runs code that is neither hubft's nor a library's.
    """
    if lines.foreign(manifest):
        raise PackageError("--space: loading this package runs foreign code, which a Space is not made to trust")


def files(pushed: Pushed, manifest: Manifest, examples: Examples) -> dict[str, bytes]:
    """Return what a Space of a package that was pushed holds, by path."""
    title = re.sub(r"[^\w .-]", "", pushed.name.partition("/")[2]) or "model"
    facts = {"title": title, "gradio": GRADIO, "name": pushed.name, "version": hubft.__version__}
    found = {
        "README.md": README.format(**facts, revision=pushed.revision).encode(),
        "app.py": APP.format(source=str(pushed)).encode(),
        "requirements.txt": requirements(manifest).encode(),
        MARK: b"",
        **({samples.FILE: json.dumps(examples).encode()} if examples else {}),
    }
    return found | copy()


def requirements(manifest: Manifest) -> str:
    """Return what a Space installs: what hubft itself needs, and what the family and the base of a package need.

    It is one of hubft's own requirements in any case: no package says what is installed elsewhere.
    """
    stated = [line.partition(";") for line in importlib.metadata.requires(OWN) or []]
    own, base = lines.family(manifest), manifest.base.requires

    def wanted(need: str, when: str) -> bool:
        name = re.split(r"[^\w.-]", need, maxsplit=1)[0]
        return not when or (bool(base) and name == base) or re.fullmatch(rf"\s*extra == .{own}.", when) is not None

    return "\n".join([*dict.fromkeys(need.strip() for need, _, when in stated if wanted(need, when)), ""])


def copy() -> dict[str, bytes]:
    """Return the files of hubft and of its own families, by their paths in a checkout."""
    package = Path(hubft.__file__).parent
    families = plugins.CHECKOUT if plugins.CHECKOUT.is_dir() else package.parent
    own = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    found = {f"hubft/{path.relative_to(package).as_posix()}": path.read_bytes() for path in own}
    theirs = [path for one in OURS for path in (families / one, *(families / one).rglob("*"), families / f"{one}.py")]
    kept = [path for path in theirs if path.is_file() and path.suffix != ".pyc"]
    return found | {f"plugins/{path.relative_to(families).as_posix()}": path.read_bytes() for path in kept}


def send(pushed: Pushed, manifest: Manifest, examples: Examples) -> str:
    """Return the commit of the Space, owner/name as the package; it is made where there is none.

    It is private where the package is.

    :raises HubError: the Hub refuses, cannot be reached, or has a Space of that name that hubft did not make.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, space, kind = HfApi(), files(pushed, manifest, examples), "space"
    try:
        api.create_repo(pushed.name, repo_type=kind, space_sdk="gradio", private=pushed.private, exist_ok=True)
        there = _there(api, pushed.name)
        if MARK not in there and (others := sorted(set(there) - BEGINNING)):
            raise HubError(
                f"the Space {pushed.name} holds something that hubft did not make ({', '.join(others[:3])}): delete it "
                "there, or push to another name"
            )
        gone = [CommitOperationDelete(path) for path in there if path not in space and path not in BEGINNING]
        added = [CommitOperationAdd(path, content) for path, content in space.items()]
        message = f"The page of {pushed}"
        done = api.create_commit(pushed.name, [*added, *gone], commit_message=message, repo_type=kind)
    except HubError:
        raise
    except Exception as error:  # the client's own classes, and those of its HTTP library
        raise HubError(f"{explained(error, pushed.name)} (the package is there; the Space is not)") from error
    return str(done.oid)


def _there(api: HfApi, name: str) -> Mapping[str, str]:
    """Return the files of a Space, path -> id."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(name, repo_type="space", recursive=True)
    return {file.path: file.blob_id for file in tree if isinstance(file, RepoFile)}
