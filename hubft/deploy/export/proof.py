"""The proof of a file before it is put in place: by its own runtime, in a fresh process, without hubft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft.base.errors import ExportError, Option
from hubft.deploy.export import formats, running
from hubft.deploy.export.exportable import About, Exportable
from hubft.deploy.export.formats import Format
from hubft.deploy.export.running import Run
from hubft.deploy.export.samples import Samples
from hubft.publish.selftest import TOLERANCE
from hubft.tasks.metrics import title
from hubft.tasks.paired import lost

REDUCED = 0.05
"""As `TOLERANCE`, of a file that computes in fewer bits, where there are no samples to judge it by."""
BATCHES = (1, 2, 5)


@dataclass(frozen=True)
class Judge:
    """What a file is measured by: the package's own answers for labelled samples."""

    samples: Samples
    outputs: Tensor
    """Of the package's model for the validation samples."""
    targets: Any


@dataclass(frozen=True)
class Proof:
    """What was found of a file that is good."""

    exact: float | None
    """Largest difference of its outputs on the self-test, computed in fp32, as a share of the largest or of 1; None
    where it does not run on this system."""
    native: float | None
    """The same, computed as this machine does it by itself."""
    reached: str = ""
    """On the validation samples, where there are any, in words."""
    drop: float | None = None
    """Points of the task's score on them, that the package has more."""

    @property
    def spoiled(self) -> bool:
        """Whether it is good in fp32 alone, and its runtime computes otherwise by itself here."""
        return self.exact is not None and self.native is not None and self.exact <= TOLERANCE < self.native

    def __str__(self) -> str:
        if self.exact is None:
            return "inputs, outputs and texts are as they must be; it was not run, which this system cannot"
        own = f", by {self.native:.2g} as this machine computes by itself" if self.native != self.exact else ""
        return f"self-test differs by {self.exact:.2g}{own}{self.reached and '; '}{self.reached}"


def prove(it: Exportable, form: Format, path: Path, about: About, judge: Judge | None) -> Proof:
    """Return what was found of a file: in fp32, and where its runtime chooses by itself, as that does on this machine.

    :raises ExportError: it is not as good as it must be; says by which figures.
    """
    if not formats.runs_here(form):
        _described(it, form, path, about)
        return Proof(None, None)
    proofs = {}
    for exact in (True, False) if form.hints else (True,):
        with running.fresh(form, path, torch.get_num_threads(), exact) as run:
            apart = _tested(it, run, about)
            if exact:
                _refuses(it, run, about)
            if exact and about.precision == "fp32":
                _require(apart, TOLERANCE)
            reached: tuple[str, float | None] = ("", None)
            used = exact == about.exact or not form.hints  # so it is opened
            if judge and used:
                reached = _judged(it, run, about, judge)
            elif used and about.precision != "fp32":
                _require(apart, REDUCED, f": give --data DATA to judge it by the score on {it.word}s")
            proofs[exact] = apart, reached, used
    exact_apart, native_apart = proofs[True][0], proofs[not form.hints][0]
    (words, drop) = next(reached for _, reached, used in proofs.values() if used)
    return Proof(exact_apart, native_apart, words, drop)


def _described(it: Exportable, form: Format, path: Path, about: About) -> None:
    """Check the shapes that a file gives in its own description: its inputs, and the outputs of which it states one."""
    found = running.shapes(form, path)
    ours = [*it.given(range(about.batch), about.whole), *(one[: about.batch] for one in it.answers)]
    wanted = [list(one.shape) for one in ours]
    if len(found) != len(wanted) or any(one and one != its for one, its in zip(found, wanted, strict=True)):
        raise ExportError(f"it describes shapes {found}, not {wanted}")


def _tested(it: Exportable, run: Run, about: About) -> float:
    """Return how far the self-test's outputs lie apart, equal shapes first, for batches of several sizes."""
    worst = 0.0
    for picked in _picks(len(it.examples), about.batch):
        given = [one.numpy() for one in it.given(picked, about.whole)]
        found = [torch.from_numpy(one.copy()).float() for one in run(*given)]
        wanted = [one[picked] for one in it.answers]
        shapes = [[tuple(one.shape) for one in side] for side in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise ExportError(f"for {len(picked)} samples it gives shapes {shapes[0]}, not {shapes[1]}")
        for ours, theirs, every in zip(found, wanted, it.answers, strict=True):
            apart = it.manifest.task.apart(ours, theirs, max(1.0, float(every.abs().max())))
            worst = apart if not apart <= worst else worst  # so that NaN stays
    return worst


def _picks(number: int, batch: int) -> Iterator[list[int]]:
    """Yield which examples make a batch, for batches of several sizes, so that each example is in one."""
    if batch:
        yield from ([(first + i) % number for i in range(batch)] for first in range(number))
    else:
        yield from ([(first + i) % number for i in range(size)] for first, size in enumerate(BATCHES))


def _refuses(it: Exportable, run: Run, about: About) -> None:
    """Check that what does not fit is refused, not answered in some shape."""
    for what, given in it.wrong(about):
        try:
            found = run(*(one.contiguous().numpy() for one in given))
        except ExportError:
            continue
        shapes = " and ".join(str(list(one.shape)) for one in given)
        raise ExportError(f"{what}, {shapes}, is answered with {[one.shape for one in found]}, not refused")


def _require(found: float, allowed: float, cure: str = "") -> None:
    if not found <= allowed:  # so that NaN fails
        raise ExportError(
            f"its outputs on the self-test differ by {found:.2g} of the largest, where {allowed:.2g} is allowed{cure}"
        )


def _judged(it: Exportable, run: Run, about: About, judge: Judge) -> tuple[str, float]:
    """Return what the file reaches on the validation samples, in words, and how many points less that is.

    :raises ExportError: it loses more than is allowed.
    """
    task, allowed, word = it.manifest.task, judge.samples.max_drop, it.word
    outputs, targets = judge.samples.measured(running.Running(run, about, it.manifest))
    if not outputs.isfinite().all():
        raise ExportError(f"it gives numbers that are not finite for the validation {word}s")
    before, after = (task.score(one, targets).head for one in (judge.outputs, outputs))
    drop = lost(replace(after, value=after.value - before.value), before)
    agreement = float(task.agreement(outputs, judge.outputs).mean())
    reached = (
        f"{title(task.headline)} {before.value:.4f} -> {after.value:.4f} on {len(outputs)} validation {word}s, "
        f"agreement {agreement:.4f}"
    )
    if not drop <= allowed:  # so that NaN fails
        raise ExportError(
            f"{reached}: a drop of {drop:.1f} points, where ", Option("max_drop"), f" {allowed:g} is allowed"
        )
    return reached, drop
