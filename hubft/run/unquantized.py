"""The base of a run as it was before its layers were in few bits, and what the adapters give over it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from hubft.base import digest
from hubft.base.console import Console
from hubft.base.errors import BaseMismatch
from hubft.families.build import load_base
from hubft.run import adapting, training
from hubft.run.adapting import Narrow
from hubft.run.prepare import Prepared
from hubft.run.training import Outcome
from hubft.tasks.paired import difference


def folded(
    prepared: Prepared, proof: dict[str, str], outcome: Outcome | None, console: Console
) -> tuple[Prepared, dict[str, str], Outcome | None]:
    """Fold the adapters into the base as it is; return what was prepared, the proof of what was frozen by the names of
    a plain model, and what that gives for the validation samples, where it was measured: over a base in few bits the
    adapters gave something else.

    :param outcome: of the model that was trained, where it is known.
    """
    model, adapted = prepared.loaded.model, prepared.adapted
    assert adapted is not None, "only adapters are folded"
    trained = outcome or training.outcome(prepared, model) if adapted.quantized else None
    its = adapting.folded(prepared.pm, model, adapted, layers(prepared))
    proof = adapting.proof(proof, its, prepared.job.adapting.apart, prepared.base)
    now = training.outcome(prepared, model) if adapted.quantized else None
    if adapted.quantized and trained and now:
        task = prepared.data.task
        narrow = Narrow(adapted.quantized, task.measure(*trained), difference(task, now[0], *trained))
        console.say(f"base     {narrow}")
        its = replace(its, narrow=narrow)
    return replace(prepared, folded=its), proof, now


def layers(prepared: Prepared) -> dict[str, nn.Module]:
    """Return the layers that are in few bits now as they are in the base, which is read again: none is kept meanwhile.

    :raises BaseMismatch: the base has other bytes than it had when the run began.
    """
    if not (prepared.adapted and prepared.adapted.quantized):
        return {}
    job, task = prepared.job, prepared.data.task.kind
    model: Any = load_base(prepared.pm, job, pretrained=True, task=task).model
    device = next(prepared.loaded.model.parameters()).device
    found = {name: model.get_submodule(name) for name in prepared.adapted.quantized.layers}
    for layer, module in found.items():
        for name, sha256 in digest.of_tensors(module.state_dict()).items():
            if prepared.base[f"{layer}.{name}"] != sha256:
                why = f"its tensor {layer}.{name} has other bytes than when the run began: bring that back, and resume"
                raise BaseMismatch(f"{job.reference}: {why}")
    return {name: module.to(device) for name, module in found.items()}
