"""A number, or several: learned in units of their deviation, given in the user's."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hubft.base.display import quoted, visible
from hubft.base.errors import DataError, JobError, Option, PackageError
from hubft.tasks import cells, vocabulary
from hubft.tasks.task import Column, Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.doubts import Doubt
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics

BINS = 10  # of equally many rows, that a split keeps even


@dataclass(frozen=True)
class Regression(Task):
    """Numbers, a column each.

    The headline is R2. It has no unit, so that a change of it means the same whatever is learned: the probe, early
    stopping, several heads and a sweep compare by it. MAE stands beside it, for people who think in the unit.
    """

    kind: ClassVar[str] = "regression"
    problem: ClassVar[str] = "regression"
    word: ClassVar[str] = "column"
    headline: ClassVar[str] = "r2"
    caption: ClassVar[str] = "What was predicted against what is true"
    pipeline: ClassVar[str] = "other"  # the Hub has no name for it
    losses: ClassVar[tuple[str, ...]] = ("mse", "l1", "huber")
    averages: ClassVar[str] = "plain"

    columns: tuple[str, ...]
    """Names, in the order of the outputs."""
    mean: tuple[float, ...] = ()
    """Of the training rows."""
    scale: tuple[float, ...] = ()
    """Their deviation."""
    standardised: bool = True
    """Whether the model's outputs are in units of the deviation; else they are in the user's unit."""
    edges: tuple[float, ...] = ()
    """Between bins of equally many rows, of the first column."""
    guess: float = 1.0
    """Mean of `errors` on the training rows where the mean is always said."""

    def __post_init__(self) -> None:
        if {len(self.mean), len(self.scale)} - {0, len(self.columns)} or any(scale <= 0 for scale in self.scale):
            raise PackageError(f"mean and scale of {len(self.columns)} columns must be a number each, scale above 0")

    @property
    def outputs(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns

    def claim(self) -> str:
        return "Gives a number for {one}" if self.outputs == 1 else f"Gives {self.outputs} numbers for {{one}}"

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        return (f"dict(zip({names}, logits[0].tolist()))",)

    def summary(self) -> str:
        return "with a number" if len(self.columns) == 1 else f"with {len(self.columns):,} numbers"

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        each = [[cells.quantity(value, column.name) for value in column.values] for column in columns]
        for column, values in zip(columns, each, strict=True):
            there = {value for value in values if value == value}
            if len(there) < 2:
                what = f"has one number only, {cells.short(min(there))}" if there else "has no number in any row"
                where = f"column {quoted(column.name)}"
                raise DataError(f"{where} {what}: there is nothing to learn; name another --target")
        first = sorted(value for value in each[0] if value == value)
        edges = sorted({first[len(first) * cut // BINS] for cut in range(1, BINS)})
        return cls(vocabulary.headers(columns), edges=tuple(edges))

    def encode(self, values: Sequence[Any]) -> tuple[float, ...] | None:
        pairs = zip(self.columns, values, strict=True)
        target = tuple(cells.quantity(value, column) for column, value in pairs)
        return None if all(map(math.isnan, target)) else target

    def settled(self, targets: Sequence[tuple[float, ...]]) -> Self:
        mean, scale, errors = [], [], []
        for place, column in enumerate(self.columns):
            there = [target[place] for target in targets if target[place] == target[place]]
            middle, deviation = cells.spread(there, column)
            mean.append(middle)
            scale.append(deviation)
            errors += [min(1.0, ((value - middle) / deviation) ** 2) for value in there]
        guess = math.fsum(errors) / len(errors)
        return replace(self, mean=tuple(mean), scale=tuple(scale), standardised=True, guess=guess)

    def strata(self, target: tuple[float, ...]) -> Iterable[Hashable]:
        return (-1,) if math.isnan(target[0]) else (bisect_right(self.edges, target[0]),)

    def numbers(self, target: tuple[float, ...]) -> Mapping[str, float]:
        return {name: value for name, value in self.state(target).items() if value is not None}

    def absent(self, targets: Iterable[tuple[float, ...]]) -> Sequence[str]:
        return ()

    def doubted(self, outputs: Tensor, targets: Tensor) -> list[Doubt]:
        from hubft.tasks import doubts

        return doubts.of_numbers(self.shares(outputs), targets, self.columns)

    def collate(self, targets: Sequence[tuple[float, ...] | None]) -> Tensor:
        """Return targets in the user's unit, whatever the outputs are in."""
        import torch

        gap = (math.nan,) * self.outputs
        return torch.tensor([gap if target is None else target for target in targets], dtype=torch.float32)

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        """Return the loss of numbers in units of the deviation."""
        from hubft.tasks import losses

        name = self.losses[0]
        if recipe is not None:
            losses.refuse(recipe, self.kind, "smoothing", "class_weights")
            name = losses.chosen(recipe, self.losses, self.kind)
        each = {"mse": losses.mse, "l1": losses.l1, "huber": losses.huber}[name]
        return losses.Scaled(each, *self._units, self.standardised)

    def imitation(self, temperature: float) -> Loss:
        """Return the mean square of what is missed of the teacher's numbers, in units of the deviation."""
        from hubft.tasks import losses

        if temperature:
            raise JobError(Option("temperature"), f" {temperature:g}: numbers have none; leave it out")
        return losses.Scaled(losses.mse, *self._units, self.standardised)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the numbers in the user's unit: the deviation of a teacher's own training rows may be another."""
        mean, scale = (unit.to(outputs.device) for unit in self._units)
        return outputs * scale + mean if self.standardised else outputs

    @property
    def _units(self) -> tuple[Tensor, Tensor]:
        import torch

        width = self.outputs
        return torch.tensor(self.mean or (0.0,) * width), torch.tensor(self.scale or (1.0,) * width)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error in units of the deviation, 1 at most, as a mean over the columns that are known."""
        from hubft.tasks import losses

        each = losses.Scaled(losses.mse, *self._units, self.standardised)
        wrong, known = each.losses(outputs, targets).nan_to_num(1.0).clamp(max=1.0), each.weights(targets)
        return ((wrong * known).sum(1) / known.sum(1).clamp(min=1)).float()

    def ridge(self, targets: Tensor) -> Tensor:
        mean, scale = (unit.to(targets.device) for unit in self._units)
        return (targets - mean) / scale if self.standardised else targets

    @property
    def ignorance(self) -> float:
        return 1.0

    def constant(self) -> float:
        return self.guess

    def shares(self, outputs: Tensor) -> Tensor:
        mean, scale = (unit.to(outputs) for unit in self._units)
        return outputs * scale + mean if self.standardised else outputs

    def agreement(self, outputs: Tensor, others: Tensor) -> Tensor:
        apart = (self.shares(outputs) - self.shares(others)).abs() / self._units[1].to(outputs)
        return (1 - apart.mean(1)).clamp(min=0).float()  # in units of the deviation

    def _told(self, outputs: Tensor) -> Any:
        return self.shares(outputs.cpu().double()).numpy()

    def _loss(self, outputs: Tensor, targets: Tensor) -> float:
        return float(self.criterion()(outputs, targets))

    def score(self, outputs: Tensor, targets: Tensor) -> Metrics:
        from hubft.tasks import regressed

        return regressed.score(targets.double().numpy(), self._told(outputs), self._loss(outputs, targets))

    def measure(self, outputs: Tensor, targets: Tensor) -> Metrics:
        from hubft.tasks import regressed

        told, loss = self._told(outputs), self._loss(outputs, targets)
        return regressed.measure(targets.double().numpy(), told, loss, self.columns)

    def diagnosis(self, metrics: Metrics, targets: Tensor) -> Sequence[str]:
        if metrics.head.value > 0:
            return ()
        if len(self.columns) == 1:
            return (f"it is no better than always saying the mean, {cells.short(self.mean[0])}",)
        means = self.words(dict(zip(self.columns, self.mean, strict=True)), 1)
        return (f"it is no better than always saying the means, {means}",)

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        from hubft.tasks import pictures

        return {"prediction.png": pictures.scatter(dict(zip(self.columns, metrics.details["points"], strict=True)))}

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        from hubft.tasks.metrics import Measured

        if len(self.columns) > 1:
            names = ("r2", "rmse", "mae", "spearman")
            found = metrics.details["by_column"]
            rows = [(one["column"], *(one[name] and Measured(**one[name]) for name in names)) for one in found]
            yield Table(("column", *names), rows)

    def folded(self, weight: Tensor, bias: Tensor) -> Self:
        from hubft.tasks import regressed

        if self.standardised:
            mean, scale = (unit.double() for unit in self._units)
            regressed.write(weight, weight.detach().cpu().double() * regressed.rows(scale, weight))
            regressed.write(bias, bias.detach().cpu().double() * scale + mean)
        return replace(self, standardised=False)

    def unfolded(self, weight: Tensor, bias: Tensor) -> Self:
        from hubft.tasks import regressed

        if not self.standardised:
            mean, scale = (unit.double() for unit in self._units)
            regressed.write(weight, weight.detach().cpu().double() / regressed.rows(scale, weight))
            regressed.write(bias, (bias.detach().cpu().double() - mean) / scale)
        return replace(self, standardised=True)

    def after(self, parent: Task) -> Self:
        return replace(self, mean=getattr(parent, "mean", self.mean), scale=getattr(parent, "scale", self.scale))

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        rows = self._told(outputs).tolist()
        return [{name: float(f"{value:.7g}") for name, value in zip(self.columns, row, strict=True)} for row in rows]

    def state(self, target: tuple[float, ...] | None) -> dict[str, Any]:
        values = target or (math.nan,) * self.outputs
        return {name: None if math.isnan(value) else value for name, value in zip(self.columns, values, strict=True)}

    def words(self, said: Mapping[str, Any], top: int) -> str:
        return ", ".join(f"{visible(name, 24)} {cells.short(said[name])}" for name in self.columns)

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return {name: said[name] for name in self.columns}
