"""Pooled features: what the head of a backbone is given of each sample, from the cache that runs fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hubft import modality
from hubft.cut.feed import Cut
from hubft.families import stages
from hubft.job import Job
from hubft.modality import Sample, Views
from hubft.run.data import Data
from hubft.run.phases import features, find, unaugmented
from hubft.run.prepare import Prepared
from hubft.train import ridge

ROWS = 1024  # samples whose features are pooled at once


def unpooled(job: Job, data: Data) -> str:
    """Return in a phrase why no model has pooled features for these labels; empty where that is not so."""
    if data.task.uncut:
        return data.task.uncut
    kind = modality.named(data.kind)
    probed = kind.settled(job).recipe.probe
    return "" if probed else f"no head on the whole of {kind.one} answers the task {data.task.kind}"


def pooled(prepared: Prepared) -> Mapping[str, Tensor] | str:
    """Return the features of all samples by the names of their parts, float32 `[n, width]`, on the CPU; or in a phrase
    why there are none.

    They are those that a fine-tune of the head computes, and are kept where it keeps them.
    """
    loaded, found = prepared.loaded, {}
    prepared.runtime.place(loaded.model)
    cut = find(prepared, stages.trainable(loaded, "head", 0.0))
    if isinstance(cut, str):
        return cut
    loaded.model.eval()
    for part, samples in prepared.data.parts.items():
        runtime = prepared.forward if part == "train" else prepared.exact
        kept = features(prepared, cut, _views(prepared, part, samples), runtime)
        if isinstance(kept, str):
            return kept
        vectors = [_given(prepared, cut, kept.views[0].take(rows)) for rows in torch.arange(len(samples)).split(ROWS)]
        whole = [one for one in vectors if one is not None]
        if len(whole) < len(vectors):
            return "its head is given no single tensor"
        found[part] = torch.cat(whole)
    return found


def _views(prepared: Prepared, part: str, samples: Sequence[Sample]) -> Views:
    there = {"train": prepared.training, "val": prepared.validation}
    return there[part] if part in there else unaugmented(prepared, samples)


@torch.no_grad()
def _given(prepared: Prepared, cut: Cut, rows: Tensor) -> Tensor | None:
    """Return what the head is given for features, `[n, width]`: the mean of a map or of tokens."""

    def run(part: Tensor) -> Tensor:
        with cut.feed(part) as blank:
            outputs: Tensor = cut.call(blank)
        return outputs

    found = ridge.given(stages.head_of(prepared.loaded), run, prepared.runtime.to_device(rows).float())
    if found is None:
        return None
    flat = found.mean((2, 3)) if found.ndim == 4 else found.mean(1) if found.ndim == 3 else found
    return flat.float().cpu()
