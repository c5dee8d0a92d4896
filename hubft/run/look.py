"""A look at data through a backbone: near-duplicates by its features, and labels that a probe on them finds
suspicious."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base import draws
from hubft.base.console import Console
from hubft.base.errors import FamilyError, JobError, Option, PackageError
from hubft.job import Job
from hubft.modality import Sample
from hubft.run import near
from hubft.run.data import Data
from hubft.run.facts import DEFAULT, LABEL, NEAR, NEAR_LEAK, UNLIKELY, Finding
from hubft.run.plan import computing
from hubft.run.pooled import pooled, unpooled
from hubft.run.prepare import Prepared, prepare
from hubft.run.remarks import TITLES
from hubft.tasks.doubts import Doubt
from hubft.train import probe
from hubft.train.probe import Known, Probe


@dataclass(frozen=True)
class Suspect:
    """A label that is taken for wrong, with its sample."""

    part: str
    sample: Sample
    doubt: Doubt


@dataclass(frozen=True)
class Looked:
    """What was seen."""

    reference: str = ""
    """Of the backbone; empty where there was none."""
    probe: Probe | None = None
    findings: tuple[Finding, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    near: tuple[tuple[Sample, Sample], ...] = ()
    """Pairs of samples that are nearly equal, the nearest first."""
    left_out: str = ""
    """What could not be looked at, why, and what to type."""


def look(job: Job, data: Data, named: bool, console: Console, trust: bool = False) -> Looked:
    """Return what features tell of data; where no backbone can be had, that is left out and says why.

    :param job: of a probe alone.
    :param named: whether the user named its backbone: then it must be there.
    :raises HubftError: a backbone that was named cannot be had, or does not take these samples.
    """
    both = "near-duplicates and suspicious labels are left out"
    reference = job.reference if named else DEFAULT.get(modality.named(data.kind).files, "")
    if why := unpooled(job, data):
        return Looked(left_out=f"{both}: {why}")
    assert reference  # every other kind of inputs has its own
    try:
        prepared = prepare(replace(job, reference=reference), data, trust, console.counting)
    except (FamilyError, PackageError) as error:  # it is not installed, or damaged
        if named:
            raise
        told = f"{both}: {error}; or name another backbone with {Option('reference').flag} FAMILY:NAME"
        return Looked(left_out=told)
    with draws.preserved():
        prepared, _ = computing(prepared, console)
        with prepared.runtime.using_threads():
            features = pooled(prepared)
            if isinstance(features, str):
                return Looked(reference, left_out=f"{both}: {reference}: {features}")
            return _looked(prepared, features)


def _looked(prepared: Prepared, features: Mapping[str, Tensor]) -> Looked:
    data = prepared.data
    every = [(part, sample) for part, its in data.parts.items() for sample in its]
    rows = prepared.runtime.to_device(torch.cat([features[part] for part in data.parts]))
    contents = [sample.content for _, sample in every]
    pairs = near.pairs(rows, contents, prepared.counting)
    findings = [_alike(every, pair) for pair in pairs]
    twins = tuple((every[pair.earlier][1], every[pair.later][1]) for pair in pairs)
    together = near.units(len(every), contents, pairs)
    try:
        solved, found = doubted(prepared, rows, [sample for _, sample in every], together)
    except JobError as error:  # a library is missing
        told = f"suspicious labels are left out: {error}"
        return Looked(prepared.job.reference, None, tuple(findings), (), twins, told)
    findings += [_doubtful(*every[doubt.row], doubt) for doubt in found]
    suspects = tuple(Suspect(*every[doubt.row], doubt) for doubt in found if doubt.counted)
    return Looked(prepared.job.reference, solved, tuple(findings), suspects, twins)


def doubted(
    prepared: Prepared, rows: Tensor, samples: Sequence[Sample], units: Sequence[Hashable]
) -> tuple[Probe, list[Doubt]]:
    """Return what a probe of all samples has shown, and the suspicious labels by what probes say of samples that they
    were not fitted to; a label that one sample alone has is not judged.

    :param rows: features of the samples, float32 `[n, width]`, on the device.
    :param units: of each sample: those of one unit are held out together.
    """
    task, seed = prepared.data.task, prepared.job.recipe.seed
    strata = [next(iter(task.strata(sample.target))) for sample in samples]
    targets = task.collate([sample.target for sample in samples])
    head = blank(rows, task.outputs)
    known = Known(task, head, rows, prepared.runtime.to_device(targets), strata, seed, prepared.counting)
    solved, outputs = probe.held_out(head, known, units)
    having = Counter(strata)
    found = task.doubted(outputs.float().cpu(), targets)
    return solved, [doubt for doubt in found if having[strata[doubt.row]] > 1]


def blank(rows: Tensor, outputs: int) -> nn.Linear:
    """Return a head for features that starts at zero."""
    head = nn.Linear(rows.shape[1], outputs, device=rows.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _doubtful(part: str, sample: Sample, doubt: Doubt) -> Finding:
    detail = f"{f'{doubt.column}: ' if doubt.column else ''}{doubt.label}, more likely {doubt.guess}"
    return Finding(sample.place, part, LABEL if doubt.counted else UNLIKELY, detail, doubt.score)


def _alike(every: Sequence[tuple[str, Sample]], pair: near.Pair) -> Finding:
    (there, earlier), (here, later) = every[pair.earlier], every[pair.later]
    detail = f"nearly {earlier.place} in {TITLES[there]}"
    return Finding(later.place, here, NEAR if there == here else NEAR_LEAK, detail, pair.cosine)
