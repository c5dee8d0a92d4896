"""From a package to its model: fetch, read, build the architecture, fill in the weights.

A full package loads without the base's weights and without initialising parameters: they are put on the meta
device as they are registered, and the tensors of the mapped file take their places.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hubft import digest, plugins
from hubft.build import build, load_base
from hubft.errors import BaseMismatch, FamilyError, HubftError, PackageError
from hubft.hookspecs import Preprocess
from hubft.job import Job, Reference, to_dict
from hubft.publish import hub, selftest, tensors
from hubft.publish.package import Manifest, Package, read
from hubft.train import transforms


def load(source: str, *, revision: str | None = None, prove: bool = False) -> nn.Module:
    """Return a package's model, in eval mode on the CPU: the plain class of its own library.

    It has two attributes more: `hubft`, a dict with reference, classes, metrics, base and preprocess; and
    `preprocess`, the torchvision transform from a PIL image to the model's input.

    :param source: folder of a package or of a run, or `owner/name` or `owner/name@revision` on the Hub.
    :param revision: branch, tag or commit; a commit of 40 digits pins every byte, and once cached it is
        loaded without any request.
    :param prove: run the package's self-test as well (a few forward passes).
    :raises PackageError: not found, incomplete, altered, or not fitting its model.
    :raises BaseMismatch: a delta whose base has other bytes here.
    :raises FamilyError: the model's family, or its library, is not installed.
    """
    found = package(source, revision=revision)
    loaded = model(found)
    if prove:
        selftest.prove(found, loaded, transforms.evaluation(found.manifest.preprocess))
    return loaded


def package(source: str, *, revision: str | None = None) -> Package:
    """Return the package of a folder or of a Hub repository, every file verified; `load` says more."""
    return read(hub.fetch(source, revision))


def model(package: Package) -> nn.Module:
    """Return the model of a package that was read; `load` says more."""
    manifest = package.manifest
    job = replace(manifest.job, reference=manifest.base.reference)  # what the run's own reference came to mean
    pm = plugins.manager(job.family)
    with parameters_on_meta():
        network = build(pm, job, pretrained=False).model
    like = network.state_dict()
    reused = _from_base(manifest)
    for name, tensor in reused.items():
        if name not in like or like[name].shape != tensor.shape or like[name].dtype != tensor.dtype:
            raise PackageError(f"{package.folder}: {name} of the base does not fit {job.reference}")
    stored = tensors.read(
        package.folder / manifest.weights, {name: t for name, t in like.items() if name not in reused}
    )
    network.load_state_dict({**reused, **stored}, strict=True, assign=True)
    left = [n for n, t in chain(network.named_parameters(), network.named_buffers()) if t.is_meta]
    if left:
        raise FamilyError(f"family {job.family!r}: {left[0]} has no values and is not in the model's state")
    facts = {"classes": list(manifest.classes), "metrics": manifest.metrics, "base": to_dict(manifest.base)}
    return describe(network.eval(), manifest.job.reference, manifest.preprocess, facts)


def describe(network: nn.Module, reference: str, preprocess: Preprocess, facts: Mapping[str, object]) -> nn.Module:
    """Return the model with the attributes `hubft` and `preprocess`, which are no part of its state."""
    # Not by setattr: a transform is an nn.Module, and as a child it would be run by a Sequential's forward.
    object.__setattr__(network, "hubft", {"reference": reference, **facts, "preprocess": to_dict(preprocess)})
    object.__setattr__(network, "preprocess", transforms.evaluation(preprocess))
    return network


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


def _from_base(manifest: Manifest) -> dict[str, Tensor]:
    """Return the tensors that a delta takes from its base, from the first reference that has their very bytes."""
    if not manifest.delta:
        return {}
    base = manifest.base
    problems: list[HubftError] = []
    for reference in (base.reference, *base.same_as):
        try:
            return _verified(manifest.job, reference, manifest.delta)
        except HubftError as error:
            problems.append(error)
    own, *others = problems
    also = "".join(f"; nor {r}: {e}" for r, e in zip(base.same_as, others, strict=True))
    if isinstance(own, BaseMismatch):
        raise BaseMismatch(f"{own}{also}") from own
    cure = f"; try: pip install {base.requires}" if base.requires else ""
    raise PackageError(f"this delta needs its base {base.reference}: {own}{also}{cure}") from own


def _verified(job: Job, reference: str, wanted: Mapping[str, str]) -> dict[str, Tensor]:
    pm = plugins.manager(Reference.parse(reference).family)
    state = load_base(pm, replace(job, reference=reference, size=0), pretrained=True).model.state_dict()
    for name, sha256 in wanted.items():
        if name not in state or digest.of_tensor(state[name]) != sha256:
            raise BaseMismatch(f"{reference} is not the base that was fine-tuned: its tensor {name!r} has other bytes")
    return {name: state[name] for name in wanted}
