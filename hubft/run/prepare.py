"""All that a run needs, read, built and tried out before anything is written."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pluggy
import torch
from torch import nn

import hubft
from hubft import modality
from hubft import surgery as surgeries
from hubft.base import digest, draws
from hubft.base.bars import Counting, nobody
from hubft.base.bounds import check
from hubft.base.errors import FamilyError, JobError, Option, reason
from hubft.base.store import Scratch
from hubft.compress import structure, surgery
from hubft.cut.feed import Cut
from hubft.families import checkpointing, plugins, stages
from hubft.families.adapters import Adapted
from hubft.families.build import adapt, family_of, load_base
from hubft.hookspecs import Loaded
from hubft.inputs import Inputs
from hubft.job import Compute, Job, Reference
from hubft.machine import ranks
from hubft.machine.ranks import ALONE, Ranks
from hubft.machine.runtime import Runtime
from hubft.modality import Views
from hubft.publish import tensors
from hubft.run import adapting, outputs, parent, sharding, teacher
from hubft.run.adapting import Folded
from hubft.run.data import Data, read
from hubft.run.parent import Parent
from hubft.tasks import ownloss
from hubft.tasks.task import Task, fits
from hubft.train import recipe
from hubft.train.lessons import Teacher


@dataclass(frozen=True)
class Prepared:
    """All that a run needs, read and checked before anything is written."""

    job: Job
    pm: pluggy.PluginManager
    data: Data
    training: Views
    validation: Views
    loaded: Loaded
    base: dict[str, str]
    """sha256 of every tensor of the base, before its head was replaced."""
    fingerprint: dict[str, dict[str, str | int]]
    """Of the data."""
    versions: dict[str, str]
    continued: bool = False
    """Whether the head is that of a package of the same classes, as it was there."""
    parent: Parent | None = None
    """The package that the run starts from, if it starts from one."""
    prefix: Compute = field(default_factory=Compute)
    """How the frozen part of the model computes, forward only."""
    teaches: Parent | None = None
    """The package of the teacher, if there is one."""
    teacher: Teacher | None = None
    """The teacher itself."""
    adapted: Adapted | None = None
    """The adapters that train, if there are any."""
    changed: tuple[dict[str, Any], ...] = ()
    """Records of what `--surgery` did."""
    folded: Folded | None = None
    """What is left of them once they are in the weights."""
    ranks: Ranks = ALONE
    """The processes that compute together now: until training is over."""
    counting: Counting = nobody
    """Shows how far is what takes long."""
    whole: nn.Module | None = None
    """In the first process of a run whose model is in shards, that model as it was before: until training is over."""
    cuts: dict[object, Cut | str] = field(default_factory=dict)
    """What `phases.find` found in this run, by what trains and in which precision."""
    heads: dict[object, Any] = field(default_factory=dict)
    """What `probing.solve` solved in runs that share this and their data, by what it was solved on."""

    @property
    def seen(self) -> object:
        """What the package that the run starts from says of its own training images."""
        return (self.parent.manifest.data.get("train") or {}) if self.parent else None

    def facts(self) -> dict[str, Any]:
        """Return what a run notes of what it began with, JSON types: of its data, and of foreign code that builds its
        model."""
        return {**self.data.facts(), **({"code": dict(code)} if (code := self.loaded.base.code) else {})}

    @property
    def structure(self) -> tuple[dict[str, Any], ...]:
        """Records of all that the package will differ in from its reference, but for what compression does."""
        below = structure.lasting(self.parent.manifest.structure) if self.parent else ()
        apart = (self.folded.record,) if self.folded and self.job.adapting.apart else ()
        return (*below, *self.changed, *apart)

    @property
    def teacher_sha256(self) -> str:
        """Of all that the teacher's package states; empty where there is no teacher."""
        return self.teaches.base().revision if self.teaches else ""

    @cached_property
    def runtime(self) -> Runtime:
        """Of training steps."""
        return Runtime(self.job.compute, self.ranks)

    @cached_property
    def forward(self) -> Runtime:
        """Of the frozen part of the model."""
        return Runtime(self.prefix, self.ranks)

    @cached_property
    def exact(self) -> Runtime:
        """Of evaluation: the precision that a package promises."""
        return Runtime(replace(self.job.compute, precision="fp32"), self.ranks)


