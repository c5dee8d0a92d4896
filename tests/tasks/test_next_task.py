"""The house carries a sixth kind of labels: one file and one line, and a run trains, packages and predicts it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy
import pytest
from PIL import Image

import hubft
from hubft.tasks import kinds

RANKS = '''
"""An order of grades: the number of thresholds that an image is above, a sigmoid each."""

from dataclasses import dataclass
from typing import ClassVar

from hubft.tasks.multilabel import Multilabel
from hubft.tasks.task import Task


@dataclass(frozen=True)
class Ranks(Task):
    kind: ClassVar[str] = "ranks"
    headline: ClassVar[str] = "mae"
    steps: int

    outputs = property(lambda self: self.steps)
    names = property(lambda self: tuple(f"above {step}" for step in range(self.steps)))
    ignorance = 0.7

    @classmethod
    def fit(cls, columns, labels):
        return cls(max(int(value) for value in columns[0].values))

    def claim(self): return "Ranks images"
    def lines(self, names=""): return ("int((logits > 0).sum())",)
    def summary(self): return f"of {self.steps + 1} ranks"
    def encode(self, values): return int(values[0])
    def settled(self, targets): return self
    def strata(self, target): return (target,)
    def constant(self): return 1.0
    def diagnosis(self, metrics, targets): return ()
    def figures(self, metrics): return {}
    def tables(self, metrics): return ()

    def collate(self, targets):
        import torch

        return torch.tensor([[float(target > step) for step in range(self.steps)] for target in targets])

    def criterion(self, recipe=None):
        from hubft.tasks import losses

        return losses.Masked(losses.binary())

    def errors(self, outputs, targets):
        return ((outputs > 0) != (targets > 0)).float().mean(1)

    def score(self, outputs, targets):
        from hubft.tasks.metrics import Measured, Metrics

        off = ((outputs > 0).sum(1) - targets.sum(1)).abs().mean()
        measured = Measured(float(off), None, None, len(targets), "lower")
        return Metrics("mae", {"mae": measured}, float(self.criterion()(outputs, targets)))

    def measure(self, outputs, targets): return self.score(outputs, targets)
    def decode(self, outputs): return [{"rank": int(row)} for row in (outputs > 0).sum(1)]
    def state(self, target): return {"rank": target}
    def words(self, said, top): return f"rank {said['rank']}"
    def cells(self, said, top): return dict(said)
'''


def test_the_next_task_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("hubft.tasks.ranks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(RANKS, "ranks.py", "exec"), module.__dict__)
    monkeypatch.setitem(kinds.KINDS, "ranks", "Ranks")
    random = numpy.random.default_rng(0)
    lines = ["file,rank"]
    for i in range(48):
        noise = random.normal(40 + 55 * (i % 4), 12, (36, 36, 3)).clip(0, 255).astype(numpy.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{i % 4}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    result = hubft.finetune("toy:small", tmp_path / "table.csv", task="ranks", epochs=2, device="cpu", workers=0,
                            threads=1, quiet=True, output=tmp_path / "run")  # fmt: skip
    assert result.metrics.head.value < 0.6 and result.metrics.head.better == "lower"
    answers = hubft.predict(result.package, [tmp_path / "0.png", tmp_path / "3.png"])
    assert [answer.said["rank"] for answer in answers] == [0, 3]
    assert "Ranks images" in (result.package / "README.md").read_text(encoding="utf-8")
    assert hubft.evaluate(result.package, tmp_path / "table.csv").metrics.headline == "mae"
    assert hubft.load(result.package).hubft["task"] == {"kind": "ranks", "steps": 3}
