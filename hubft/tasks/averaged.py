"""The mean of what several models say of the same samples, or one model of several views of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hubft.base.errors import JobError
from hubft.tasks.several import Several
from hubft.tasks.task import Task


def mean(task: Task, outputs: Sequence[Tensor]) -> Tensor:
    """Return outputs that stand for the mean of what others stand for: of probabilities where outputs are logits, and
    of the outputs where they are numbers; float32 `[n, outputs]`.

    :param outputs: float `[n, outputs]` each.
    """
    if isinstance(task, Several):
        its = task.tasks.items()
        return torch.cat([mean(one, [each[:, task.places[name]] for each in outputs]) for name, one in its], 1)
    stacked = torch.stack([each.float() for each in outputs])
    number = math.log(len(outputs))
    if task.averages == "softmax":
        return stacked.log_softmax(-1).logsumexp(0) - number
    if task.averages == "sigmoid":
        return logsigmoid(stacked).logsumexp(0) - logsigmoid(-stacked).logsumexp(0)
    return stacked.mean(0)


def require(task: Task, option: str) -> None:
    """Refuse an option that averages the answers of a task that have no mean.

    :raises JobError: it names the option.
    """
    if not (task.averages or isinstance(task, Several)):
        why = "boxes of two answers are not the same ones" if task.located else f"answers of {task.kind} have no mean"
        raise JobError(f"{option}: it has no meaning here, {why}; leave it out")
