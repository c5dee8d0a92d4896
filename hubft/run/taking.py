"""Which kinds of inputs a job's model may take, and rows whose inputs are of one of them. Without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hubft import modality, surgery
from hubft.data.rows import Rows
from hubft.families import takes
from hubft.inputs import Bands
from hubft.job import PACKAGE, Job


def kinds(job: Job) -> tuple[str, ...]:
    """Return the kinds of inputs that a job's model may take (`hubft.modality`)."""
    if surgery.channels(job.surgery):
        return (Bands.kind,)
    if job.family != PACKAGE:
        return takes.kinds(job.family)
    from hubft.run import parent  # not at the top: it brings torch, and wrong data is told before

    return (parent.named(job.name).manifest.inputs.kind,)


def of_kinds(read: Callable[[tuple[str, ...]], Rows], kinds: Sequence[str]) -> Rows:
    """Return rows whose inputs are of one of these kinds, by what reads those whose files are looked for."""
    files = {modality.named(kind).files: kind for kind in reversed(kinds)}
    rows = read(tuple(reversed(files)))
    return replace(rows, kind=files.get(rows.kind, rows.kind))
