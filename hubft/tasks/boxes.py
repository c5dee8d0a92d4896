"""Any number of objects a sample, each with its box and one of some classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hubft.base.display import visible
from hubft.base.errors import DataError, JobError, Option, PackageError
from hubft.tasks import cells, rectangles, vocabulary
from hubft.tasks.task import Column, Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics, Statistic

Box = tuple[int, float, float, float, float, bool]
"""Class, corners x0, y0, x1, y1 in pixels, and whether it is a crowd, which is neither learned nor counted."""
NOTHING = "nothing"  # in the confusion: what was missed, and what is not there
LISTED = 8  # boxes of a sample in a line for people


@dataclass(frozen=True)
class Boxes(Task):
    """Objects with their boxes.

    A model gives `[n, k, 6]`: of k boxes at most a sample, x0, y0, x1, y1 in pixels of its input, the score from 0 to
    1, and the class, the best first; behind the last all is 0. Targets are a dict a sample: `boxes` float32 `[k, 4]`,
    alike, `labels` int64 `[k]`, `crowd` bool `[k]`. It is trained by the model's own loss, in the hook `train_step`.
    """

    kind: ClassVar[str] = "boxes"
    pipeline: ClassVar[str] = "object-detection"
    headline: ClassVar[str] = "map"
    word: ClassVar[str] = "class"
    caption: ClassVar[str] = "Average precision of each class"
    losses: ClassVar[tuple[str, ...]] = ("own",)
    located: ClassVar[bool] = True
    uncut: ClassVar[str] = "a detector has a loss of its own, and boxes move with each view of an image"

    classes: tuple[str, ...]
    """Names, in the order of the outputs."""
    counts: tuple[int, ...] = ()
    """Boxes of each class in training rows."""
    threshold: float = 0.5
    """Score from which on a box is said: that of the highest F1 on training rows that were held out."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise PackageError(f"a threshold of {self.threshold}")

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        return (-1, 6)

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes

    @property
    def tunes(self) -> bool:
        return True

    def claim(self) -> str:
        kinds = f"{len(self.classes)} classes" if len(self.classes) > 1 else "one class"
        return f"Finds objects of {kinds} in {{many}}, with their boxes"

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        return (f"[({names}[int(c)], s, box) for *box, s, c in logits[0].tolist() if s >= {self.threshold:.4g}]",)

    def summary(self) -> str:
        return f"with boxes of {len(self.classes):,} classes"

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        (column,) = columns
        found: list[str] = []
        for value in column.values:
            try:
                found += [vocabulary.name(label) for label, *_ in rectangles.stated(value)]
            except DataError:  # `encode` tells of that row
                continue
        return cls(vocabulary.of(column, found, "class", least=1))

    @cached_property
    def positions(self) -> dict[str, int]:
        """Output of each class."""
        return {name: place for place, name in reversed(tuple(enumerate(self.classes)))}

    def encode(self, values: Sequence[Any]) -> tuple[Box, ...] | None:
        (value,) = values
        if cells.blank(value):
            return None
        found = []
        for number, (label, corners, crowd) in enumerate(rectangles.stated(value), 1):
            place = vocabulary.index(label, self.classes, self.positions, "class")
            if place is None:
                raise DataError(f"box {number} has no label")
            found.append((place, *corners, crowd))
        return tuple(found)

    def settled(self, targets: Sequence[Sequence[Box]]) -> Self:
        counts = Counter(box[0] for its in targets for box in its if not box[5])
        if missing := [name for place, name in enumerate(self.classes) if not counts[place]]:
            raise DataError(f"no box to train on of class {', '.join(map(repr, missing[:5]))}")
        return replace(self, counts=tuple(counts[place] for place in range(len(self.classes))))

    def strata(self, target: Sequence[Box]) -> Iterable[Hashable]:
        return vocabulary.rarest_first({box[0] for box in target}, self.counts) or (-1,)

    def present(self, target: Sequence[Box]) -> Sequence[str]:
        return [self.classes[box[0]] for box in target]

    def collate(self, targets: Sequence[Sequence[Box] | None]) -> list[dict[str, Tensor]]:
        import torch

        return [
            {
                "boxes": torch.tensor([box[1:5] for box in its or ()], dtype=torch.float32).reshape(-1, 4),
                "labels": torch.tensor([box[0] for box in its or ()], dtype=torch.int64),
                "crowd": torch.tensor([box[5] for box in its or ()], dtype=torch.bool),
            }
            for its in targets
        ]

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        """Return what evaluation states as the loss, `boxloss.Missed`. Detectors have losses of their own, which need
        what lies before their boxes; this one needs the boxes alone, so that it is the same number for every
        detector, and for an exported file."""
        from hubft.tasks import boxloss, losses, matched

        if recipe is not None:
            losses.chosen(recipe, self.losses, self.kind)
            losses.refuse(recipe, self.kind, "smoothing", "class_weights")
            matched.require()
        return boxloss.Missed()

    def imitation(self, temperature: float) -> Loss:
        why = ": a detector cannot be distilled, its boxes have no order in which they could be compared; leave it out"
        raise JobError(Option("teacher"), why)

    def errors(self, outputs: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return one minus F1 of each sample: of boxes that are said, right from an overlap of a half on."""
        from hubft.tasks import boxloss

        return boxloss.errors(outputs, targets, self.threshold)

    @property
    def ignorance(self) -> float:
        return 1.0

    def constant(self) -> float:
        return 1.0

    def score(self, outputs: Tensor, targets: Any) -> Metrics:
        from hubft.tasks import boxed, boxloss

        return boxed.score(*boxloss.sides(outputs, targets), self.outputs, self._loss(outputs, targets))

    def measure(self, outputs: Tensor, targets: Any) -> Metrics:
        from hubft.tasks import boxed, boxloss

        loss = self._loss(outputs, targets)
        return boxed.measure(*boxloss.sides(outputs, targets), self.classes, loss, self.threshold)

    def statistic(self, outputs: Tensor, targets: Any) -> Statistic:
        from hubft.tasks import boxed, boxloss

        return boxed.headline(*boxloss.sides(outputs, targets), self.outputs)

    def tuned(self, outputs: Tensor, targets: Any) -> Self:
        from hubft.tasks import boxed, boxloss

        return replace(self, threshold=boxed.threshold(*boxloss.sides(outputs, targets), self.outputs))

    def _loss(self, outputs: Tensor, targets: Any) -> float:
        return float(self.criterion()(outputs, targets))

    def diagnosis(self, metrics: Metrics, targets: Any) -> Sequence[str]:
        return () if metrics.head.value > 0 else ("it finds no object where one is",)

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        from hubft.tasks import boxed

        return boxed.figures(metrics, self.classes, NOTHING)

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        table = Table.of_names("class", self.classes, metrics, ("average_precision", "average_precision_50"))
        more = zip(metrics.details["objects"], metrics.details["images"], strict=True)
        rows = [(*row, *its) for row, its in zip(table.rows, more, strict=True)]
        yield Table((*table.columns, "objects", "images"), rows)

    def agreement(self, outputs: Tensor, others: Tensor) -> Tensor:
        from hubft.tasks import boxloss

        return boxloss.agreement(outputs, others, self.threshold)

    def apart(self, outputs: Tensor, others: Tensor, largest: float) -> float:
        """Return the largest difference of a score, and of a corner as a share of the largest, between boxes that
        belong together, whatever their order: boxes of nearly equal scores change places by the last bits."""
        from hubft.tasks import boxloss

        return boxloss.apart(outputs, others, largest)

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        return [
            {
                "boxes": [
                    {"label": self.classes[min(int(place), len(self.classes) - 1)], "score": score, "box": corners}
                    for *corners, score, place in its
                    if score >= self.threshold
                ]
            }
            for its in outputs.tolist()
        ]

    def placed(self, said: Mapping[str, Any], frame: Any) -> dict[str, Any]:
        return {"boxes": [{**one, "box": [*frame.back(one["box"])]} for one in said["boxes"]]}

    def state(self, target: Sequence[Box] | None) -> dict[str, Any]:
        return {
            "boxes": [
                {"label": self.classes[place], "box": corners, **({"crowd": True} if crowd else {})}
                for place, *corners, crowd in target or ()
            ]
        }

    def words(self, said: Mapping[str, Any], top: int) -> str:
        found = self.shortened(said, top)["boxes"]
        parts = [f"{visible(one['label'], 24)} {one['score']:.2f} {_corners(one)}" for one in found[:LISTED]]
        more = [f"and {len(found) - LISTED} more"] if len(found) > LISTED else []
        return ", ".join([*parts, *more]) or "nothing"

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return self.shortened(said, top)

    def shortened(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        """Return the boxes of so many classes at most, those of the best scores."""
        known = list(dict.fromkeys(one["label"] for one in said["boxes"]))[:top]
        return {"boxes": [one for one in said["boxes"] if one["label"] in known]}

    def verdict(self, true: Mapping[str, Any], said: Mapping[str, Any], error: float) -> dict[str, Any]:
        return {**true, "predicted_boxes": said["boxes"], "error": error}


def _corners(one: Mapping[str, Any]) -> str:
    return f"[{' '.join(f'{corner:.0f}' for corner in one['box'])}]"
