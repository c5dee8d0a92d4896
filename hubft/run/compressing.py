"""The compression of a run: its methods one after the other, each measured, and left out where it costs too much."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hubft import methods
from hubft.base import digest
from hubft.base.console import Console
from hubft.base.errors import FamilyError, JobError, Option
from hubft.compress import structure, table
from hubft.families import adapters
from hubft.families.build import compressed
from hubft.hookspecs import Batch, Tune
from hubft.job import Job
from hubft.publish import tensors
from hubft.run import training, unquantized
from hubft.run.folder import Run
from hubft.run.prepare import Prepared
from hubft.run.safeguard import few
from hubft.run.training import Outcome
from hubft.run.tuning import recipe, tune
from hubft.tasks.metrics import Measured, Metrics, number
from hubft.tasks.paired import difference, lost
from hubft.tasks.task import fits

CALIBRATION = 256  # training images that a method may look at
TRIED = 2  # of them, while the run is prepared


@dataclass(frozen=True)
class Step:
    """What a method came to, after those before it."""

    method: str
    metrics: Metrics
    size: int
    """Bytes of the weights as they are stored."""
    change: Measured
    """Of the headline, from that of the uncompressed model, on the same samples."""
    held: bool
    """Whether it stayed within `--max-drop`; what did not is not in the package."""

    def plain(self) -> dict[str, Any]:
        """Return it as results.json states it, JSON types."""
        headline = self.metrics.headline
        measured = {"headline": headline, headline: asdict(self.metrics.head), "change": asdict(self.change)}
        return {"method": self.method, **measured, "weights_bytes": self.size, "held": self.held}


@dataclass(frozen=True)
class Compression:
    """A compressed model, and how it became that."""

    prepared: Prepared
    """With the model and the task of the package."""
    outcome: Outcome
    uncompressed: Metrics
    steps: tuple[Step, ...] = ()
    structure: tuple[dict[str, Any], ...] = ()
    """Records of all that the package's architecture differs in from that of its reference."""
    tuned: bool = False
    """Whether a method trained the model: then nothing of it was frozen to the end."""

    @property
    def held(self) -> str:
        """The methods that the package is made by, in the grammar of `--compress`."""
        return ",".join(step.method for step in self.steps if step.held) or methods.NONE


def rehearse(prepared: Prepared, console: Console) -> None:
    """Try a job's methods on a copy of the model and two images, without training, and say what they note.

    :raises JobError: an unknown method, a wrong argument, or a model that a method does not work for.
    """
    asked = methods.parse(prepared.job.compress)
    if prepared.job.max_drop is not None and not asked:
        raise JobError(Option("max_drop"), " is the limit of ", Option("compress"), ", which is none: leave it out")
    if not asked:
        return
    table.check_order(asked)
    if prepared.job.adapting.apart:
        why = f" {prepared.job.compress}: the package of an adapter holds no weights that could be compressed: write "
        raise JobError(Option("compress"), why, Option("merge"), ", or compress its package afterwards")
    if prepared.job.package == "delta":
        table.check_delta(asked)
    loaded = replace(prepared.loaded, model=copy.deepcopy(prepared.loaded.model))
    if prepared.adapted:
        adapters.fold(loaded.model, prepared.adapted.record, unquantized.layers(prepared))
    prepared.exact.place(loaded.model)
    batches = list(few(prepared, TRIED, prepared.exact))
    for method in asked:
        made = compressed(prepared.pm, loaded, str(method), batches)
        loaded = replace(loaded, model=made.model)
        if made.note:
            console.say(f"note: {made.note}")
    with torch.no_grad():
        shape = tuple(loaded.forward(loaded.model.eval(), batches[0][0]).shape)
    if not fits(prepared.data.task, shape[1:]):
        raise FamilyError(f"after {prepared.job.compress} the outputs are {list(shape)}")


