"""The text that follows: a language model says each token by those before it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hubft.base.display import listed
from hubft.base.errors import DataError
from hubft.tasks.metrics import number
from hubft.tasks.task import Column, Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics, Statistic


@dataclass(frozen=True)
class Generation(Task):
    """Documents that go on: what is learned of each, its own tokens say, so that a row has no label beside it.

    A model gives logits `[n, tokens, vocabulary]` by its own head. Of a batch evaluation keeps `[n, 4]`
    (`hubft.tasks.following.KEPT`), which is what `outputs` are wherever something is measured; targets are a list of
    what follows each token, int64 `[tokens]` a document.
    """

    kind: ClassVar[str] = "generation"
    word: ClassVar[str] = "token"
    headline: ClassVar[str] = "perplexity"
    pipeline: ClassVar[str] = "text-generation"
    caption: ClassVar[str] = "Loss per token of held-out documents"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy",)
    writes: ClassVar[bool] = True
    ranks: ClassVar[bool] = False

    vocabulary: int = 0
    """How many tokens the model knows."""

    @property
    def outputs(self) -> int:
        return 0

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (-1, self.vocabulary or -1)

    def sized(self, shape: Sequence[int]) -> Self:
        return replace(self, vocabulary=shape[-1])

    def claim(self) -> str:
        return "Continues {many}"

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        return ("model.preprocess.decode(written)",)

    def summary(self) -> str:
        return "to be continued"

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        if columns:
            named = listed([column.name for column in columns])
            raise DataError(
                f"--task generation learns what follows in documents, and these samples have labels, {named}: give a "
                "table with columns prompt and completion, messages, or text, to a model of the family transformers"
            )
        return cls()

    def encode(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return ()

    def settled(self, targets: Sequence[Any]) -> Self:
        return self

    def strata(self, target: Any) -> Iterable[Hashable]:
        return (-1,)

    def collate(self, targets: Sequence[Any]) -> list[Any]:
        return list(targets)

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        from hubft.tasks import following, losses

        if recipe is not None:
            losses.refuse(recipe, self.kind, "smoothing", "class_weights")
            losses.chosen(recipe, self.losses, self.kind)
        return following.Following()

    def kept(self, outputs: Tensor, targets: Any) -> Tensor:
        from hubft.tasks import following

        return following.kept(outputs, targets)

    def errors(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the share of the learned tokens that are not the likeliest by the model; 0 where there is none."""
        return 1 - (outputs[:, 2] / outputs[:, 1].clamp(min=1)).where(outputs[:, 1] > 0, 1.0)

    @property
    def ignorance(self) -> float:
        return math.log(self.vocabulary) if self.vocabulary else math.inf

    def constant(self) -> float:
        return 1.0

    def score(self, outputs: Tensor, targets: Any) -> Metrics:
        from hubft.tasks import generated

        return generated.score(outputs.double().numpy())

    def measure(self, outputs: Tensor, targets: Any) -> Metrics:
        from hubft.tasks import generated

        return generated.measure(outputs.double().numpy())

    def further(self, outputs: Tensor, targets: Any) -> Mapping[str, Statistic]:
        from hubft.tasks import generated

        return generated.further(outputs.double().numpy())

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        from hubft.tasks import pictures

        return {"loss.png": pictures.histogram(metrics.details["points"], "loss per token, nats", "documents")}

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        return ()

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        return [
            {
                "tokens": int(tokens),
                "loss_per_token": loss / max(1.0, tokens),
                "token_accuracy": hits / max(1.0, tokens),
                "exact": bool(hits == tokens),
                "chosen": None if chosen < 0 else bool(chosen),
            }
            for loss, tokens, hits, chosen in outputs.double().tolist()
        ]

    def state(self, target: Any) -> dict[str, Any]:
        return {}

    def words(self, said: Mapping[str, Any], top: int) -> str:
        return f"loss per token {number(said['loss_per_token'])}, {said['tokens']:,} tokens"

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return dict(said)

    def verdict(self, true: Mapping[str, Any], said: Mapping[str, Any], error: float) -> dict[str, Any]:
        return {**said, "error": error}
