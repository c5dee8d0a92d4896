"""What a model answered before it was trained, where it keeps its own head and so could answer already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hubft.run import training
from hubft.run.prepare import Prepared
from hubft.run.training import Outcome
from hubft.tasks.metrics import Measured, Metrics, title
from hubft.tasks.paired import difference, further, told


@dataclass(frozen=True)
class Before:
    """The untrained model on the validation samples."""

    metrics: Metrics
    difference: Measured
    """Of the trained model's headline to its own, on the same samples (`paired.difference`)."""
    further: Mapping[str, Measured]
    """The same of other numbers, by name (`paired.further`)."""

    def plain(self, public: bool = False) -> dict[str, Any]:
        """Return it as JSON types.

        :param public: without what is of single samples, for a package.
        """
        metrics: Mapping[str, Any] = self.metrics.public() if public else self.metrics.plain()
        further = {name: asdict(one) for name, one in self.further.items()}
        return {"metrics": metrics, "difference": asdict(self.difference), "further": further}

    def __str__(self) -> str:
        """Return it in a sentence."""
        name, its = self.metrics.headline, self.metrics.values
        said = [f"the model had {title(name)} {self.metrics.head}; the paired difference is {told(self.difference)}"]
        said += [
            f"its {title(name)} was {its[name]}, and the difference is {told(one)}"
            for name, one in self.further.items()
        ]
        return "; ".join(said)


def measured(prepared: Prepared) -> Outcome | None:
    """Return what the model gives for the validation samples before it is trained; None where its head is new."""
    if prepared.job.head.outputs:
        return None
    return training.outcome(prepared, prepared.exact.place(prepared.loaded.model))


def compared(prepared: Prepared, before: Outcome | None, after: Outcome) -> Before | None:
    """Return what `measured` gave beside what the trained model gives."""
    if before is None:
        return None
    task = prepared.data.task
    found, changes = task.measure(*before), further(task, after[0], *before)
    counted = {name: replace(one, n=found.values[name].n) for name, one in changes.items()}
    return Before(found, difference(task, after[0], *before), counted)
