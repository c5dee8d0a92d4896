"""Labels that do not fit what is said by a model that never saw them, by the library cleanlab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hubft.base.errors import JobError
from hubft.tasks import cells

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.tasks.task import Task

FAR = (
    3.5  # deviations beyond which a number is an outlier (Iglewicz and Hoaglin 1993, How to detect and handle outliers)
)
NORMAL = 0.6745  # median of the distance of a normal variable from its middle, in deviations


@dataclass(frozen=True)
class Doubt:
    """A label that is suspicious."""

    row: int
    """Of the sample among those that were judged."""
    label: str
    """As it is stated."""
    guess: str
    """What the other samples make of it."""
    score: float
    """How suspicious: one minus the probability of the label; of a number, how far it is off, in deviations."""
    column: str = ""
    """Of several labels, the one that is meant."""
    counted: bool = True
    """Whether it is among those that are taken for wrong; else another label is likelier, as of right ones too."""


def require() -> None:
    """Check that the library is there.

    :raises JobError: it is not; says how to get it.
    """
    try:
        import cleanlab  # noqa: F401  not at the top: it is an extra
    except ModuleNotFoundError as error:
        if error.name != "cleanlab":
            raise
        raise JobError("they need the library cleanlab: pip install 'hubft[labels]'") from error


def of_classes(shares: Tensor, labels: Tensor, names: Sequence[str]) -> list[Doubt]:
    """Return the labels than which another is likelier, the most suspicious first; those that confident learning takes
    for wrong are counted.

    How many are wrong is estimated from the samples that a class is said of more surely than of its own on average
    (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068); so many of the least probable ones are given. To choose
    them class by class, as cleanlab does by default, lost a tenth of the swapped labels (benchmarks/README.md).

    :param shares: probabilities `[n, classes]`, of a model that never saw the sample.
    :param labels: int64 `[n]`.
    :raises JobError: the library is not installed.
    """
    require()
    from cleanlab.filter import find_label_issues

    told, given = shares.double().cpu().numpy(), labels.cpu().numpy()
    if len(set(given.tolist())) < 2:
        return []
    ranked = {"filter_by": "low_self_confidence", "return_indices_ranked_by": "self_confidence"}
    found = find_label_issues(given, told, n_jobs=1, **ranked)
    best, own = told.argmax(1), told[range(len(given)), given]
    counted = dict.fromkeys(map(int, found))
    others = [row for row in map(int, own.argsort(kind="stable")) if row not in counted]
    return [
        Doubt(row, names[given[row]], names[best[row]], 1 - float(own[row]), counted=row in counted)
        for row in [*counted, *others]
        if best[row] != given[row]
    ]


def of_labels(shares: Tensor, targets: Tensor, names: Sequence[str]) -> list[Doubt]:
    """Return what `of_classes` counts of each of several labels by itself, where it is known.

    :param shares: probability of each label, `[n, labels]`.
    :param targets: 0, 1 or NaN, `[n, labels]`.
    """
    import torch

    found = []
    for place, name in enumerate(names):
        rows = (~targets[:, place].isnan()).nonzero().flatten()
        has = shares[rows, place]
        its = of_classes(torch.stack([1 - has, has], 1), targets[rows, place].long(), ("without", "with"))
        found += [replace(doubt, row=int(rows[doubt.row]), column=name) for doubt in its if doubt.counted]
    return sorted(found, key=lambda doubt: -doubt.score)


def of_numbers(said: Tensor, targets: Tensor, columns: Sequence[str]) -> list[Doubt]:
    """Return the numbers that lie far from what is said of them, FAR deviations or more, the farthest first.

    The deviation is that of what is missed, by its median, which a few wrong numbers do not move.

    :param said: `[n, columns]`, in the user's unit, as `targets`, NaN where one is missing.
    """
    found = []
    for place, name in enumerate(columns):
        rows = (~targets[:, place].isnan()).nonzero().flatten()
        missed = targets[rows, place].double() - said[rows, place].double()
        off = (missed - missed.median()).abs() if len(rows) else missed
        spread = float(off.median()) / NORMAL if len(rows) else 0.0
        for one in (off / spread >= FAR).nonzero().flatten().tolist() if spread > 0 else ():
            row = int(rows[one])
            true, guess = float(targets[row, place]), float(said[row, place])
            column = name if len(columns) > 1 else ""
            found.append(Doubt(row, cells.short(true), cells.short(guess), float(off[one]) / spread, column))
    return sorted(found, key=lambda doubt: -doubt.score)


def of_heads(tasks: Mapping[str, Task], places: Mapping[str, slice], outputs: Tensor, targets: Any) -> list[Doubt]:
    """Return the doubts of each of several heads, of the samples that have a label of it, head by head."""
    from hubft.tasks import joined

    found = []
    for name, task in tasks.items():
        rows = joined.there(task, targets[name]).nonzero().flatten()
        for doubt in task.doubted(outputs[rows][:, places[name]], targets[name][rows]):
            column = f"{name}: {doubt.column}" if doubt.column else name
            found.append(replace(doubt, row=int(rows[doubt.row]), column=column))
    return found
