"""Packages of the toy family, for tests of what is published."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubft import Base, Head, Job, methods
from hubft.base import digest
from hubft.compress import structure as structures
from hubft.families import plugins
from hubft.families.build import adapt, compressed, load_base
from hubft.publish import manifest, package, selftest
from hubft.run import left
from hubft.tasks.classification import Classification
from hubft.tasks.task import Task

CLASSES = ("ant", "bee", "cat")
ACCURACY = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}}


def toy_job(**options: Any) -> Job:
    """Return the job of a toy run on three classes."""
    return Job("toy:small", "pictures/of/mine", head=Head(outputs=len(CLASSES)), **options)


def write(
    folder: Path,
    job: Job,
    classes: tuple[str, ...] = CLASSES,
    base: Base | None = None,
    pretrained: bool = True,
    task: Task | None = None,
) -> nn.Module:
    """Return the `trained` model whose package now lies in `folder`: head and BatchNorm statistics have moved.

    :param task: of the package; that of the classes, if none is given.
    :param pretrained: False for a base whose weights are not at hand; it then has random ones.
    """
    pm = plugins.manager(job.family)
    task = task or Classification(classes)
    loaded = load_base(pm, job, pretrained, task=task.kind)
    base_digests = digest.of_tensors(loaded.model.state_dict())
    loaded = adapt(pm, job, loaded)
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in loaded.model.state_dict().items():
            if name.startswith(loaded.head) or "running" in name:
                tensor.copy_(torch.rand(tensor.shape, generator=random))
    structure: tuple[dict[str, Any], ...] = ()
    for method in map(str, methods.parse(job.compress)):
        made = compressed(pm, loaded, method, [(torch.zeros(2, 3, *loaded.preprocess.size), torch.zeros(2))])
        loaded, structure = replace(loaded, model=made.model), (*structure, *made.structure)
    base = base or replace(loaded.base, sha256=digest.of_state(base_digests))
    facts = package.Manifest(job, task, loaded.preprocess, base, ACCURACY, structure=structure)
    test = selftest.make(loaded)
    state = structures.state(loaded.model)
    package.write(folder, facts, state, test, base_digests, left.extras(loaded, facts))
    return loaded.model.eval()


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a package's manifest and seal it again, as an attacker would."""
    path = folder / package.MANIFEST
    data = json.loads(path.read_text())
    change(data)
    data["seal"] = manifest.UNSEALED
    text = json.dumps(data)
    path.write_text(text.replace(manifest.UNSEALED, hashlib.sha256(text.encode()).hexdigest()))


def refile(folder: Path, name: str) -> None:
    """Enter a file that was changed in the manifest, so that its own checks are reached."""
    facts = {
        "sha256": digest.of_file(folder / name),
        "size": (folder / name).stat().st_size,
        "role": manifest.ROLES[name],
    }
    rewrite(folder, lambda data: data["files"].update({name: facts}))
