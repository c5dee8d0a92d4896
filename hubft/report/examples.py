"""Samples in the report of a run: what is true of them beside what the model says, drawn on them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hubft import modality
from hubft.base.errors import DataError
from hubft.base.files import write_bytes
from hubft.run.prepare import Prepared
from hubft.run.training import Outcome

FILE = "samples.png"
MOST = 12


def draw(prepared: Prepared, outcome: Outcome, folder: Path) -> None:
    """Write a picture of the validation samples of which the model is most wrong, where its task says places of them.

    It stays in the report: a package must not carry anybody's pictures away.

    :param outcome: outputs and targets of all validation samples.
    """
    data, task, (outputs, targets) = prepared.data, prepared.data.task, outcome
    kind = modality.named(data.kind)
    if not task.located or (drawing := kind.drawing()) is None:
        return
    worst = task.errors(outputs, targets).argsort(descending=True, stable=True)[:MOST].tolist()
    rows = []
    for place, said in zip(worst, task.decode(outputs[worst]), strict=True):
        sample = data.val[place]
        with suppress(DataError, OSError):  # it was there when the run began
            frame = kind.frame(prepared.loaded.inputs, data.source.open(sample.place))
            rows.append((data.source.open(sample.place), task.state(sample.target), task.placed(said, frame)))
    write_bytes(folder / FILE, drawing.beside(rows, task.names))
