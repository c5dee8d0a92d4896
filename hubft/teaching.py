"""Another model's answers, learned beside the labels: the part of a job that says whose, and how."""

from __future__ import annotations

from dataclasses import dataclass

from hubft.base.bounds import check_bounds
from hubft.base.serialize import settle


@dataclass(frozen=True)
class Teaching:
    """From whom a model learns beside its labels, and how."""

    teacher: str = ""
    """Package whose answers the model learns beside the labels: folder of a run or of a package, or owner/name."""
    temperature: float = 0.0
    """By which the logits of both are divided before they are compared; 0 is the task's own: 4 for classes and
    labels; numbers have none."""
    imitation: float = 0.9
    """Share of the teacher's answers in the loss; the labels have the rest."""
    hints: float = 0.0
    """Weight of the features of stages, held against the teacher's through linear adapters; 0 leaves them out."""
    baseline: bool = True
    """Also train the same model without the teacher, in the run's folder, to tell what the teacher is worth."""

    def __post_init__(self) -> None:
        settle(self)
        check_bounds("temperature", self.temperature, 0.0, 100.0)
        check_bounds("imitation", self.imitation, 0.0, 1.0)
        check_bounds("hints", self.hints, 0.0, 1e3)
