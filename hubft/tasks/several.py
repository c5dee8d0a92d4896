"""Several tasks at once: one backbone, and the outputs of their heads side by side."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hubft.base.display import quoted, visible
from hubft.base.errors import DataError, PackageError
from hubft.tasks import columnwise, naming
from hubft.tasks.kinds import plain, read
from hubft.tasks.task import Column, Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.doubts import Doubt
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics


@dataclass(frozen=True)
class Several(Task):
    """A task for each of several columns."""

    kind: ClassVar[str] = "several"
    problem: ClassVar[str] = ""
    word: ClassVar[str] = "output"
    headline: ClassVar[str] = "mean_of_heads"

    columns: tuple[str, ...]
    """Names of the heads, in the order of their outputs."""
    heads: tuple[Any, ...]
    """Their tasks as plain data, see `task.plain`."""

    def __post_init__(self) -> None:
        if len(self.columns) != len(self.heads) or len(set(self.columns)) < len(self.columns) or len(self.columns) < 2:
            raise PackageError(f"a task of several heads must name each once: {len(self.heads)} heads, {self.columns}")
        if any(task.kind == self.kind for task in self.tasks.values()):
            raise PackageError("a head of several cannot have several heads itself")
        object.__setattr__(self, "heads", tuple(map(plain, self.tasks.values())))  # the same, wherever it came from

    @classmethod
    def of(cls, tasks: Mapping[str, Task]) -> Self:
        """Return the task that joins these, by the names of their columns."""
        return cls(tuple(tasks), tuple(map(plain, tasks.values())))

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The task of each head."""
        return dict(zip(self.columns, map(read, self.heads), strict=True))

    @cached_property
    def places(self) -> dict[str, slice]:
        """Columns of each head among the outputs."""
        ends = accumulate((task.outputs for task in self.tasks.values()), initial=0)
        return dict(zip(self.columns, (slice(*pair) for pair in pairwise(ends)), strict=True))

    @property
    def outputs(self) -> int:
        return sum(task.outputs for task in self.tasks.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(full for name, task in self.tasks.items() for full in naming.full_names(name, task))

    @property
    def tunes(self) -> bool:
        return any(task.tunes for task in self.tasks.values())

    def claim(self) -> str:
        return f"Answers {len(self.columns)} questions about {{one}}"

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        lines = []
        for name, task in self.tasks.items():
            place = self.places[name]
            part = f"{place.start}:{place.stop}"
            own = task.lines(f"{names}[{part}]")
            lines += [f"# {visible(name)}", *(line.replace("logits", f"logits[:, {part}]") for line in own)]
        return lines

    def summary(self) -> str:
        heads = ", ".join(f"{visible(name, 24)} ({task.summary()})" for name, task in self.tasks.items())
        return f"with {len(self.columns):,} heads: {heads}"

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        return cls.of(columnwise.fitted(columns, labels))

    def encode(self, values: Sequence[Any]) -> tuple[Any, ...] | None:
        target = []
        for (name, task), value in zip(self.tasks.items(), values, strict=True):
            try:
                target.append(task.encode((value,)))
            except DataError as error:
                if task.kind == "regression":  # which names the column itself
                    raise
                raise DataError(f"column {quoted(name)}: {error}") from error
        return None if all(one is None for one in target) else tuple(target)

    def settled(self, targets: Sequence[tuple[Any, ...]]) -> Self:
        tasks = {}
        for place, (name, task) in enumerate(self.tasks.items()):
            there = [target[place] for target in targets if target[place] is not None]
            if not there:
                raise DataError(f"column {quoted(name)} says nothing in any row to train on: leave it out")
            tasks[name] = task.settled(there)
        return self.of(tasks)

    def strata(self, target: tuple[Any, ...]) -> Iterable[Hashable]:
        ranked: list[tuple[float, int, Any]] = []
        for place, (task, one) in enumerate(zip(self.tasks.values(), target, strict=True)):
            counts = getattr(task, "counts", ())  # a number is of a bin, and there are as many in each
            for key in () if one is None else task.strata(one):
                known = isinstance(key, int) and 0 <= key < len(counts)
                ranked.append((counts[key] if known else float("inf"), place, key))  # type: ignore[call-overload]
        return [(place, key) for _, place, key in sorted(ranked)]

    def present(self, target: tuple[Any, ...]) -> Sequence[str]:
        each = zip(self.tasks.items(), target, strict=True)
        return [f"{name}: {its}" for (name, task), one in each if one is not None for its in task.present(one)]

    def numbers(self, target: tuple[Any, ...]) -> Mapping[str, float]:
        known = [(task, one) for task, one in zip(self.tasks.values(), target, strict=True) if one is not None]
        return {name: its for task, one in known for name, its in task.numbers(one).items()}

    def doubted(self, outputs: Tensor, targets: Any) -> list[Doubt]:
        from hubft.tasks import doubts

        return doubts.of_heads(self.tasks, self.places, outputs, targets)

    def absent(self, targets: Iterable[tuple[Any, ...]]) -> Sequence[str]:
        known, missing = list(targets), []
        for place, (name, task) in enumerate(self.tasks.items()):
            there = [target[place] for target in known if target[place] is not None]
            missing += [f"{name}: {one}" for one in task.absent(there)]
        return missing

    def collate(self, targets: Sequence[tuple[Any, ...] | None]) -> dict[str, Any]:
        each = enumerate(self.tasks.items())
        return {name: task.collate([one and one[place] for one in targets]) for place, (name, task) in each}

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        """Return the sum of the heads' losses, each with its weight, or weighted by their uncertainty."""
        from hubft.tasks import joined

        return joined.criterion(self.tasks, self.places, self.names, recipe)

    def like(self, other: Task) -> bool:
        its = getattr(other, "tasks", {})
        return super().like(other) and all(name in its and task.like(its[name]) for name, task in self.tasks.items())

    def imitation(self, temperature: float) -> Loss:
        from hubft.tasks import joined

        return joined.imitation(self.tasks, self.places, temperature)

    def answers(self, outputs: Tensor) -> dict[str, Any]:
        return {name: task.answers(outputs[:, self.places[name]]) for name, task in self.tasks.items()}

    def errors(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the mean over the heads of which a sample has a label."""
        from hubft.tasks import joined

        return joined.errors(self.tasks, self.places, outputs, targets)

    @property
    def ignorance(self) -> float:
        return sum(task.ignorance for task in self.tasks.values())

    def constant(self) -> float:
        return sum(task.constant() for task in self.tasks.values()) / len(self.tasks)

    def _parts(self, outputs: Tensor, targets: Any) -> Iterator[tuple[str, Task, Tensor, Any]]:
        from hubft.tasks.joined import parts

        return parts(self.tasks, self.places, outputs, targets)

    def score(self, outputs: Tensor, targets: Any) -> Metrics:
        reached = {name: task.score(*part) for name, task, *part in self._parts(outputs, targets)}
        return self._joined(reached, outputs, targets)

    def measure(self, outputs: Tensor, targets: Any) -> Metrics:
        reached = {name: task.measure(*part) for name, task, *part in self._parts(outputs, targets)}
        return self._joined(reached, outputs, targets)

    def _joined(self, reached: Mapping[str, Metrics], outputs: Tensor, targets: Any) -> Metrics:
        from hubft.tasks import joined

        return joined.metrics(self.headline, reached, float(self.criterion()(outputs, targets)))

    def diagnosis(self, metrics: Metrics, targets: Any) -> Sequence[str]:
        from hubft.tasks import joined

        return joined.diagnosis(self.tasks, metrics, targets)

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        from hubft.tasks import joined

        return joined.figures(self.tasks, metrics)

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        from hubft.tasks import joined

        return joined.tables(self.tasks, metrics)

    def tuned(self, outputs: Tensor, targets: Any) -> Self:
        parts = self._parts(outputs, targets)
        return self.of(self.tasks | {name: task.tuned(*part) for name, task, *part in parts})

    def folded(self, weight: Tensor, bias: Tensor) -> Self:
        return self.of({name: task.folded(*self._rows(name, weight, bias)) for name, task in self.tasks.items()})

    def unfolded(self, weight: Tensor, bias: Tensor) -> Self:
        return self.of({name: task.unfolded(*self._rows(name, weight, bias)) for name, task in self.tasks.items()})

    def after(self, parent: Task) -> Self:
        theirs = getattr(parent, "tasks", self.tasks)
        return self.of({name: task.after(theirs[name]) for name, task in self.tasks.items()})

    def _rows(self, name: str, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight.detach()[self.places[name]], bias.detach()[self.places[name]]

    def shares(self, outputs: Tensor) -> Tensor:
        from hubft.tasks import joined

        return joined.shares(self.tasks, self.places, outputs)

    def agreement(self, outputs: Tensor, others: Tensor) -> Tensor:
        from hubft.tasks import joined

        return joined.agreement(self.tasks, self.places, outputs, others)

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        each = [task.decode(outputs[:, self.places[name]]) for name, task in self.tasks.items()]
        return [dict(zip(self.columns, said, strict=True)) for said in zip(*each, strict=True)]

    def state(self, target: tuple[Any, ...] | None) -> dict[str, Any]:
        pairs = zip(self.tasks.items(), target or [None] * len(self.columns), strict=True)
        return {name: task.state(one) for (name, task), one in pairs}

    def shortened(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return {name: task.shortened(said[name], top) for name, task in self.tasks.items()}

    def words(self, said: Mapping[str, Any], top: int) -> str:
        each = {name: task.words(said[name], top) for name, task in self.tasks.items()}
        return "; ".join(t if naming.alone(n, self.tasks[n]) else f"{visible(n, 24)} {t}" for n, t in each.items())

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, task in self.tasks.items():
            own = task.cells(said[name], top)
            row |= own if naming.alone(name, task) else {f"{name}_{column}": value for column, value in own.items()}
        return row
