"""The hook `freeze`: what trains is what was asked for."""

from __future__ import annotations

import re

from hubft.families import stages
from hubft.hookspecs import Loaded
from hubft.job import Head
from hubft.testing.heads import head_fits_the_task
from hubft.testing.subject import Subject, expect, in_stage, shown
from hubft.testing.trial import check

TWO = Head(outputs=2)


@check(head_fits_the_task)
def freeze_trains_what_it_says(subject: Subject) -> None:
    """Every rule of `--train` selects exactly the parameters that it names, and the head."""
    loaded = subject.adapted(TWO)
    for train, wanted in _rules(loaded).items():
        chosen = subject.pm.hook.freeze(loaded=loaded, train=train, progress=0.0)
        wrong = set(chosen) ^ wanted
        expect(not wrong, f"`--train {train}` is wrong about {shown(wrong)}")


@check(freeze_trains_what_it_says)
def freeze_thaws_by_progress(subject: Subject) -> None:
    """A rule with @0.5 selects nothing before half of the run, and from there on what it names."""
    loaded = subject.adapted(TWO)
    everything = set(dict(loaded.model.named_parameters()))
    head = in_stage(loaded, list(loaded.stages)[-1])
    for progress, wanted in ((0.0, head), (0.49, head), (0.5, everything), (0.99, everything)):
        wrong = set(subject.pm.hook.freeze(loaded=loaded, train="head,all@0.5", progress=progress)) ^ wanted
        expect(not wrong, f"`--train head,all@0.5` is wrong about {shown(wrong)} at progress {progress}")


def _rules(loaded: Loaded) -> dict[str, set[str]]:
    """Return some texts of `--train`, and what each selects."""
    modules, order = dict(loaded.model.named_modules()), list(loaded.stages)
    everything = set(dict(loaded.model.named_parameters()))
    head, last = in_stage(loaded, order[-1]), in_stage(loaded, *order[-2:])
    norms = {n for n in everything if getattr(modules[n.rpartition(".")[0]], "running_mean", None) is not None}
    own = [m for n, m in modules.items() if n and any(True for _ in m.parameters(recurse=False))]
    layer = type(own[0]).__name__
    layers = [n for n, m in modules.items() if type(m).__name__ == layer]
    biases = {n for n in everything if n.endswith("bias")}
    rules = {
        "head": head,
        "last:1": last,
        "all": everything,
        "all,-norms": everything - norms | head,
        f"stage:{order[0]}": in_stage(loaded, order[0]) | head,
        f"type:{layer}": {n for n in everything if any(stages.under(n, m) for m in layers)} | head,
        f"all,-match:^{re.escape(min(everything))}$": everything - {min(everything)} | head,
    }
    return rules | ({"match:bias$": biases | head} if biases else {})


CHECKS = (freeze_trains_what_it_says, freeze_thaws_by_progress)
