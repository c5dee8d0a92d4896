"""What looks wrong with a run that went through: what its training and held-out samples tell, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hubft.base.console import Console
from hubft.run.prepare import Prepared
from hubft.run.safeguard import LOOKED, looked
from hubft.tasks.metrics import Measured, Metrics, title

SUSPECT = 0.7  # of the loss on held-out samples: a last training loss below it is worth a look at training samples
CURES = 3  # that are named
LEAST = 0.005  # share of the time that is told
STEPS = "a smaller --size, or fewer stages by --train"
FASTER = {
    "forward": STEPS,
    "backward": STEPS,
    "steps": STEPS,
    "data": "more --workers, or smaller files",
    "features": "they are kept, and the next run on these samples finds them",
    "evaluation": "fewer samples to validate on, as by --holdout",
    "checkpoints": "fewer of them by --checkpoint-every",
}
"""Part of the time -> what makes it smaller."""


def parted(prepared: Prepared, history: Sequence[Mapping[str, Any]], held: Metrics) -> str:
    """Return in a sentence that the model knows its training samples better than others by more than the 95 % intervals
    of both, with both numbers and the options of this run to change; or nothing.

    Training samples are looked at where the last epoch gives reason to. A teacher's loss is not that of the labels
    alone, so that with one they always are.

    :param held: on the validation samples.
    """
    if not history or (not prepared.teacher and history[-1]["loss"] >= SUSPECT * held.loss):
        return ""
    known = prepared.data.task.score(*looked(prepared)).head
    if not apart(known, held.head):
        return ""
    word, what = prepared.data.word, title(held.headline)
    number_of = min(LOOKED, len(prepared.data.train))
    options = ", ".join([*list(cures(prepared))[:CURES], f"more training {word}s"])
    return (
        f"it knows its training {word}s better than others: {what} {known} on {number_of:,} of them, "
        f"{held.head} on {len(prepared.data.val):,} held out; what may help: {options}"
    )


def plain(told: Sequence[str], history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what results.json says of it, JSON types."""
    return {"diagnosis": list(filter(None, told)), "time": shares(history)}


def tell(results: Mapping[str, Any], problem: str, console: Console) -> None:
    """Print what results.json says of it.

    :param problem: why the model is worse than none, which explains whatever else looks wrong.
    """
    if times := results["time"]:
        console.say(f"time     {where_time_went(times)}")
    for line in [f"{problem}; it is packaged because of --keep-anyway"] if problem else results["diagnosis"]:
        console.say(f"note: {line}")


def apart(known: Measured, held: Measured) -> bool:
    """Tell whether the first is better by more than both intervals."""
    if known.low is None or known.high is None or held.low is None or held.high is None:
        return False
    return known.low > held.high if known.better == "higher" else known.high < held.low


def shares(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return which share of the time of its epochs a run spent on each part, the largest first."""
    seconds: dict[str, float] = {}
    for line in history:
        for part, its in line.get("seconds", {}).items():
            seconds[part] = seconds.get(part, 0.0) + its
    whole = sum(seconds.values())
    return {part: its / whole for part, its in sorted(seconds.items(), key=lambda pair: -pair[1]) if whole}


def where_time_went(found: Mapping[str, float]) -> str:
    """Return in a line the shares of the time, and what would make the largest part smaller.

    :param found: by `shares`.
    """
    told = ", ".join(f"{part} {share:.0%}" for part, share in found.items() if share >= LEAST)
    return f"{told}; faster: {FASTER[next(iter(found))]}"


def cures(prepared: Prepared) -> Iterator[str]:
    """Yield the options that hold a model back which this run does not use yet."""
    job, task = prepared.job, prepared.data.task
    recipe, whole = job.recipe, job.recipe.train != "head" and not job.adapting.on
    stronger = {"none": "light", "light": "standard", "standard": "strong"}
    if recipe.augment in stronger and not task.writes:
        yield f"--augment {stronger[recipe.augment]}"
    if whole and recipe.probe and not task.uncut and not recipe.wise:
        yield "--wise"
    if whole and not recipe.anchor:
        yield "--anchor 1"
    if not job.head.dropout and task.outputs:
        yield "--dropout 0.2"
