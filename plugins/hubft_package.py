"""The family `package`: a package, one's own or anyone's, to be trained further.

    package:runs/flowers                                a folder of a run, or of a package
    package:owner/name, package:owner/name@COMMIT       a package on the Hugging Face Hub

The model is the package's own, with its head. What else a family does is done by the one that builds the model, on
whose hooks this one stands (`hubft.families.plugins.manager_of`).
"""

from __future__ import annotations

from dataclasses import replace

from hubft import hookimpl
from hubft.families import plugins
from hubft.families.build import build, headed, unfilled
from hubft.hookspecs import Loaded
from hubft.job import Head, Reference
from hubft.publish import hub
from hubft.run import parent
from hubft.share.load import model as load_model

hubft_family = {"api": (1, 0), "weights": True}


def stands_on(name: str) -> str:
    """Return the reference that builds the model of a package."""
    return parent.named(name).manifest.base.architecture


@hookimpl(tryfirst=True)
def load(name: str, pretrained: bool) -> Loaded:
    """Return the model of a package, every file verified. Whether foreign code may run is asked by the core."""
    found = parent.named(name)
    job = found.manifest.built
    loaded = build(plugins.manager(job.family), job, pretrained=False)
    if pretrained:
        loaded.model.load_state_dict(load_model(hub.package(name), trust=True).state_dict())
    return replace(loaded, preprocess=found.manifest.inputs, base=found.base())


@hookimpl(tryfirst=True)
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Have the family that builds the model make the head: it gets the pretrained model's own, whatever there was."""
    inner = Reference.parse(loaded.base.architecture)
    pm = plugins.manager(inner.family)
    original = unfilled(lambda: pm.hook.load(name=inner.name, pretrained=False))
    modules = dict(original.model.named_modules())
    for name in original.stages[list(original.stages)[-1]]:
        if name in modules:
            loaded.model.set_submodule(name, modules[name])
    return headed(pm, replace(loaded, head=original.head, stages=original.stages), head)