def prepare(job: Job, data: Data | None = None, trust: bool = False, counting: Counting = nobody) -> Prepared:
    """Return what the job's run needs; reads data and weights, and writes nothing.

    :param data: of the job, where it was read already.
    :param trust: also start from a package that is built by code of a repository, which runs that code.
    """
    job.check_together()
    started = parent.of(job)
    job = adapting.apart(started.settled(job) if started else job)
    _trained(job, bool(started))
    teaches = teacher.named(job)
    job = teacher.settled(job, teaches) if teaches else job
    pm = family_of(job, trust, typed=True)
    _computable(job)
    data = data or read(job, counting=counting)
    job = modality.named(data.kind).settled(job)
    ownloss.criterion(data.task, job.recipe)  # whether its options have a meaning
    if teaches:
        teacher.check(job, teaches.manifest, data.task)
    job = job.with_outputs(data.task.outputs)
    loaded = load_base(pm, job, pretrained=True, task=data.task.kind)
    tensors.require_finite(job.reference, loaded.model.state_dict())
    inputs = _taken(job, loaded, data)
    kind = modality.of(inputs)
    loaded = replace(loaded, preprocess=inputs) if kind.kind == loaded.inputs.kind else loaded
    base = digest.of_tensors(loaded.model.state_dict())
    loaded = replace(loaded, base=replace(loaded.base, sha256=digest.of_state(base)))
    continued = started.continued(job, data.task) if started else None
    _trained(job, bool(continued) or not job.head.outputs, not data.task.uncut)
    job, before = continued or job, loaded.model.state_dict()
    draws.seed("head", job.recipe.seed)
    loaded = adapt(pm, job, loaded)
    if continued and started:
        loaded.model.load_state_dict(before)
        data = replace(data, task=data.task.after(outputs.unfold(loaded, started.manifest.task)))
    changed = surgery.made(loaded, job.surgery)
    loaded = replace(loaded, preprocess=inputs) if kind.kind != loaded.inputs.kind else loaded
    data = replace(data, task=_rehearse(pm, job, loaded, data.task))
    job, adapted = adapting.given(pm, job, loaded)
    scratch, known = Scratch(), data.fingerprint()
    training = kind.views(data.source, data.task, data.train, loaded.inputs, job.recipe, scratch)
    validation = kind.views(data.source, data.task, data.val, loaded.inputs, scratch=scratch)
    versions = _versions((job.reference, *loaded.base.below[-1:]), adapted)
    made = Prepared(job, pm, data, training, validation, loaded, base, known, versions, bool(continued), started)
    return replace(made, teaches=teaches, adapted=adapted, changed=tuple(changed), counting=counting)


def _taken(job: Job, loaded: Loaded, data: Data) -> Inputs:
    """Return what the model will take, as the training samples have it.

    :raises HubftError: it does not take the samples that there are.
    """
    wanted = surgeries.taken(loaded.inputs, job.surgery)
    kind = modality.of(wanted)
    if kind.kind != data.kind:
        raise JobError(f"{job.reference} takes {wanted}, and {str(job.data)!r} was read as {data.kind}")
    inputs = kind.fitted(wanted, data.train, job)
    for its in data.parts.values():
        kind.suits(inputs, its)
    return inputs


def _computable(job: Job) -> None:
    """Refuse at once a device that is not there, and more of them than there are processes."""
    Runtime(job.compute)
    if job.compute.shard:
        sharding.check(job)
    ranks.check(job.compute.devices, job.compute.shard)


def _trained(job: Job, headed: bool, solvable: bool = True) -> None:
    """Refuse a head that is new and never learns anything, a soup that needs one, and a probe that cannot be."""
    if job.soup and not headed:
        raise JobError(Option("soup"), f": {str(job.data)!r} has other labels than {job.reference}")
    if job.recipe.wise and not (job.recipe.probe and solvable):
        raise JobError(Option("wise"), f": {job.reference} has no probe for these labels to begin from; leave it out")
    learns = job.recipe.epochs > 0 or (job.recipe.probe and solvable) or headed
    wanted = "one or more where there is no ", Option("probe"), " and no head of a package for these labels"
    check(learns, "epochs", job.recipe.epochs, *wanted)


def _rehearse(pm: pluggy.PluginManager, job: Job, loaded: Loaded, task: Task) -> Task:
    """Find out in a second what would otherwise fail after the training; return the task of this model, which is ready
    to be trained."""
    recipe.optimizer(loaded, job.recipe)
    ends = [pm.hook.freeze(loaded=loaded, train=job.recipe.train, progress=progress) for progress in (0.0, 1.0)]
    if job.recipe.anchor and not set().union(*ends) - stages.trainable(loaded, "head", 0.0):
        raise JobError(Option("anchor"), ": nothing before the head trains, so there is nothing to hold; leave it out")
    loaded.model.eval()
    kind = modality.of(loaded.inputs)
    blank = kind.blank(loaded.inputs, 2)
    try:
        kind.check(loaded, job)
        with torch.no_grad():
            shape = tuple(loaded.forward(loaded.model, blank).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise JobError(f"{job.reference} does not take {loaded.inputs}: {reason(error)}") from error
    if shape[:1] != (2,) or not fits(task, shape[1:]):
        wanted = ", ".join("any" if one < 0 else str(one) for one in (2, *task.shape))
        raise FamilyError(
            f"{job.reference} gives outputs {shape} for 2 {kind.word}s, and the task {task.kind} reads ({wanted}): "
            "take a model that is made for it"
        )
    outputs.check(loaded, task, blank)
    if job.compute.checkpoint_activations:
        checkpointing.check(loaded, blank, job.reference)
    return task.sized(shape[1:])


def _versions(references: Iterable[str], adapted: Adapted | None) -> dict[str, str]:
    """Return the versions that a result depends on: Python, hubft, its libraries, the families' distributions."""
    needed = adapted.libraries if adapted else ()
    libraries = {name: version(name) for name in ("torch", "torchvision", "timm", *needed)}
    ours = {"hubft": hubft.__version__}
    for name in dict.fromkeys(Reference.parse(text).family for text in references):
        own = plugins.find(name)
        ours[own.distribution] = own.version
        for library in plugins.declared(plugins.manager(name), name).libraries:
            with suppress(PackageNotFoundError):  # of a family with models that do not need it
                libraries[library] = version(library)
    return {"python": platform.python_version(), **libraries, **ours}
