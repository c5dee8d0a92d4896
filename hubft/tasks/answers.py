"""What a task says of a model's outputs: to people, in tables, and beside those of another model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.tasks.doubts import Doubt


class Answers(Protocol):
    """The part of a task that reads outputs, and says in words what targets are."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs, in order: each once, and each can be shown."""
        ...

    def present(self, target: Any) -> Sequence[str]:
        """Return the names that a target has: its class, its labels, the class of each of its objects or words."""
        return ()

    def numbers(self, target: Any) -> Mapping[str, float]:
        """Return the numbers that a target states, by the names of their columns."""
        return {}

    def absent(self, targets: Iterable[Any]) -> Sequence[str]:
        """Return the names of which these targets have none."""
        seen = {name for target in targets for name in self.present(target)}
        return [name for name in self.names if name not in seen]

    def doubted(self, outputs: Tensor, targets: Any) -> list[Doubt]:
        """Return the labels that are suspicious, the most suspicious first; none where that has no meaning.

        Those that are not `counted` come last.

        :param outputs: float32 `[n, outputs]`, of models that never saw the sample.
        :param targets: as the task collates them.
        """
        return []

    averages: ClassVar[str] = ""
    """What of outputs is averaged where several answer: `softmax` or `sigmoid` of them, or `plain` numbers; empty where
    answers have no mean, and of several heads, each of which says so itself (`hubft.tasks.averaged`)."""

    def shares(self, outputs: Tensor) -> Tensor:
        """Return what stands for outputs outside: probabilities, or numbers in the user's unit; `[n, outputs]`.

        Tensor operations alone: a file that is exported may hold them.
        """
        return outputs

    def agreement(self, outputs: Tensor, others: Tensor) -> Tensor:
        """Return how far two models say the same of each sample, float32 `[n]`, 1 where they do."""
        return (1 - (self.shares(outputs) - self.shares(others)).abs().amax(1)).clamp(min=0)

    def apart(self, outputs: Tensor, others: Tensor, largest: float) -> float:
        """Return how far the outputs of a model lie from those that it must give, as a share of `largest`; NaN where
        one is NaN.

        :param outputs: float32 `[n, ...]`, as `others`, those that it must give.
        :param largest: of all that it must give, without signs, or 1 where all are smaller.
        """
        return float((outputs - others).abs().max()) / largest

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        """Return what `predict` says of each row of outputs float32 `[n, outputs]`, JSON types."""
        ...

    def placed(self, said: Mapping[str, Any], frame: Any) -> dict[str, Any]:
        """Return what `decode` said of a sample in places of that sample, not of the input it was made.

        :param frame: where the sample lies in the input, as its modality has it.
        """
        return dict(said)

    def state(self, target: Any) -> dict[str, Any]:
        """Return an encoded target in the words of `decode`, for a table of predictions."""
        ...

    def words(self, said: Mapping[str, Any], top: int) -> str:
        """Return what `decode` said of a sample as a line for people.

        :param top: how many classes to name at most, where they have an order.
        """
        ...

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        """Return what `decode` said of a sample as the cells of a table: column -> text or number, the same columns
        for every sample."""
        ...

    def shortened(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        """Return what `decode` said with so many names at most."""
        return dict(said)

    def verdict(self, true: Mapping[str, Any], said: Mapping[str, Any], error: float) -> dict[str, Any]:
        """Return a labelled sample as a row of a table: what it is, what it was taken for, how wrong that is."""
        return {**true, **{f"predicted_{name}": cell for name, cell in self.cells(said, 1).items()}, "error": error}
