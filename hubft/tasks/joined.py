"""The loss of several heads, and what they reached."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from hubft.base.display import listed, quoted, visible
from hubft.base.errors import JobError, Option, suggest
from hubft.recipe import Recipe
from hubft.tasks import losses, naming
from hubft.tasks.metrics import Measured, Metrics, read
from hubft.tasks.task import Table, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SURE = 0.01  # is added to a loss whose logarithm is taken: no head then weighs more than a hundred times


class Joined(losses.Loss):
    """The weighted sum of the losses of several heads, each a mean over its own labels.

    Outputs are the columns of all heads side by side, targets a dict by the head's name. With `uncertain` it is the sum
    of their logarithms: homoscedastic uncertainty (Kendall et al. 2018, https://arxiv.org/abs/1705.07115) with each
    weight at its optimum for the batch, one over the loss (https://arxiv.org/abs/2408.07985). So there is nothing to
    learn, and nothing that a checkpoint must hold.
    """

    def __init__(self, heads: Mapping[str, tuple[slice, losses.Loss, float]], uncertain: bool = False) -> None:
        """:param heads: name -> columns of the outputs, loss, and weight in the sum."""
        super().__init__()
        self.heads, self.uncertain = dict(heads), uncertain

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the weighted sum; a head without a label in the batch adds 0."""
        total = outputs.new_zeros(())
        for name, (columns, loss, weight) in self.heads.items():
            # Not by calling it: torch's own mean, which cross entropy takes, is NaN where all are missing.
            mean = losses.Loss.forward(loss, outputs[:, columns], targets[name])
            if self.uncertain:
                there = loss.weights(targets[name]).sum() > 0
                mean = torch.where(there, torch.log(mean + SURE), torch.zeros_like(mean))
            total = total + weight * mean
        return total

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the mean of each sample in each head, `[n, heads]`."""
        heads = self.heads.items()
        return torch.stack([loss.samples(outputs[:, columns], targets[name]) for name, (columns, loss, _) in heads], 1)

    def weights(self, targets: Any) -> Tensor:
        """Return the weight of a head where a sample has a label of it, `[n, heads]`."""
        known = [weight * losses.there(loss, targets[name]).float() for name, (_, loss, weight) in self.heads.items()]
        return torch.stack(known, 1)

    def samples(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return the weighted sum over the heads of each sample, `[n]`."""
        return (self.losses(outputs, targets) * self.weights(targets)).sum(1)

    def part(self, targets: Any, share: float) -> Self:
        """Return the loss of a part of a batch, each head with the denominator of the whole batch.

        :raises ValueError: a logarithm of a part; the logarithm of a sum is no sum.
        """
        if self.uncertain and share != 1:
            raise ValueError("the uncertainty of several heads is of a whole batch")
        part = copy.copy(self)
        heads = self.heads.items()
        part.heads = {name: (columns, loss.part(targets[name], share), by) for name, (columns, loss, by) in heads}
        return part


def criterion(
    tasks: Mapping[str, Task], places: Mapping[str, slice], names: Sequence[str], recipe: Recipe | None
) -> Joined:
    """Return the loss of heads with the weights of a recipe, or the plain sum without one.

    :param tasks: by the name of the head.
    :param places: columns of each head among the outputs.
    :param names: of all outputs.
    :raises JobError: an option that has a meaning for none of the heads.
    """
    asked = () if recipe is None else recipe.head_weights
    uncertain = asked == ("uncertainty",)
    weights = losses.named_weights("head_weights", () if uncertain else asked, tuple(tasks)).tolist()
    if recipe is not None:
        _check(recipe, list(tasks.values()), names)
    heads = {}
    for (name, task), weight in zip(tasks.items(), weights, strict=True):
        own = None if recipe is None else _own(recipe, name, task)
        heads[name] = (places[name], task.criterion(own), weight)
    return Joined(heads, uncertain)


def imitation(tasks: Mapping[str, Task], places: Mapping[str, slice], temperature: float) -> Joined:
    """Return the sum of what the heads miss of a teacher's answers, each by its own loss.

    :param temperature: of those heads that have one.
    :raises JobError: none of them has.
    """
    warm = {name: temperature if "temperature" in task.options else 0.0 for name, task in tasks.items()}
    if temperature and not any(warm.values()):
        raise JobError(Option("temperature"), f" {temperature:g}: numbers have none; leave it out")
    return Joined({name: (places[name], task.imitation(warm[name]), 1.0) for name, task in tasks.items()})


def _check(recipe: Recipe, tasks: Sequence[Task], names: Sequence[str]) -> None:
    """Refuse what has a meaning for none of the heads."""
    known = list(dict.fromkeys(loss for task in tasks for loss in task.losses))
    if recipe.loss != "auto" and recipe.loss not in known:
        hint = suggest(recipe.loss, known)
        raise JobError(Option("loss"), f" {recipe.loss}: the losses of these heads are {', '.join(known)}.{hint}")
    for field in ("smoothing", "class_weights"):
        if not any(field in task.options for task in tasks):
            losses.refuse(recipe, "these heads", field)
    for text in recipe.class_weights:
        name = text.rpartition("=")[0]
        if text != "balanced" and name not in names:
            hint = suggest(name, names)
            raise JobError(Option("class_weights"), f": {name!r} is none of {listed(names)}.{hint}")
    if recipe.head_weights == ("uncertainty",) and recipe.accumulate > 1:
        why = " uncertainty: it is of a whole batch, which "
        raise JobError(Option("head_weights"), why, Option("accumulate"), " cuts; leave one of them out")


def _own(recipe: Recipe, name: str, task: Task) -> Recipe:
    """Return the recipe of one head: without what has no meaning for it, the names of its classes as its own."""
    before, weights = f"{name}: ", recipe.class_weights
    if weights != ("balanced",):
        weights = tuple(text.removeprefix(before) for text in weights if text.startswith(before))
    return replace(
        recipe,
        loss=recipe.loss if recipe.loss in task.losses else "auto",
        smoothing=recipe.smoothing if "smoothing" in task.options else 0.0,
        class_weights=weights if "class_weights" in task.options else (),
        head_weights=(),
    )


def metrics(headline: str, found: Mapping[str, Metrics], loss: float) -> Metrics:
    """Return the metrics of several heads as one: the mean of their headlines, and all of each as `head: metric`.

    The ends of its interval are the means of the heads' ends: if anything too wide, as the deviation of a mean is at
    most the mean of the deviations.

    :param found: by the name of the head, of those that have labels here.
    """
    heads = [one.head for one in found.values()]
    value = sum(one.value for one in heads) / max(1, len(heads))
    low, high = _mean([one.low for one in heads]), _mean([one.high for one in heads])
    n = max((one.n for one in heads), default=0)
    values = {headline: Measured(value, low, high, n)}
    values |= {f"{name}: {metric}": one for name, each in found.items() for metric, one in each.values.items()}
    details = [{"head": name, "metrics": each.plain()} for name, each in found.items()]
    return Metrics(headline, values, loss, {"heads": details})


def of_heads(joint: Metrics) -> dict[str, Metrics]:
    """Return the metrics of each head again, by its name."""
    return {one["head"]: read(one["metrics"]) for one in joint.details["heads"]}


def diagnosis(tasks: Mapping[str, Task], joint: Metrics, targets: Mapping[str, Any]) -> list[str]:
    """Return what looks wrong with the answers of each head."""
    known = {name: targets[name][there(task, targets[name])] for name, task in tasks.items()}
    said = {name: tasks[name].diagnosis(own, known[name]) for name, own in of_heads(joint).items()}
    return [f"of {quoted(name)} {sentence}" for name, its in said.items() for sentence in its]


def there(task: Task, targets: Any) -> Tensor:
    """Return which samples have a label of a head, bool `[n]`."""
    return losses.there(task.criterion(), targets)


def parts(
    tasks: Mapping[str, Task], places: Mapping[str, slice], outputs: Tensor, targets: Any
) -> Iterator[tuple[str, Task, Tensor, Any]]:
    """Yield name, task, outputs and targets of each head that has a label, of the samples that have one."""
    for name, task in tasks.items():
        rows = there(task, targets[name])
        if rows.any():
            yield name, task, outputs[rows][:, places[name]], targets[name][rows]


def errors(tasks: Mapping[str, Task], places: Mapping[str, slice], outputs: Tensor, targets: Any) -> Tensor:
    """Return how wrong each sample is: the mean over the heads of which it has a label."""
    wrong, known = outputs.new_zeros(len(outputs)), outputs.new_zeros(len(outputs))
    for name, task in tasks.items():
        rows = there(task, targets[name])
        wrong += task.errors(outputs[:, places[name]], targets[name]) * rows
        known += rows
    return (wrong / known.clamp(min=1)).float()


def figures(tasks: Mapping[str, Task], joint: Metrics) -> dict[str, Figure]:
    """Return the pictures of all heads, by names of files that begin with the head's."""
    found: dict[str, Figure] = {}
    for name, own in of_heads(joint).items():
        before = naming.file_prefix(list(tasks).index(name), name)
        found |= {f"{before}-{file}": figure for file, figure in tasks[name].figures(own).items()}
    return found


def tables(tasks: Mapping[str, Task], joint: Metrics) -> Iterator[Table]:
    """Yield the tables of all heads."""
    for name, own in of_heads(joint).items():
        for one in tasks[name].tables(own):
            yield replace(one, columns=(f"{visible(name, 24)}: {one.columns[0]}", *one.columns[1:]))


def shares(tasks: Mapping[str, Task], places: Mapping[str, slice], outputs: Tensor) -> Tensor:
    """Return what the outputs of all heads stand for, side by side as they are."""
    return torch.cat([task.shares(outputs[:, places[name]]) for name, task in tasks.items()], 1)


def agreement(tasks: Mapping[str, Task], places: Mapping[str, slice], outputs: Tensor, others: Tensor) -> Tensor:
    """Return how far two models say the same of each sample, as a mean over the heads."""
    parts = [task.agreement(outputs[:, places[name]], others[:, places[name]]) for name, task in tasks.items()]
    return torch.stack(parts).mean(0)


def _mean(ends: Sequence[float | None]) -> float | None:
    known = [end for end in ends if end is not None]
    return sum(known) / len(known) if known and len(known) == len(ends) else None
