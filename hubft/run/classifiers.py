"""Light classifiers on features of a frozen backbone: the probe, and those of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from hubft.base.bars import counted
from hubft.base.batches import take
from hubft.base.display import listed
from hubft.base.errors import JobError, suggest
from hubft.modality import Sample
from hubft.run.look import blank
from hubft.run.prepare import Prepared
from hubft.tasks import joined, paired
from hubft.tasks.metrics import Measured, Metrics
from hubft.tasks.several import Several
from hubft.tasks.task import Task
from hubft.train import probe

NEIGHBOURS = 15  # of k-NN, fewer where there are fewer samples; each counts by its nearness
LEAST = 1e-6  # of a probability, whose logarithm is an output
PROBES = ("logistic", "ridge")
NAMES = (*PROBES, "knn", "centroid", "boosting")

Array: TypeAlias = NDArray[Any]


def _knn(samples: int, numbers: bool) -> Any:
    from sklearn import neighbors

    made = neighbors.KNeighborsRegressor if numbers else neighbors.KNeighborsClassifier
    return made(min(NEIGHBOURS, samples), weights="distance", metric="cosine")


def _centroid(samples: int, numbers: bool) -> Any:
    from sklearn import neighbors

    return neighbors.NearestCentroid()


def _boosting(samples: int, numbers: bool) -> Any:
    from sklearn import ensemble

    made = ensemble.HistGradientBoostingRegressor if numbers else ensemble.HistGradientBoostingClassifier
    return made(random_state=0)


MADE = {"knn": _knn, "centroid": _centroid, "boosting": _boosting}


@dataclass(frozen=True)
class Fitted:
    """A classifier that was measured on validation samples."""

    name: str
    metrics: Metrics
    difference: Measured | None = None
    """Of its headline to the probe's on the same samples, with the interval of a paired bootstrap; None for it."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        difference = self.difference and asdict(self.difference)
        return {"name": self.name, "metrics": self.metrics.plain(), "difference": difference}


def asked(text: str, task: Task) -> list[str]:
    """Return the classifiers that are named, by commas.

    :raises JobError: one that there is none of, or that has no meaning for a task.
    """
    names = list(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    for name in names:
        if name not in NAMES:
            raise JobError(f"--classifier {name!r} is none of {', '.join(NAMES)}.{suggest(name, NAMES)}")
    kinds = {one.kind for one in (task.tasks.values() if isinstance(task, Several) else (task,))}
    if "centroid" in names and "regression" in kinds:
        raise JobError("--classifier centroid: numbers have no classes, and no centroids; leave it out")
    if "ridge" in names and kinds != {"regression"}:
        raise JobError(
            f"--classifier ridge: it gives numbers, and these labels are {listed(sorted(kinds))}; logistic does"
        )
    if "logistic" in names and kinds == {"regression"}:
        raise JobError("--classifier logistic: it gives classes, and these labels are numbers; ridge does")
    return names


def compared(prepared: Prepared, features: Mapping[str, Tensor], names: Sequence[str]) -> list[Fitted]:
    """Return what each classifier reaches on validation samples, the probe first: each is compared with it.

    :param features: of each part, float32 `[n, width]`.
    """
    data, task = prepared.data, prepared.data.task
    trained, held = _targets(task, data.train), _targets(task, data.val)
    base = _probe(prepared, features, trained)
    first = PROBES[task.ridge(trained) is not None and not isinstance(task, Several)]
    found = [Fitted(first, task.measure(base, held))]
    sides = features["train"].numpy(), features["val"].numpy()
    further = [one for one in names if one not in PROBES]
    for name in counted(prepared.counting, further, len(further), "classifiers fitted"):
        outputs = _outputs(name, task, trained, *sides)
        found.append(Fitted(name, task.measure(outputs, held), paired.difference(task, outputs, base, held)))
    return found


def _targets(task: Task, samples: Sequence[Sample]) -> Any:
    return task.collate([sample.target for sample in samples])


def _probe(prepared: Prepared, features: Mapping[str, Tensor], trained: Any) -> Tensor:
    """Return what the solved head gives for the validation samples, `[n, outputs]`."""
    data, runtime = prepared.data, prepared.runtime
    rows = runtime.to_device(features["train"])
    head = blank(rows, data.task.outputs)
    strata = [next(iter(data.task.strata(sample.target))) for sample in data.train]
    seed, counting = prepared.job.recipe.seed, prepared.counting
    known = probe.Known(data.task, head, rows, runtime.to_device(trained), strata, seed, counting)
    probe.solve(head, known)
    with torch.no_grad():
        outputs: Tensor = head(runtime.to_device(features["val"])).float().cpu()
    return outputs


def _outputs(name: str, task: Task, targets: Any, known: Array, asked: Array) -> Tensor:
    """Return what a classifier that was fitted to some samples gives for others, as a head would, `[n, outputs]`."""
    if isinstance(task, Several):
        heads = []
        for head, own in task.tasks.items():
            there = joined.there(own, targets[head]).nonzero().flatten()
            heads.append(_outputs(name, own, take(targets[head], there), known[there.numpy()], asked))
        return torch.cat(heads, 1)
    numbers = task.ridge(targets)
    if numbers is not None:
        columns = [_column(name, known, numbers[:, place], asked, True) for place in range(task.outputs)]
        return torch.from_numpy(numpy.stack(columns, 1)).float()
    if targets.ndim == 1:
        return torch.from_numpy(_logs(name, known, targets.numpy(), asked, task.outputs)).float()
    columns = [_column(name, known, targets[:, place], asked, False) for place in range(task.outputs)]
    return torch.from_numpy(numpy.stack(columns, 1)).float()


def _column(name: str, known: Array, values: Tensor, asked: Array, numbers: bool) -> Array:
    """Return what is said of one column, of the samples that have a value: the number, or the logit of a label."""
    there = (~values.isnan()).numpy()
    if numbers:
        made = MADE[name](int(there.sum()), True).fit(known[there], values.numpy()[there])
        found: Array = made.predict(asked)
        return found
    logs = _logs(name, known[there], values.long().numpy()[there], asked, 2)
    difference: Array = logs[:, 1] - logs[:, 0]
    return difference


def _logs(name: str, known: Array, labels: Array, asked: Array, classes: int) -> Array:
    """Return logarithms of probabilities, `[n, classes]`; a class that no sample has is as improbable as can be."""
    shares = numpy.full((len(asked), classes), LEAST)
    there = numpy.unique(labels)
    if len(there) == 1:
        shares[:, there[0]] = 1
    else:
        made = MADE[name](len(known), False).fit(known, labels)
        shares[:, made.classes_] = numpy.clip(made.predict_proba(asked), LEAST, 1)
    found: Array = numpy.log(shares)
    return found
