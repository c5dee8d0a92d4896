"""One class a sample: softmax and cross entropy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hubft.base.display import listed, visible
from hubft.base.errors import DataError
from hubft.tasks import cells, ranking, vocabulary
from hubft.tasks.task import Column, Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.doubts import Doubt
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics, Statistic


@dataclass(frozen=True)
class Classification(Task):
    """One of some classes."""

    kind: ClassVar[str] = "classification"
    problem: ClassVar[str] = "single_label_classification"
    word: ClassVar[str] = "class"
    headline: ClassVar[str] = "accuracy"
    mixes: ClassVar[bool] = True
    averages: ClassVar[str] = "softmax"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "focal")
    options: ClassVar[tuple[str, ...]] = ("smoothing", "class_weights", "temperature")

    classes: tuple[str, ...]
    """Names, in the order of the outputs."""
    counts: tuple[int, ...] = ()
    """Training rows of each class."""

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes

    caption: ClassVar[str] = "Confusion matrix: a row a true class, a column a predicted one"

    def claim(self) -> str:
        return f"Classifies {{many}} into {len(self.classes)} classes"

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        return (f"{names}[logits.argmax().item()]",)

    def summary(self) -> str:
        return f"of {len(self.classes):,} classes"

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        (column,) = columns
        found = [vocabulary.name(value) for value in column.values if not cells.blank(value)]
        return cls(vocabulary.of(column, found, "class"))

    @cached_property
    def positions(self) -> dict[str, int]:
        """Output of each class."""
        return {name: place for place, name in reversed(tuple(enumerate(self.classes)))}

    def encode(self, values: Sequence[Any]) -> int | None:
        (value,) = values
        return vocabulary.index(value, self.classes, self.positions, "class")

    def settled(self, targets: Sequence[int]) -> Self:
        counts = Counter(targets)
        if empty := [name for label, name in enumerate(self.classes) if not counts[label]]:
            raise DataError(f"nothing usable to train on in class {listed(empty)}")
        return replace(self, counts=tuple(counts[label] for label in range(len(self.classes))))

    def strata(self, target: int) -> Iterable[Hashable]:
        return (target,)

    def mark(self, target: int | None) -> str:
        return repr(None if target is None else self.classes[target])

    def present(self, target: int) -> Sequence[str]:
        return (self.classes[target],)

    def doubted(self, outputs: Tensor, targets: Tensor) -> list[Doubt]:
        from hubft.tasks import doubts

        return doubts.of_classes(self.shares(outputs), targets, self.classes)

    def collate(self, targets: Sequence[int | None]) -> Tensor:
        import torch

        from hubft.tasks.losses import MISSING

        return torch.tensor([MISSING if target is None else target for target in targets], dtype=torch.int64)

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        from hubft.tasks import losses

        if recipe is None:
            return losses.CrossEntropy()
        focus = 2.0 if losses.chosen(recipe, self.losses, self.kind) == "focal" else 0.0
        weight = losses.class_weights(recipe.class_weights, self.classes, self.counts)
        return losses.CrossEntropy(weight, recipe.smoothing, focus)

    def imitation(self, temperature: float) -> Loss:
        from hubft.tasks import imitation

        return imitation.Imitation(imitation.classes(temperature or imitation.TEMPERATURE), columns=False)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs.argmax(1) != targets) | outputs.isnan().any(1)).float()

    @property
    def ignorance(self) -> float:
        return math.log(len(self.classes))

    def constant(self) -> float:
        return 1 - max(self.counts) / sum(self.counts)

    def score(self, outputs: Tensor, targets: Tensor) -> Metrics:
        from hubft.tasks import classified

        return classified.score(outputs, targets)

    def statistic(self, outputs: Tensor, targets: Tensor) -> Statistic:
        right = (outputs.argmax(1) == targets).double().numpy()
        return lambda counts: float(right @ counts / counts.sum())

    def measure(self, outputs: Tensor, targets: Tensor) -> Metrics:
        from hubft.tasks import classified

        return classified.measure(outputs, targets, len(self.classes))

    def diagnosis(self, metrics: Metrics, targets: Tensor) -> Sequence[str]:
        from hubft.tasks import diagnosed

        return diagnosed.classes(metrics, self.classes)

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        from hubft.tasks import pictures

        return {"confusion.png": pictures.confusion(metrics.details["confusion"], self.classes)}

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        table = Table.of_names("class", self.classes, metrics, ("recall", "precision"))
        numbers = map(sum, metrics.details["confusion"])
        yield Table((*table.columns, "samples"), [(*row, n) for row, n in zip(table.rows, numbers, strict=True)])

    def shares(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def agreement(self, outputs: Tensor, others: Tensor) -> Tensor:
        return (outputs.argmax(1) == others.argmax(1)).float()

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        said = []
        for shares in self.shares(outputs).tolist():
            found = ranking.ranked(self.classes, shares)
            name, share = next(iter(found.items()))
            said.append({"class": name, "probability": share, "probabilities": found})
        return said

    def state(self, target: int | None) -> dict[str, Any]:
        return {"class": None if target is None else self.classes[target]}

    def words(self, said: Mapping[str, Any], top: int) -> str:
        best = islice(said["probabilities"].items(), top)
        return ", ".join(f"{visible(name, 24)} {share:.3f}" for name, share in best)

    def shortened(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return ranking.shortened(said, top)

    def verdict(self, true: Mapping[str, Any], said: Mapping[str, Any], error: float) -> dict[str, Any]:
        found = {"predicted": said["class"], "probability": said["probability"]}
        return {**true, **found, "correct": true["class"] == said["class"]}

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return ranking.cells(said, "class", top)
