"""The family `package`: a package, one's own or anyone's, to be trained further.

    package:runs/flowers                                a folder of a run, or of a package
    package:owner/name, package:owner/name@COMMIT       a package on the Hugging Face Hub

The model is the package's own, with its head. What else a family does is done by the one that builds the model, on
whose hooks this one stands (`hubft.families.plugins.manager_of`).
"""

from __future__ import annotations

from dataclasses import replace

from hubft import hookimpl
from hubft.compress import structure, ties
from hubft.families import plugins
from hubft.families.build import adapt, build, load_base
from hubft.families.stages import under
from hubft.families.trust import TRUST, trusting
from hubft.hookspecs import Loaded
from hubft.job import Head, Job
from hubft.publish import hub
from hubft.run import parent
from hubft.share.load import plain

hubft_family = {"api": (1, 0), "weights": True}


def stands_on(name: str) -> str:
    """Return the reference that builds the model of a package."""
    return parent.named(name).manifest.base.architecture


@hookimpl(tryfirst=True)
def load(name: str, pretrained: bool) -> Loaded:
    """Return the model of a package, every file verified. Whether foreign code may run is asked by the core."""
    found = parent.named(name)
    job = found.manifest.built
    its = found.manifest
    trust = TRUST.get().given
    with trusting(trust, its.base.code):
        loaded = build(plugins.manager(job.family), job, False, its.base.config, its.task.kind)
    loaded = structure.build(loaded, its.structure)
    if pretrained:
        loaded.model.load_state_dict(plain(hub.package(name), trust).model.state_dict())
    return replace(loaded, preprocess=its.inputs, base=found.base())


@hookimpl(tryfirst=True)
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Have the family that builds the model make the head: on the model as it loads it, with the package's weights.

    So it finds what its own `load` gives, whatever the head of the package is put on. The package's head is left out.
    """
    job = Job(loaded.base.architecture, "none", head=head)
    pm = plugins.manager(job.family)
    size = loaded.inputs.side
    its = parent.named(loaded.base.reference.partition(":")[2]).manifest
    with trusting(TRUST.get().given, its.base.code):
        original = load_base(pm, replace(job, size=size), False, loaded.base.config, its.task.kind)
    original = structure.build(original, its.structure)
    state, known = original.model.state_dict(), loaded.model.state_dict()
    last = original.stages[list(original.stages)[-1]]
    state.update({n: known[n] for n in state if n in known and not any(under(n, prefix) for prefix in last)})
    tied = ties.found(original.model)
    original.model.load_state_dict(state, assign=True)
    ties.again(original.model, tied)
    return adapt(pm, job, replace(original, preprocess=loaded.preprocess, base=loaded.base))
