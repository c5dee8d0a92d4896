"""The model of a job: what training starts from and what a package is loaded into are built by the same three."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pluggy
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hubft.base.errors import FamilyError, JobError, Option, PackageError
from hubft.compress import structure
from hubft.families import plugins, pooling, stages
from hubft.families.trust import untrusted
from hubft.hookspecs import Batch, Compressed, Loaded, Tune
from hubft.job import PACKAGE, Head, Job

NOTHING: Mapping[str, Any] = MappingProxyType({})
ASKED: ContextVar[int] = ContextVar("size", default=0)
"""`--size` of the job whose model is loaded: for a family that must run a model to know it. Loading depends on it in
nothing else."""


@contextmanager
def asked_size(size: int) -> Iterator[None]:
    """Have `ASKED` be this size."""
    token = ASKED.set(size)
    try:
        yield
    finally:
        ASKED.reset(token)


def untuned(model: nn.Module, share: float) -> None:
    """Train nothing: the `tune` of a compression that is only tried."""


def load_base(
    pm: pluggy.PluginManager,
    job: Job,
    pretrained: bool,
    config: Mapping[str, Any] = NOTHING,
    task: str = "",
) -> Loaded:
    """Return the model that the job starts from, with its original head, checked against the contract of `load`.

    :param config: of the base of a package whose architecture this is.
    :param task: kind of the task that it is for.
    """
    with asked_size(job.size):
        loaded = pm.hook.load(name=job.name, pretrained=pretrained, config=config, task=task)
    if not isinstance(loaded, Loaded):
        raise FamilyError(f"family {job.family!r}: the hook `load` gave {type(loaded).__name__}, not hubft.Loaded")
    try:
        stages.stage_of(loaded)
        loaded.model.get_submodule(loaded.head)
    except (ValueError, AttributeError) as error:
        raise FamilyError(f"family {job.family!r}, {job.reference}: {error}") from error
    if job.size:
        loaded = replace(loaded, preprocess=loaded.preprocess.at_size(job.size))
    return loaded


def adapt(pm: pluggy.PluginManager, job: Job, loaded: Loaded) -> Loaded:
    """Return `loaded` with the job's head, checked.

    :raises JobError: `--pool`, for a model that has a head.
    """
    headless = isinstance(loaded.model.get_submodule(loaded.head), nn.Identity)
    if job.head.pool not in pooling.OWN and not headless and job.family != PACKAGE:  # of a package, its base tells
        raise JobError(
            Option("pool"),
            f" {job.head.pool}: {job.reference} has a head of its own, {loaded.head!r}, and what that is put on is "
            "settled: leave it out",
        )
    adapted = headed(pm, loaded, job.head)
    if not isinstance(adapted, Loaded):
        got = type(adapted).__name__
        raise FamilyError(f"family {job.family!r}: the hook `adapt_head` gave {got}, not hubft.Loaded")
    return adapted


def headed(pm: pluggy.PluginManager, loaded: Loaded, head: Head) -> Loaded:
    """Return what the hook `adapt_head` gives, called by both names of its second argument."""
    adapted: Loaded = pm.hook.adapt_head(loaded=loaded, head=head, task=head)
    return adapted


def build(
    pm: pluggy.PluginManager,
    job: Job,
    pretrained: bool,
    config: Mapping[str, Any] = NOTHING,
    task: str = "",
) -> Loaded:
    """Return the job's model with its new head: with the base's weights, or the architecture alone, by `config`."""
    return adapt(pm, job, load_base(pm, job, pretrained, config, task))


def compressed(
    pm: pluggy.PluginManager, loaded: Loaded, method: str, batches: Iterable[Batch], tune: Tune = untuned
) -> Compressed:
    """Return what the hook `compress` makes of a model, its records checked.

    :raises FamilyError: a family's method gives something else than a model, or records that nobody can do again.
    """
    its = {"model": loaded.model, "forward": loaded.forward, "loaded": loaded}
    made = pm.hook.compress(method=method, batches=batches, tune=tune, **its)
    made = Compressed(made) if isinstance(made, nn.Module) else made
    if not isinstance(made, Compressed) or not isinstance(made.model, nn.Module):
        raise FamilyError(f"the hook `compress` gave {type(made).__name__} for {method!r}, not a model or Compressed")
    try:
        structure.check(made.structure)
    except PackageError as error:
        raise FamilyError(f"the hook `compress` gave for {method!r} what no package can state: {error}") from error
    return made


def family_of(job: Job, trust: bool, typed: bool = False) -> pluggy.PluginManager:
    """Return the manager of a job's family.

    :param typed: the user named the job's model. Who names a torch.hub repository wants its code to run; who names a
        package does not: it was the package's author who chose the repository.
    :raises PackageError: the family runs foreign code, and it was not asked for.
    """
    pm = plugins.manager_of(job)
    stood_on = plugins.standing_on(pm, job)
    for reference, named in ((job.reference, typed), (stood_on, False)):
        family = reference.partition(":")[0]
        if family and plugins.declared(pm, family).foreign_code and not (trust or named):
            raise untrusted(reference)
    return pm


def unfilled(make: Callable[[], Loaded]) -> Loaded:
    """Return the model that `make` builds without weights, and without memory for them where that can be.

    Some constructors copy or run their parameters (timm's SwinV2, hybrids, mixed RoPE), or compute from them buffers
    that are not saved (timm's Swin), or tensors that are neither: those are built whole.
    """
    try:
        with parameters_on_meta():
            loaded = make()
        saved = loaded.model.state_dict()
        bare = [name for name, buffer in loaded.model.named_buffers() if buffer.is_meta and name not in saved]
        computed = [v for m in loaded.model.modules() for v in vars(m).values() if isinstance(v, Tensor) and v.is_meta]
        if not bare and not computed:
            return loaded
    except Exception:  # what the meta device cannot do, in whatever words; what fails without it says so next
        pass
    return make()


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Give every parameter that this thread registers no memory and no values.

    Not `torch.device("meta")`: that would take buffers too, and those which are computed and not saved
    could not be filled in again.
    """
    thread = threading.get_ident()

    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta or threading.get_ident() != thread:
            return None
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]  # it takes a new parameter
    try:
        yield
    finally:
        handle.remove()
