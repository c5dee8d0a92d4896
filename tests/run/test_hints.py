"""Features of a teacher: which stages of networks of all kinds are held against each other, and that they teach."""

from __future__ import annotations

import pytest
import torch

from hubft.families import plugins
from hubft.hookspecs import Loaded
from hubft.job import Job, Teaching
from hubft.run import hints
from hubft.tasks.classification import Classification
from hubft.train.lessons import Lesson, Lessons, Taught, Teacher

VIT, CNN = "vit_tiny_patch16_224", "resnet18"
TASK = Classification(tuple(map(str, range(1000))))


@pytest.fixture(scope="module")
def models() -> dict[str, Loaded]:
    torch.manual_seed(0)
    pm = plugins.manager("timm")
    return {name: pm.hook.load(name=name, pretrained=False, config={}, task="") for name in (VIT, CNN)}


@pytest.mark.parametrize(
    ("student", "teacher", "grid", "number"),
    [(VIT, VIT, (197, 1), 13), (VIT, CNN, (1, 1), 5), (CNN, VIT, (1, 1), 5), (CNN, CNN, (14, 14), 5)],
)
def test_tokens_and_maps_teach_each_other(
    student: str, teacher: str, grid: tuple[int, int], number: int, models: dict[str, Loaded]
) -> None:
    """Token by token where both have as many, pixel by pixel of two maps, else by the mean over an image."""
    mine, its = models[student], Teacher(models[teacher], TASK, lambda inputs: inputs)
    inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    live = frozenset(name for name, _ in mine.model.named_parameters())
    found = hints.places(mine, its, inputs, live)
    assert len(found) == number and grid in {place.grid for place in found}
    taught = Teacher(its.loaded, TASK, its.convert, found)
    asked = Job("timm:x", "data", teaching=Teaching("t", imitation=0.0, hints=1.0))
    lessons = Lessons(taught, TASK, asked)
    said, labels = taught.says(inputs), torch.zeros(2, dtype=torch.int64)
    mine.model.train().zero_grad()
    with lessons.beside(mine.model):
        outputs = mine.forward(mine.model, inputs)
        loss = Taught(TASK.criterion(), lessons)(outputs, Lesson(labels, said))
    (loss - TASK.criterion()(outputs, labels)).backward()  # of features alone
    last = mine.model.get_submodule(found[-1].student)
    assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in last.parameters())
    assert all(one.weight.grad is not None and one.weight.grad.isfinite().all() for one in lessons.adapters)
