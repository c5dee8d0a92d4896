"""What a run says of its data before it begins."""

from __future__ import annotations

from hubft import modality
from hubft.base.console import Console
from hubft.compress import structure
from hubft.run import processes
from hubft.run.folder import RESULTS_FILE, Run
from hubft.run.prepare import Prepared


def introduce(prepared: Prepared, run: Run, console: Console) -> None:
    """Say what is trained on what, what was left out and why, and what else a user should know."""
    data, job = prepared.data, prepared.job
    console.say(
        f"{job.reference} on {len(data.train)} training and {len(data.val)} validation {data.word}s"
        f"{f', and {len(data.test)} test {data.word}s,' if data.test else ''} {data.task.summary()}, "
        f"{prepared.runtime.device} -> {run.folder}"
    )
    for place, reason in list(data.quarantined.items())[:5]:
        console.say(f"left out {place!r}: {reason}")
    if len(data.quarantined) > 5:
        console.say(f"and {len(data.quarantined) - 5} more, listed in {run.report / RESULTS_FILE}")
    for note in data.notes:
        console.say(f"note: {note}")
    if job.recipe.augment == "strong" and not data.task.mixes:
        console.say(
            f"note: images are not mixed, which has no meaning for {data.task.kind}; --augment strong does the rest"
        )
    if prepared.adapted:
        console.say(f"adapter  {structure.words([prepared.adapted.record])[0]}")
        if prepared.adapted.quantized:
            console.say(f"base     {prepared.adapted.quantized.words}")
        if prepared.adapted.note:
            console.say(f"note: {prepared.adapted.note}")
    processes.introduce(prepared, console)
    for remark in modality.of(prepared.loaded.inputs).remarks(prepared.training):
        console.say(remark)
