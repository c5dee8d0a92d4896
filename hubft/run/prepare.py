"""All that a run needs, read, built and tried out before anything is written."""

from __future__ import annotations

import copy
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import pluggy
import torch

import hubft
from hubft.base import digest, draws
from hubft.base.errors import FamilyError, JobError, reason
from hubft.base.store import Scratch
from hubft.cut.feed import Cut
from hubft.families import plugins
from hubft.families.build import adapt, family_of, load_base
from hubft.hookspecs import Loaded
from hubft.images import dataset, pixels, sizes
from hubft.job import Compute, Job, Reference
from hubft.machine.runtime import Runtime
from hubft.publish import tensors
from hubft.run import parent
from hubft.train import recipe


@dataclass(frozen=True)
class Prepared:
    """All that a run needs, read and checked before anything is written."""

    job: Job
    pm: pluggy.PluginManager
    images: dataset.Images
    training: pixels.Views
    validation: pixels.Views
    loaded: Loaded
    base: dict[str, str]
    """sha256 of every tensor of the base, before its head was replaced."""
    data: dict[str, dict[str, str | int]]
    """Fingerprint of the images."""
    versions: dict[str, str]
    continued: bool = False
    """Whether the head is that of a package of the same classes, as it was there."""
    seen: object = None
    """What the package that the run starts from says of its own training images, if it starts from one."""
    prefix: Compute = field(default_factory=Compute)
    """How the frozen part of the model computes, forward only."""
    cuts: dict[object, Cut | str] = field(default_factory=dict)
    """What `phases.find` found in this run, by what trains and in which precision."""

    @cached_property
    def runtime(self) -> Runtime:
        """Of training steps."""
        return Runtime(self.job.compute)

    @cached_property
    def forward(self) -> Runtime:
        """Of the frozen part of the model."""
        return Runtime(self.prefix)

    @cached_property
    def exact(self) -> Runtime:
        """Of evaluation: the precision that a package promises."""
        return Runtime(replace(self.job.compute, precision="fp32"))


def prepare(job: Job, images: dataset.Images | None = None, trust: bool = False) -> Prepared:
    """Return what the job's run needs; reads data and weights, and writes nothing.

    :param images: of the job, where they were read already.
    :param trust: also start from the fine-tune of a torch.hub repository, which runs that repository's code.
    """
    started = parent.of(job)
    job = started.settled(job) if started else job
    pm = family_of(job, trust, typed=True)
    Runtime(job.compute)  # a device that is not there is told at once
    images = images or dataset.read(Path(job.data), job.holdout, job.recipe.seed)
    job = job.with_outputs(len(images.classes))
    loaded = load_base(pm, job, pretrained=True)
    tensors.require_finite(job.reference, loaded.model.state_dict())
    white = job.white or images.white or loaded.preprocess.white
    loaded = replace(loaded, preprocess=replace(loaded.preprocess, white=white))
    base = digest.of_tensors(loaded.model.state_dict())
    loaded = replace(loaded, base=replace(loaded.base, sha256=digest.of_state(base)))
    continued = started.continued(job, images.classes) if started else None
    job, known = continued or job, loaded.model.state_dict()
    draws.seed("head", job.recipe.seed)
    loaded = adapt(pm, job, loaded)
    if continued:
        loaded.model.load_state_dict(known)
    _rehearse(pm, job, loaded)
    scratch = Scratch()
    training = pixels.Views(images.folder, images.train, loaded.preprocess, job.recipe, scratch)
    validation = pixels.Views(images.folder, images.val, loaded.preprocess, scratch=scratch)
    references = (job.reference, *loaded.base.below[-1:])
    fingerprint, versions = images.fingerprint(), _versions(Reference.parse(text).family for text in references)
    seen = (started.manifest.data.get("train") or {}) if started else None
    return Prepared(job, pm, images, training, validation, loaded, base, fingerprint, versions, bool(continued), seen)


def _rehearse(pm: pluggy.PluginManager, job: Job, loaded: Loaded) -> None:
    """Find out in a second what would otherwise fail after the training."""
    recipe.optimizer(loaded, job.recipe)
    for progress in (0.0, 1.0):
        pm.hook.freeze(loaded=loaded, train=job.recipe.train, progress=progress)
    if job.compress != "none":
        pm.hook.compress(model=copy.deepcopy(loaded.model), method=job.compress, batches=(), forward=loaded.forward)
    loaded.model.eval()
    height, width = loaded.preprocess.size
    try:
        sizes.check(loaded, job)
        with torch.no_grad():
            shape = tuple(loaded.forward(loaded.model, torch.zeros(2, 3, height, width)).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise JobError(f"{job.reference} does not take images of {height} x {width}: {reason(error)}") from error
    if shape != (2, job.head.outputs):
        raise FamilyError(f"{job.reference} gives outputs {shape} for 2 images, not (2, {job.head.outputs})")


def _versions(families: Iterable[str]) -> dict[str, str]:
    """Return the versions that a result depends on: Python, hubft, its libraries, the families' distributions."""
    libraries = {name: version(name) for name in ("torch", "torchvision", "timm")}
    ours = {"hubft": hubft.__version__} | {own.distribution: own.version for own in map(plugins.find, families)}
    return {"python": platform.python_version(), **libraries, **ours}
