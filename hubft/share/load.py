"""From a package to its model: fetch, read, build the architecture, fill in the weights.

A full package loads without the base's weights and without initialising parameters: they are put on the meta
device as they are registered, and the tensors of the mapped file take their places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from torch import Tensor, nn

from hubft import modality
from hubft.base import digest
from hubft.base.bars import Counting, nobody
from hubft.base.errors import BaseMismatch, FamilyError, HubftError, PackageError
from hubft.base.serialize import to_dict
from hubft.compress import structure, ties
from hubft.families.build import adapt, build, family_of, load_base, unfilled
from hubft.families.trust import trusting
from hubft.hookspecs import Loaded
from hubft.inputs import Inputs
from hubft.job import PACKAGE, Job
from hubft.publish import carried, hub, selftest, tensors
from hubft.publish import manifest as manifests
from hubft.publish.package import MANIFEST, Manifest, Package
from hubft.share import catalogue as catalogues
from hubft.share.opened import Opened
from hubft.tasks import kinds as tasks


def load(source: str | Path, *, revision: str | None = None, prove: bool = False, trust: bool = False) -> nn.Module:
    """Return a package's model, in eval mode on the CPU: the plain class of its own library.

    It has two attributes more: `hubft`, a dict with reference, task, classes (the names of the outputs), metrics, base
    and preprocess; and `preprocess`, of images the torchvision transform to the model's input from a picture that
    `hubft.images.rgb.rgb` made; of text the tokenizer, of the library `tokenizers`.

    :param source: folder of a package or of a run, or `owner/name` or `owner/name@revision` on the Hub.
    :param revision: branch, tag or commit; a commit of 40 digits pins every byte, and once cached it is
        loaded without any request.
    :param prove: run the package's self-test as well (a few forward passes).
    :param trust: also load what is built by code of a repository (`hub`, `transformers`), which runs that code.
    :raises PackageError: not found, incomplete, altered, or not fitting its model.
    :raises BaseMismatch: a delta whose base has other bytes here.
    :raises FamilyError: the model's family, or its library, is not installed.
    """
    found = package(source, revision=revision)
    return proved(found, trust)[0] if prove else model(found, trust)


def package(source: str | Path, *, revision: str | None = None) -> Package:
    """Return the package of a folder or of a Hub repository, every file verified; `load` says more."""
    return hub.package(source, revision)


def model(package: Package, trust: bool = False) -> nn.Module:
    """Return the model of a package that was read; `load` says more."""
    return filled(package, trust).model


def opened(package: Package, trust: bool = False) -> Opened:
    """Return a package that was read as a model that answers; `load` says more."""
    return Opened(package.manifest, lambda: filled(package, trust), package.manifest.built.family)


def filled(package: Package, trust: bool = False) -> Loaded:
    """Return the model of a package that was read, with what the core must know of it; `load` says more."""
    return structure.finish(plain(package, trust), package.manifest.structure)


def plain(package: Package, trust: bool = False) -> Loaded:
    """Return the same in plain tensors of PyTorch, whatever library the package is computed by: to train it further."""
    manifest = package.manifest
    loaded = architecture(package, trust)
    network = loaded.model
    job, like = manifest.built, network.state_dict()
    reused = _from_base(manifest, trust)
    tensors.require_finite(manifest.base.reference, reused)
    for name, tensor in reused.items():
        if name not in like or like[name].shape != tensor.shape or like[name].dtype != tensor.dtype:
            raise PackageError(f"{package.folder}: {name} of the base does not fit {job.reference}")
    tied = ties.found(network)
    left_over = {name: tensor for name, tensor in like.items() if name not in reused}
    known = {**reused, **_own(package, left_over, reused, tied)}
    known |= {name: known[first] for name, first in tied.items() if first in known}
    like.update(known)  # a state that carries versions of modules: torchvision's MNASNet asks for them
    network.load_state_dict(like, strict=True, assign=True)
    ties.again(network, tied)
    left = [n for n, t in chain(network.named_parameters(), network.named_buffers()) if t.is_meta]
    if left:
        raise FamilyError(f"family {job.family!r}: {left[0]} has no values and is not in the model's state")
    facts = {
        "task": tasks.plain(manifest.task),
        "classes": list(manifest.task.names),
        "metrics": manifest.metrics,
        "base": to_dict(manifest.base),
    }
    described = describe(network.eval(), manifest.job.reference, manifest.inputs, facts)
    return replace(loaded, model=described, preprocess=manifest.inputs)


def _own(
    package: Package, missing: Mapping[str, Tensor], reused: Mapping[str, Tensor], tied: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return the tensors of a model that are not its base's, from the package's file of weights."""

    def read(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return tensors.read(package.folder / package.manifest.weights, like, tied)

    form = structure.form(package.manifest.structure)
    return form.unpacked(read, missing, reused) if form else read(missing)


def architecture(package: Package, trust: bool = False) -> Loaded:
    """Return the model of a package that was read, with its own head, its weights not filled in."""
    job = package.manifest.built  # by what the run's own reference came to mean
    pm, config = family_of(job, trust), package.manifest.base.config
    task = package.manifest.task.kind
    with trusting(trust, package.manifest.base.code):
        return unfilled(lambda: structure.build(build(pm, job, False, config, task), package.manifest.structure))


def proved(package: Package, trust: bool = False, counting: Counting = nobody) -> tuple[nn.Module, float]:
    """Return the model of a package that was read, and how far its logits lie from those of the self-test.

    :raises PackageError: the self-test fails; `load` says what else.
    """
    with counting("proved by its self-test", None):
        loaded = filled(package, trust)
        return loaded.model, selftest.prove(package, loaded)


def describe(network: nn.Module, reference: str, inputs: Inputs, facts: Mapping[str, object]) -> nn.Module:
    """Return the model with the attributes `hubft` and `preprocess`, which are no part of its state."""
    # Not by setattr: a transform is an nn.Module, and as a child it would be run by a Sequential's forward.
    object.__setattr__(network, "hubft", {"reference": reference, **facts, "preprocess": carried.stated(inputs)})
    object.__setattr__(network, "preprocess", modality.of(inputs).transform(inputs))
    return network


def entry(
    name: str,
    *,
    catalogue: Path = catalogues.OWN,
    pretrained: bool = True,
    num_classes: int | None = None,
    weights: str | None = None,
    trust: bool = False,
) -> nn.Module:
    """Return the model of a catalogue entry, in eval mode, with the attributes that `load` gives.

    :param catalogue: file with the entry; that of this hubft, if none is given.
    :param pretrained: the published fine-tune; where none is published yet, the base's weights. False gives
        the base's architecture with random weights.
    :param num_classes: the base, not the fine-tune, with a fresh head for that many classes.
    :param weights: another fine-tune of the same base: a folder, or `owner/name@revision` on the Hub.
    :param trust: also load what is built by code of a repository, which runs that code.
    :raises HubftError: an unknown entry, arguments that contradict each other, weights that cannot be had.
    """
    reference = catalogues.find(name, catalogue).reference
    if weights is not None:
        if not pretrained or num_classes is not None:
            raise HubftError(f"{name}: weights={weights!r} has its own weights and classes: give nothing beside it")
        found = package(weights)
        if catalogues.unpinned(found.manifest.origin) != catalogues.unpinned(reference):
            raise PackageError(f"{weights!r} is a fine-tune of {found.manifest.origin}, not of {reference}")
        return model(found, trust)
    own = catalogues.fetch(name, catalogue) if pretrained and num_classes is None else None
    return model(own, trust) if own else _base(Job(reference, "none"), pretrained, num_classes, trust)


def _base(job: Job, pretrained: bool, classes: int | None, trust: bool) -> nn.Module:
    if classes is not None and classes < 1:
        raise HubftError(f"num_classes={classes}: must be at least 1")
    pm = family_of(job, trust)
    with trusting(trust):
        loaded = load_base(pm, job, pretrained)
    if classes is not None:
        loaded = adapt(pm, job.with_outputs(classes), loaded)
    facts: dict[str, object] = {"task": None, "classes": [], "metrics": {}, "base": to_dict(loaded.base)}
    return describe(loaded.model.eval(), job.reference, loaded.inputs, facts)


def _from_base(manifest: Manifest, trust: bool) -> dict[str, Tensor]:
    """Return the tensors that a delta takes from its base, from the first reference that has their very bytes."""
    if not manifest.delta:
        return {}
    base = manifest.base
    problems: list[HubftError] = []
    for reference in (base.reference, *base.same_as):
        try:
            _check_parent(manifest, reference)
            # whoever trusts the code of the base was not asked about that of another repository
            trusted = trust and reference == base.reference
            return _verified(manifest, reference, trusted)
        except HubftError as error:
            problems.append(error)
    own, *others = problems
    also = "".join(f"; nor {r}: {e}" for r, e in zip(base.same_as, others, strict=True))
    if isinstance(own, BaseMismatch):
        raise BaseMismatch(f"{own}{also}") from own
    # What to install is for the installed family to say, as in `own`; never for `base.requires`, which is the file's.
    raise PackageError(f"this delta needs its base {base.reference} ({own}{also})") from own


def _check_parent(manifest: Manifest, reference: str) -> None:
    """Look at a base which is a package before it is loaded: deltas of each other would never end.

    :raises PackageError: it leads no nearer to the pretrained model, or gives no head where the delta has none.
    """
    family, _, name = reference.partition(":")
    if family != PACKAGE:
        return
    below = package(name).manifest
    if len(below.base.below) >= len(manifest.base.below):
        raise PackageError(f"{reference} leads no nearer to {manifest.base.architecture}, as {MANIFEST} says it does")
    if below.job.head != manifest.job.head:
        manifests.check_head(manifest)


def _verified(manifest: Manifest, reference: str, trust: bool) -> dict[str, Tensor]:
    job, wanted = replace(manifest.job, reference=reference), manifest.delta or {}
    with trusting(trust, manifest.base.code):
        state = load_base(family_of(job, trust), job, pretrained=True, task=manifest.task.kind).model.state_dict()
    for name, sha256 in wanted.items():
        if name not in state or digest.of_tensor(state[name]) != sha256:
            raise BaseMismatch(
                f"{job.reference} is not the base that was fine-tuned: its tensor {name!r} has other bytes"
            )
    return {name: state[name] for name in wanted}