def compress(prepared: Prepared, outcome: Outcome, asked: Job, run: Run, console: Console) -> Compression:
    """Return the model of a run compressed by its job's methods, each measured on the validation images.

    A method after which the headline has lost more than `--max-drop`, from that of the uncompressed model, is taken
    back: the next one goes on from what held.

    :param outcome: of the uncompressed model.
    :param asked: the job before anything was settled.
    """
    first, before = prepared.data.task, outcome
    if not methods.parse(asked.compress):  # the hook is asked all the same
        images = few(prepared, CALIBRATION, prepared.exact)
        prepared = _with(prepared, compressed(prepared.pm, prepared.loaded, methods.NONE, images).model)
    now = Compression(prepared, outcome, first.measure(*outcome), structure=prepared.structure)
    size = _size(now) if asked.compress != methods.NONE else 0
    for method in map(str, methods.parse(asked.compress)):
        kept = copy.deepcopy(now.prepared.loaded.model) if asked.max_drop is not None else None
        made = _applied(now, method, asked, run, console)
        task, metrics = made.prepared.data.task, made.prepared.data.task.measure(*made.outcome)
        change = difference(task, made.outcome[0], before[0], before[1], first)
        held = asked.max_drop is None or not lost(change, now.uncompressed.head) > asked.max_drop
        step = Step(method, metrics, _size(made), change, held)
        console.say(_line(step, size, asked.max_drop))
        if kept is not None and not held:
            made = replace(now, prepared=_with(now.prepared, kept))
        now = replace(made, steps=(*now.steps, step))
    if now.steps and not any(step.held for step in now.steps):
        console.say("note: no method held: the package is the uncompressed model")
    return now


def _applied(now: Compression, method: str, asked: Job, run: Run, console: Console) -> Compression:
    """Return what a method makes of a model, which it may change in place."""
    tuned: list[Prepared] = []

    def tuning(model: nn.Module, share: float) -> None:
        here = _with(tuned[-1] if tuned else prepared, model)
        tuned.append(tune(here, recipe(asked, here), share, run, console))

    prepared = now.prepared
    shared = _shared(prepared) if asked.package == "delta" else {}
    calibration: Iterable[Batch] = few(prepared, CALIBRATION, prepared.exact)
    tuner: Tune = tuning
    with prepared.counting(f"{method} applied", None):
        made = compressed(prepared.pm, prepared.loaded, method, calibration, tuner)
    prepared = _with(tuned[-1] if tuned else prepared, made.model)
    if not made.structure and not tuned:
        _put_back(made.model, shared)
    for done in structure.words(made.structure):
        console.say(f"changed  {done}")
    records = (*now.structure, *made.structure)
    outcome = training.outcome(prepared, made.model)
    return replace(now, prepared=prepared, outcome=outcome, structure=records, tuned=now.tuned or bool(tuned))


def _shared(prepared: Prepared) -> dict[str, Tensor]:
    """Return the tensors that a delta takes from its base: to round them would save no byte, and cost what it costs."""
    state = prepared.loaded.model.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if _is_base_s(prepared, name, tensor)}


def _is_base_s(prepared: Prepared, name: str, tensor: Tensor) -> bool:
    return prepared.base.get(name) == digest.of_tensor(tensor)


@torch.no_grad()
def _put_back(model: nn.Module, shared: Mapping[str, Tensor]) -> None:
    state = model.state_dict()
    for name, tensor in shared.items():
        state[name].copy_(tensor)


def _size(made: Compression) -> int:
    """Return how many bytes the weights take in the run's package."""
    prepared, state = made.prepared, structure.state(made.prepared.loaded.model)
    delta = prepared.job.package == "delta"
    return tensors.size({n: t for n, t in state.items() if not (delta and _is_base_s(prepared, n, t))})


def _with(prepared: Prepared, model: nn.Module) -> Prepared:
    return replace(prepared, loaded=replace(prepared.loaded, model=model))


def _line(step: Step, whole: int, limit: float | None) -> str:
    change = step.change
    between = "" if change.low is None or change.high is None else f" [{number(change.low)}, {number(change.high)}]"
    score = f"{step.metrics}, {change.value:+.3f}{between} to the uncompressed model"
    size = f"weights {step.size / 1e6:,.2f} MB of {whole / 1e6:,.2f}"
    fate = "" if step.held else f"; it lost more than {limit:g} points and is left out"
    return f"compress {step.method}: {score}, {size}{fate}"
