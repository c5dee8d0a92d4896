"""Any of some labels a sample: a sigmoid and binary cross entropy for each."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hubft.base.display import listed, quoted, visible
from hubft.base.errors import DataError, PackageError
from hubft.tasks import cells, ranking, vocabulary
from hubft.tasks.task import Column, Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.doubts import Doubt
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics

SHOWN = 40  # labels up to which a card shows their thresholds
MOST = 10.0  # weight of a positive: that of a label which one sample in a hundred has
JOINTS = (";", "|", ",")  # between labels in a cell that is written; the first that is in no name


@dataclass(frozen=True)
class Multilabel(Task):
    """Any number of some labels, from one column or from a column of 0 and 1 for each."""

    kind: ClassVar[str] = "multilabel"
    problem: ClassVar[str] = "multi_label_classification"
    headline: ClassVar[str] = "mean_average_precision"
    caption: ClassVar[str] = "Average precision of each label"
    averages: ClassVar[str] = "sigmoid"
    losses: ClassVar[tuple[str, ...]] = ("bce", "asymmetric")
    options: ClassVar[tuple[str, ...]] = ("class_weights", "temperature")

    classes: tuple[str, ...]
    """Names of the labels, in the order of the outputs."""
    counts: tuple[int, ...] = ()
    """Training rows that have each label."""
    known: tuple[int, ...] = ()
    """Training rows of which is known whether they have it."""
    thresholds: tuple[float, ...] = ()
    """Of each label's probability, above which it is said; without them 0.5."""
    separator: str = ""
    """Between the labels of a cell; nothing where cells are lists, or columns hold 0 and 1."""
    empty: str = ""
    """What an empty cell says: `none`, it has no label; else nobody looked."""

    def __post_init__(self) -> None:
        if len(self.thresholds) not in (0, len(self.classes)):
            raise PackageError(f"{len(self.thresholds)} thresholds for {len(self.classes)} labels")

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes

    @property
    def tunes(self) -> bool:
        return True

    def claim(self) -> str:
        return f"Finds which of {len(self.classes)} labels {{one}} has"

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        least = [round(one, 4) for one in self._thresholds] if self.outputs <= SHOWN else f"[0.5] * {self.outputs}"
        return (
            f"least = {least}",
            f"[name for name, share, over in zip({names}, logits.sigmoid()[0], least) if share > over]",
        )

    def summary(self) -> str:
        return f"with any of {len(self.classes):,} labels"

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        if len(columns) > 1:
            return cls(vocabulary.headers(columns))._counted(list(zip(*map(cells.flags, columns), strict=True)))
        (column,) = columns
        separator = cells.separator(column, labels.separator)
        there = [value for value in column.values if not cells.blank(value)]
        gaps = len(column.values) - len(there)
        if gaps and not labels.empty and any(cells.as_list(value) is None for value in there):
            raise DataError(
                f"column {quoted(column.name)} has {gaps:,} empty cells: --empty none takes them as without any label, "
                "--empty unlabelled leaves them out"
            )
        found = [vocabulary.name(one) for value in there for one in dict.fromkeys(cells.labels(value, separator))]
        task = cls(vocabulary.of(column, found, "label"), separator=separator, empty=labels.empty)
        return task._counted([task.encode((value,)) for value in column.values])

    def _counted(self, targets: Sequence[tuple[float, ...] | None]) -> Self:
        counts, known = [0] * self.outputs, [0] * self.outputs
        for target in targets:
            for place, value in enumerate(target or ()):
                counts[place] += value == 1
                known[place] += value == value
        return replace(self, counts=tuple(counts), known=tuple(known))

    @cached_property
    def positions(self) -> dict[str, int]:
        """Output of each label."""
        return {name: place for place, name in reversed(tuple(enumerate(self.classes)))}

    def encode(self, values: Sequence[Any]) -> tuple[float, ...] | None:
        if len(values) > 1:
            target = tuple(cells.stated_flag(value, name) for name, value in zip(self.classes, values, strict=True))
            return None if all(map(math.isnan, target)) else target
        (value,) = values
        if cells.blank(value):
            return (0.0,) * self.outputs if self.empty == "none" else None
        names = cells.labels(value, self.separator)
        found = {vocabulary.index(one, self.classes, self.positions, "label") for one in names}
        return tuple(float(place in found) for place in range(self.outputs))

    def settled(self, targets: Sequence[tuple[float, ...]]) -> Self:
        task = self._counted(targets)
        if not any(task.counts):
            raise DataError(f"no training row has any of the labels {listed(self.classes)}: there is nothing to learn")
        return task

    def strata(self, target: tuple[float, ...]) -> Iterable[Hashable]:
        found = [place for place, value in enumerate(target) if value == 1]
        return vocabulary.rarest_first(found, self.counts) or (-1,)

    def present(self, target: tuple[float, ...]) -> Sequence[str]:
        return [name for name, value in zip(self.classes, target, strict=True) if value == 1]

    def doubted(self, outputs: Tensor, targets: Tensor) -> list[Doubt]:
        from hubft.tasks import doubts

        return doubts.of_labels(self.shares(outputs), targets, self.classes)

    def collate(self, targets: Sequence[tuple[float, ...] | None]) -> Tensor:
        import torch

        gap = (math.nan,) * self.outputs
        return torch.tensor([gap if target is None else target for target in targets], dtype=torch.float32)

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        """Return binary cross entropy in which a positive counts as the root of negatives over positives, 1 to MOST.

        Without a weight a rare label is learned late, if at all. The whole ratio gives its few positives half of the
        gradient, which is noise, and makes its probabilities useless. The root lies between (square-root sampling,
        Mahajan et al. 2018, https://arxiv.org/abs/1805.00932). What is said is decided by `thresholds` in any case.
        """
        from hubft.tasks import losses, multilabelled

        if recipe is None:
            return losses.Masked(losses.binary())
        losses.refuse(recipe, self.kind, "smoothing")
        weight = losses.class_weights(recipe.class_weights, self.classes, self.counts)
        if losses.chosen(recipe, self.losses, self.kind) == "asymmetric":
            return losses.Masked(losses.asymmetric, weight)
        return losses.Masked(losses.binary(multilabelled.ratio(self.counts, self.known, MOST)), weight)

    def imitation(self, temperature: float) -> Loss:
        from hubft.tasks import imitation

        return imitation.Imitation(imitation.labels(temperature or imitation.TEMPERATURE))

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return one minus F1 of each sample, at a probability of 0.5; 0 where it has no label and none is said."""
        said, true, known = outputs > 0, targets == 1, ~targets.isnan()
        right, both = (said & true).sum(1), (said & known).sum(1) + true.sum(1)
        wrong = 1 - 2 * right / both.clamp(min=1)
        return (wrong * (both > 0)).masked_fill(outputs.isnan().any(1), 1.0).float()

    @property
    def ignorance(self) -> float:
        return math.log(2)

    def constant(self) -> float:
        return 1.0

    def _loss(self, outputs: Tensor, targets: Tensor) -> float:
        return float(self.criterion()(outputs, targets))

    def score(self, outputs: Tensor, targets: Tensor) -> Metrics:
        from hubft.tasks import multilabelled

        return multilabelled.score(outputs, targets, self._loss(outputs, targets))

    def measure(self, outputs: Tensor, targets: Tensor) -> Metrics:
        from hubft.tasks import multilabelled

        return multilabelled.measure(outputs, targets, self._loss(outputs, targets), self._thresholds)

    @property
    def _thresholds(self) -> tuple[float, ...]:
        return self.thresholds or (0.5,) * self.outputs

    def diagnosis(self, metrics: Metrics, targets: Tensor) -> Sequence[str]:
        from hubft.tasks import diagnosed

        return diagnosed.labels(metrics, targets, self.classes)

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        from hubft.tasks import pictures

        details = metrics.details
        return {"labels.png": pictures.bars(details["average_precision"], self.classes, details["positives"])}

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        table = Table.of_names("label", self.classes, metrics, ("average_precision", "f1", "precision", "recall"))
        more = zip(metrics.details["positives"], metrics.details["thresholds"], strict=True)
        rows = [(*row, count, f"{threshold:.3f}") for row, (count, threshold) in zip(table.rows, more, strict=True)]
        yield Table((*table.columns, "positives", "threshold"), rows)

    def tuned(self, outputs: Tensor, targets: Tensor) -> Self:
        from hubft.tasks import multilabelled

        return replace(self, thresholds=multilabelled.thresholds(outputs, targets))

    def shares(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def agreement(self, outputs: Tensor, others: Tensor) -> Tensor:
        least = outputs.new_tensor(self._thresholds)
        return ((self.shares(outputs) > least) == (self.shares(others) > least)).float().mean(1)

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        over, said = dict(zip(self.classes, self._thresholds, strict=True)), []
        for shares in self.shares(outputs).tolist():
            found = ranking.ranked(self.classes, shares)
            said.append({"labels": [name for name in found if found[name] > over[name]], "probabilities": found})
        return said

    def state(self, target: tuple[float, ...] | None) -> dict[str, Any]:
        if target is None:
            return {"labels": None}
        unknown = [name for name, value in zip(self.classes, target, strict=True) if math.isnan(value)]
        stated: dict[str, Any] = {"labels": list(self.present(target))}
        return stated | ({"unknown": unknown} if unknown else {})

    def shortened(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return ranking.shortened(said, top)

    def words(self, said: Mapping[str, Any], top: int) -> str:
        shares = said["probabilities"]
        if said["labels"]:
            return ", ".join(f"{visible(name, 24)} {shares[name]:.2f}" for name in said["labels"][:top])
        name, share = next(iter(shares.items()))
        return f"none ({visible(name, 24)} {share:.2f})"

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        joint = next((one for one in JOINTS if not any(one in name for name in self.classes)), "\n")
        return {"labels": joint.join(said["labels"]), **ranking.cells(said, "label", top)}
