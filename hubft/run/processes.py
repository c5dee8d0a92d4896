"""A run of several processes: what can be trained so, and where it becomes one process again."""

from __future__ import annotations

from dataclasses import replace

from hubft.base.console import Console
from hubft.base.errors import JobError, Option, Silent
from hubft.families import plugins, stages
from hubft.machine.ranks import ALONE, Ranks
from hubft.run import sharding
from hubft.run.phases import phases
from hubft.run.prepare import Prepared
from hubft.train import norms

WHOLE = (1, 5)
"""Version of the hooks from which on a family knows the batch that a part is of (`hubft.tasks.losses.whole_of`)."""


def prepared(ready: Prepared, ranks: Ranks) -> Prepared:
    """Return what was prepared, to be trained by these processes together.

    :raises JobError: what they cannot do together, or more of them asked for than there are.
    """
    compute = ready.job.compute
    if compute.shard:
        sharding.suits(ready.loaded, ready.runtime.device, ready.job.reference)
        if ready.data.task.located:
            why = f": {ready.job.reference} is a detector, of which no gradient in shards was proved; leave it out"
            raise JobError(Option("shard"), why)
    if (not ranks.alone or compute.exact) and (family := _divides(ready)):
        asked = (Option("exact"),) if ranks.alone else (Option("devices"), f" {ranks.world}")
        why = f": the family {family} is for hooks before version {'.'.join(map(str, WHOLE))}, and divides the losses "
        raise JobError(*asked, why, "of a detector by the boxes of a part of a batch; train it with one process alone")
    if compute.exact and (number := moving(ready)):
        why = f": the statistics of {number} norms are of a part of a batch; leave it out, or freeze them with "
        raise JobError(Option("exact"), why, Option("train"), " all,-norms")
    return replace(ready, ranks=ranks)


def _divides(ready: Prepared) -> str:
    """Return the family of a detector whose own losses divide by what is counted in a part of a batch, or nothing."""
    if "own" not in ready.data.task.losses:
        return ""
    names = [one.plugin_name for one in ready.pm.hook.train_step.get_hookimpls()]
    known = {name: plugins.declared(ready.pm, name).api for name in names if name != "defaults"}
    return next((name for name, api in known.items() if api < WHOLE), "")


def moving(ready: Prepared) -> int:
    """Return how many norms there are whose running statistics move in training."""
    if not ready.job.recipe.epochs:
        return 0
    stages.set_trainable(ready.loaded.model, phases(ready)[-1].live)
    return len(norms.live(ready.loaded.model))


def introduce(ready: Prepared, console: Console) -> None:
    """Say what a user should know of a run of several processes."""
    ranks, exact = ready.ranks, ready.job.compute.exact
    if ranks.alone:
        return
    how = "the same bits for any number of them" if exact else "the last bits differ from those of another number"
    console.say(f"devices  {ranks.world} processes, each with its share of every batch; {how}")
    if ready.job.compute.shard:
        console.say("shards   each has a part of every tensor, and a layer at a time is whole while it computes")
    if number := moving(ready):
        console.say(f"note: the statistics of {number} norms are means over those of each process's share of a batch")
    if ready.job.recipe.augment == "strong" and ready.data.task.mixes:
        console.say("note: images are mixed within each part of a batch")


def alone(ready: Prepared) -> Prepared:
    """Return what was prepared, for the first process to go on with alone, a model that was in shards whole.

    :raises Silent: this is another one, whose work is done.
    """
    ready = sharding.over(ready)
    if not ready.ranks.first:
        raise Silent(0)
    return replace(ready, ranks=ALONE)
