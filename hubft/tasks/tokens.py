"""A tag for each word of a sentence: names, places and other spans, or parts of speech."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hubft.base.display import quoted, visible
from hubft.base.errors import DataError
from hubft.tasks import spans, vocabulary
from hubft.tasks.task import Column, Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics, Statistic
    from hubft.tasks.tagged import Counted


@dataclass(frozen=True)
class Tokens(Task):
    """Words with a tag each.

    A model gives logits `[n, tokens, tags]`. Targets are a list of the tags of a sentence, int64 `[tokens]`: that of
    each word at its first token, `hubft.tasks.losses.MISSING` elsewhere. Of a batch evaluation keeps the logits of the
    words, `[n, words, tags]`, filled up with `hubft.base.batches.EMPTY`, which is what `outputs` are wherever something
    is measured.
    """

    kind: ClassVar[str] = "tokens"
    word: ClassVar[str] = "tag"
    headline: ClassVar[str] = "f1"
    pipeline: ClassVar[str] = "token-classification"
    caption: ClassVar[str] = "F1 of each label"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy",)
    located: ClassVar[bool] = True
    ranks: ClassVar[bool] = False

    tags: tuple[str, ...]
    """Names, in the order of the outputs."""
    counts: tuple[int, ...] = ()
    """Words of each tag in training rows."""

    @property
    def outputs(self) -> int:
        return len(self.tags)

    @property
    def names(self) -> tuple[str, ...]:
        return self.tags

    @property
    def shape(self) -> tuple[int, ...]:
        return (-1, len(self.tags))

    @cached_property
    def positions(self) -> dict[str, int]:
        """Output of each tag."""
        return {name: place for place, name in enumerate(self.tags)}

    def claim(self) -> str:
        return f"Gives each word of {{many}} one of {len(self.tags)} tags"

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        return (f"[{names}[i] for i in logits[0].argmax(-1).tolist()]  # of each token: a word has that of its first",)

    def summary(self) -> str:
        return f"with {len(self.tags):,} tags of words"

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        (column,) = columns
        if not all(isinstance(value, list | tuple) for value in column.values):
            raise DataError(
                f"--task tokens learns a tag for each word, and column {quoted(column.name)} holds no lists of tags: "
                "give a table with columns tokens and tags, which are lists, to a model of the family transformers"
            )
        found = [vocabulary.name(tag) for value in column.values for tag in value]
        return cls(vocabulary.of(column, found, "tag"))

    def encode(self, values: Sequence[Any]) -> tuple[int, ...]:
        found = [vocabulary.index(tag, self.tags, self.positions, "tag") for tag in values[0] or ()]
        if not found or None in found:
            raise DataError("a word has no tag")
        return tuple(place for place in found if place is not None)

    def settled(self, targets: Sequence[Sequence[int]]) -> Self:
        counts = Counter(tag for its in targets for tag in its)
        return replace(self, counts=tuple(counts[place] for place in range(len(self.tags))))

    def strata(self, target: Sequence[int]) -> Iterable[Hashable]:
        return vocabulary.rarest_first(set(target), self.counts)

    def present(self, target: Sequence[int]) -> Sequence[str]:
        return [self.tags[place] for place in target]

    def collate(self, targets: Sequence[Any]) -> list[Any]:
        return list(targets)

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        """Return the cross entropy of the words, a mean over all of a step, as of tokens that follow."""
        from hubft.tasks import following, losses

        if recipe is not None:
            losses.refuse(recipe, self.kind, "smoothing", "class_weights")
            losses.chosen(recipe, self.losses, self.kind)
        return following.Following()

    def kept(self, outputs: Tensor, targets: Any) -> list[Tensor]:
        return [logits[: len(tags)][tags] for logits, tags in zip(outputs, self._there(targets), strict=True)]

    def errors(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the share of the words that have a wrong tag; 0 where there is none."""
        import torch

        sides = zip(self._said(outputs), self._true(targets), strict=True)
        return torch.tensor([sum(map(int.__ne__, *side)) / max(1, len(side[0])) for side in sides])

    @property
    def ignorance(self) -> float:
        return math.log(len(self.tags))

    def constant(self) -> float:
        return 1 - max(self.counts, default=0) / max(1, sum(self.counts))

    def score(self, outputs: Tensor, targets: Any) -> Metrics:
        from hubft.tasks import tagged

        return tagged.score(self._counted(outputs, targets), self._loss(outputs, targets))

    def statistic(self, outputs: Tensor, targets: Any) -> Statistic:
        return self._counted(outputs, targets).headline()

    def measure(self, outputs: Tensor, targets: Any) -> Metrics:
        from hubft.tasks import tagged

        return tagged.measure(self._counted(outputs, targets), self._loss(outputs, targets))

    def diagnosis(self, metrics: Metrics, targets: Any) -> Sequence[str]:
        return () if metrics.head.value > 0 else ("no span that it says is right",)

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        from hubft.tasks import pictures

        found = metrics.details
        return {"f1.png": pictures.bars(found["f1_of_labels"], found["labels"], found["found"], "F1")}

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        columns = {name: f"{name}_of_labels" for name in ("f1", "precision", "recall")}
        table = Table.of_names("label", metrics.details["labels"], metrics, tuple(columns.values()))
        rows = [(*row, count) for row, count in zip(table.rows, metrics.details["found"], strict=True)]
        yield Table(("label", *columns, "found"), rows)

    def agreement(self, outputs: Tensor, others: Tensor) -> Tensor:
        import torch

        sides = zip(self._said(outputs), self._said(others), strict=True)
        return torch.tensor([sum(map(int.__eq__, *side)) / max(1, len(side[0])) for side in sides])

    def shares(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(-1)

    # ---- outputs and targets, word by word ----

    def _there(self, targets: Any) -> list[Tensor]:
        from hubft.tasks.losses import MISSING

        return [tags != MISSING for tags in targets]

    def _true(self, targets: Any) -> list[list[int]]:
        return [tags[there].tolist() for tags, there in zip(targets, self._there(targets), strict=True)]

    def _said(self, outputs: Tensor) -> list[list[int]]:
        return [its.argmax(1).tolist() for its in _filled(outputs)]

    def _counted(self, outputs: Tensor, targets: Any) -> Counted:
        from hubft.tasks import tagged

        return tagged.Counted(self._true(targets), self._said(outputs), self.tags)

    def _loss(self, outputs: Tensor, targets: Any) -> float:
        words = [tags[there] for tags, there in zip(targets, self._there(targets), strict=True)]
        return float(self.criterion()(outputs, words))

    # ---- answers ----

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        found = []
        for its in _filled(outputs):
            scores, places = its.softmax(1).max(1)
            found.append({"tags": [self.tags[place] for place in places.tolist()], "scores": scores.tolist()})
        return found

    def placed(self, said: Mapping[str, Any], frame: Any) -> dict[str, Any]:
        """Return the words of a sentence with their tags, and its spans.

        :param said: of each token, or of each word that has one.
        :param frame: its `words`, their `places` in its text, and the first token of each, `starts`.
        """
        known = [*frame.starts]
        picked = [*frame.starts.values()] if len(said["tags"]) != len(known) else range(len(known))
        tags, scores = ([said[name][place] for place in picked] for name in ("tags", "scores"))
        spanned = (spans.of if spans.are(self.tags) else spans.single)(tags)
        its = []
        for label, first, behind in spanned:
            ends = known[first], known[behind - 1]
            its.append(
                {
                    "label": label,
                    "score": sum(scores[first:behind]) / (behind - first),
                    "text": " ".join(frame.words[ends[0] : ends[1] + 1]),
                    "start": frame.places[ends[0]][0],
                    "end": frame.places[ends[1]][1],
                }
            )
        whole = dict(zip(known, tags, strict=True))
        every = [whole.get(place) for place in range(len(frame.words))]
        return {"spans": its, "words": [*frame.words], "tags": every}

    def state(self, target: Sequence[int]) -> dict[str, Any]:
        return {"tags": [self.tags[place] for place in target]}

    def words(self, said: Mapping[str, Any], top: int) -> str:
        found = [
            f"{visible(one['label'], 24)} {one['score']:.2f} {visible(one['text'], 60)} [{one['start']}:{one['end']}]"
            for one in said["spans"]
        ]
        return ", ".join(found) or "nothing"

    def cells(self, said: Mapping[str, Any], top: int) -> dict[str, Any]:
        return {"spans": said.get("spans", []), "tags": said["tags"]}

    def verdict(self, true: Mapping[str, Any], said: Mapping[str, Any], error: float) -> dict[str, Any]:
        return {**true, "predicted_tags": said["tags"], "spans": said.get("spans", []), "error": error}


def _filled(outputs: Tensor) -> list[Tensor]:
    """Return the logits of each sentence, `[words, tags]`, without what fills up."""
    from hubft.base.batches import EMPTY

    return [its[its[:, 0] > EMPTY] for its in outputs]
