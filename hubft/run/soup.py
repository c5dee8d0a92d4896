"""A soup: the weights of several runs of one base and one task, averaged into one model that costs what one costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from hubft.base.bars import counted
from hubft.base.console import Console
from hubft.base.errors import JobError, Option
from hubft.hookspecs import Loaded
from hubft.publish.manifest import Manifest
from hubft.run import outputs, parent, training
from hubft.run.prepare import Prepared
from hubft.run.safeguard import measured_anew
from hubft.tasks.metrics import Measured, title
from hubft.train import norms, states

Load = Callable[[str], Loaded]
"""The name of a package -> its model."""


@dataclass(frozen=True)
class Soup:
    """What a soup was made of."""

    members: Sequence[str]
    """The packages, that which the run starts from first."""
    taken: Sequence[str]
    """Those of them that are in it."""
    heads: Mapping[str, Measured]
    """The headline of each on the validation samples, where it was measured."""
    whole: Measured | None = None
    """That of the soup, on the same."""

    def plain(self) -> dict[str, Any]:
        """Return it as results.json states it, JSON types."""
        heads = {name: asdict(one) for name, one in self.heads.items()}
        return {"taken": list(self.taken), "members": heads or list(self.members)}

    @property
    def facts(self) -> dict[str, str]:
        """Return what a package states of it."""
        return {"soup": f"mean of the weights of {len(self.taken)} of {len(self.members)} packages"}


def check(prepared: Prepared) -> None:
    """Refuse packages whose weights cannot be averaged with those of the package that a run starts from.

    :raises JobError: one of another base, other labels or other inputs, or one that is compressed or an adapter. The
        data has the labels of the first: `prepare` has seen to that.
    :raises PackageError: there is no such package.
    """
    if not prepared.job.soup or prepared.parent is None:
        return
    first = prepared.parent.manifest
    for name in (prepared.job.name, *prepared.job.soup):
        if problem := _unfit(parent.named(name).manifest, first):
            raise JobError(Option("soup"), f" {name!r}: {problem}")


def _unfit(its: Manifest, first: Manifest) -> str:
    """Return why two packages make no soup."""
    if its.structure or its.job.over_base:
        return "its weights are compressed or an adapter's; take the run before compression, or one with --merge"
    if its.origin != first.origin:
        return f"it is a fine-tune of {its.origin}, and the first of {first.origin}"
    if (its.task.kind, its.task.names) != (first.task.kind, first.task.names):
        return "it has other labels than the first, or has them in another order"
    if (its.base.config, its.job.head) != (first.base.config, first.job.head):
        return "its head or its body is built otherwise than the first's"
    return "" if its.inputs == first.inputs else f"it takes {its.inputs}, and the first {first.inputs}"


def mixed(prepared: Prepared, load: Load, console: Console) -> Soup | None:
    """Leave the model of a run with the mean of the weights of its packages; return what that was made of.

    Wortsman et al. 2022, https://arxiv.org/abs/2203.05482. A greedy soup begins with the package that does best on the
    validation samples and takes another where the headline does not get worse by it, the best first; else all are
    taken. Running statistics of norms are measured anew where the packages differ in them.
    """
    job, task = prepared.job, prepared.data.task
    if not job.soup or prepared.parent is None:
        return None
    names = (job.name, *job.soup)
    if not job.greedy:
        _put(prepared, load, names)
        console.say(f"soup     mean of the weights of {len(names)} packages")
        return Soup(names, names, {})

    def measured(taken: Sequence[str]) -> Measured:
        _put(prepared, load, taken)
        return task.score(*training.outcome(prepared, prepared.loaded.model)).head

    heads = {name: measured([name]) for name in names}
    order = sorted(names, key=lambda name: heads[name].value, reverse=heads[names[0]].better == "higher")
    taken, best = [order[0]], heads[order[0]]
    for name in order[1:]:
        found = measured([*taken, name])
        if not best.beats(found):
            taken, best = [*taken, name], found
    _put(prepared, load, taken)
    console.say(
        f"soup     {len(taken)} of {len(names)} packages, chosen on the validation part, which flatters it: "
        f"{title(task.headline)} {best}, the best alone {heads[order[0]]}"
    )
    return Soup(names, taken, heads, best)


@torch.no_grad()
def _put(prepared: Prepared, load: Load, names: Sequence[str]) -> None:
    """Give the model the mean of the weights of packages, of which no more than two are held at a time."""
    assert prepared.parent is not None
    model, first = prepared.loaded.model, states.kept(load(names[0]).model)
    sums = {name: tensor.double() for name, tensor in first.items() if tensor.is_floating_point()}
    differ: set[str] = set()
    for package in counted(prepared.counting, names[1:], len(names) - 1, "packages mixed"):
        for name, tensor in load(package).model.state_dict().items():
            if name in sums:
                differ |= set() if torch.equal(tensor, first[name]) else {name}
                sums[name] += tensor
    states.put(model, first | {name: (total / len(names)).to(first[name].dtype) for name, total in sums.items()})
    outputs.unfold(prepared.loaded, prepared.parent.manifest.task)
    prepared.exact.place(model)
    stale = {name: norm for name, norm in norms.measuring(model).items() if f"{name}.running_mean" in differ}
    if stale:
        measured_anew(prepared, stale)
