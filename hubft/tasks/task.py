"""What a task is: what labels mean, as plain data, and what follows from that."""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from hubft.base.errors import PackageError, suggest
from hubft.base.serialize import from_dict, to_dict

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from hubft.job import Labels, Recipe
    from hubft.tasks.metrics import Metrics

KINDS = {
    "classification": "Classification",
    "multilabel": "Multilabel",
    "regression": "Regression",
    "several": "Several",
}
"""Kind of a task -> its class, in the file of that name. A new task is a file and a line here."""

Probed = Literal["logistic", "sigmoid", "ridge"]
"""How a head is solved: by L-BFGS on the task's loss, or in closed form."""


@dataclass(frozen=True)
class Column:
    """A target column as the data states it."""

    name: str
    values: Sequence[Any]
    """A text or a JSON type for each row; None for a gap."""
    names: tuple[str, ...] = ()
    """Of its classes in order, where the data says them."""


class Task(Protocol):
    """What labels mean: a frozen dataclass of JSON types, which a package states as its `task`.

    What computes imports torch when it is called: data is read, and refused, before torch is imported.
    """

    kind: ClassVar[str]
    pipeline: ClassVar[str] = "image-classification"
    """`pipeline_tag` of the Hugging Face Hub for images."""
    mixes: ClassVar[bool] = False
    """Whether Mixup and CutMix have a meaning: targets may be class probabilities."""

    @property
    def outputs(self) -> int:
        """How many numbers the head gives."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs, in order: each once, and each can be shown."""
        ...

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        """Return the task that these columns state, of all rows that have a label.

        :param labels: what the user said of them.
        :raises DataError: they cannot be of this task; says why, and what to type.
        """
        ...

    def encode(self, values: Sequence[Any]) -> Any:
        """Return a row's target as plain Python: an int, a tuple of floats, ...; None where it has no label at all.

        :raises DataError: a value that is none of this task; says what is known.
        """
        ...

    def settled(self, targets: Sequence[Any]) -> Self:
        """Return the task with what the training rows tell: how many there are of each class, a mean, a scale."""
        ...

    def collate(self, targets: Sequence[Any]) -> Any:
        """Return encoded targets as a tree of tensors with a row for each sample."""
        ...

    def strata(self, target: Any) -> Iterable[Hashable]:
        """Return what a split keeps even: the strata that a sample is of."""
        ...

    def criterion(self, recipe: Recipe | None = None) -> nn.Module:
        """Return the loss, called as `criterion(outputs, targets)`: a mean over the labels that are there.

        :param recipe: of training; without one it is what evaluation measures.
        """
        ...

    def measure(self, outputs: Tensor, targets: Any) -> Metrics:
        """Return what outputs float32 `[n, outputs]` reached on targets as `collate` makes them, both on the CPU."""
        ...

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        """Return what `predict` says of each row of outputs float32 `[n, outputs]`, JSON types."""
        ...

    def state(self, target: Any) -> dict[str, Any]:
        """Return an encoded target in the words of `decode`, for a table of predictions."""
        ...


def plain(task: Task) -> dict[str, Any]:
    """Return a task as JSON types; `read` is the reverse."""
    return {"kind": task.kind, **to_dict(task)}


def named(kind: str) -> type[Task]:
    """Return the class of a kind of task.

    :raises PackageError: there is none.
    """
    if kind not in KINDS:
        raise PackageError(f"task {kind!r} is none of {', '.join(KINDS)}.{suggest(kind, KINDS)}")
    found: type[Task] = getattr(importlib.import_module(f"hubft.tasks.{kind}"), KINDS[kind])
    return found


def read(data: Any) -> Task:
    """Return the task that plain data states.

    :raises PackageError: it states none.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise PackageError("a task must be an object with a kind")
    facts = {key: value for key, value in data.items() if key != "kind"}
    return from_dict(named(data["kind"]), facts, "task")
