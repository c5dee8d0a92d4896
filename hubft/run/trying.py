"""A loss of the user's own, tried on a first batch before anything is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hubft import modality
from hubft.base.errors import JobError, Option
from hubft.cut.calls import in_eval
from hubft.job import Compute
from hubft.machine.runtime import Runtime
from hubft.run.phases import PROOF, unaugmented
from hubft.run.prepare import Prepared
from hubft.tasks import ownloss
from hubft.tasks.losses import Loss
from hubft.train import loader


class Recorder(Loss):
    """Takes the place of a loss, and notes what it would be called with."""

    seen: tuple[Tensor, Any] | None = None

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return 0."""
        self.seen = outputs, targets
        return outputs.float().sum() * 0


def tried(prepared: Prepared) -> Prepared:
    """Return what was prepared, with what a user should know of the loss, where it is one of their own.

    :raises JobError: the model computes its loss itself, or the loss cannot be used.
    """
    job, task, loaded = prepared.job, prepared.data.task, prepared.loaded
    if not job.recipe.own_loss:
        return prepared
    device = next(loaded.model.parameters()).device
    apart = max(1, len(prepared.data.train) // PROOF)  # the first ones may all be of one class
    few = unaugmented(prepared, prepared.data.train[::apart][:PROOF])
    runtime, heard = Runtime(Compute(device=str(device), workers=0)), Recorder()
    batch = runtime.to_device(next(iter(loader.in_order(few, PROOF, runtime))))
    mixing = modality.of(loaded.inputs).mixing(task.outputs, job.recipe.seed) if task.mixes else None
    if mixing and job.recipe.augment == "strong":
        batch = mixing(batch, 0)
    with in_eval(loaded.model), torch.no_grad():
        prepared.pm.hook.train_step(model=loaded.model, batch=batch, criterion=heard, forward=loaded.forward)
    if heard.seen is None:
        raise JobError(Option("loss"), f" {job.recipe.loss}: {job.reference} computes its loss itself; leave it out")
    note = ownloss.tried(job.recipe, ownloss.criterion(task, job.recipe), *heard.seen)
    return replace(prepared, data=replace(prepared.data, notes=(*prepared.data.notes, note))) if note else prepared
