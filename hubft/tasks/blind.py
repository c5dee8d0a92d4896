"""What a model could say that never looks at a sample: the base rate that a headline is held against."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from hubft.tasks.classification import Classification
from hubft.tasks.metrics import Metrics
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.regression import Regression
from hubft.tasks.several import Several
from hubft.tasks.task import Task


def score(task: Task, targets: Any, number: int) -> Metrics | None:
    """Return what the one answer that the training rows tell would reach on so many samples; None where a task has no
    such answer: places in a sample, and text that goes on."""
    outputs = said(task, number)
    return None if outputs is None else task.score(outputs, targets)


def said(task: Task, number: int) -> Tensor | None:
    """Return that answer for so many samples, float32 `[number, outputs]`; None where there is none."""
    one = answer(task)
    return None if one is None else one.expand(number, -1).clone()


@singledispatch
def answer(task: Task) -> Tensor | None:
    """Return the outputs of that answer, float32 `[outputs]`: shares of the classes, the mean of a number."""
    return None


@answer.register
def _(task: Classification) -> Tensor:
    return torch.tensor(task.counts or [1] * task.outputs).clamp(min=1e-3).log()


@answer.register
def _(task: Multilabel) -> Tensor:
    have, known = torch.tensor(task.counts or [1] * task.outputs), torch.tensor(task.known or [2] * task.outputs)
    return (have / known.clamp(min=1)).logit(eps=1e-6)


@answer.register
def _(task: Regression) -> Tensor:
    mean = torch.tensor(task.mean or [0.0] * task.outputs)
    return torch.zeros_like(mean) if task.standardised else mean


@answer.register
def _(task: Several) -> Tensor | None:
    found = [answer(one) for one in task.tasks.values()]
    known = [one for one in found if one is not None]
    return torch.cat(known) if len(known) == len(found) else None
