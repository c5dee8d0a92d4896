"""Runs of the toy family that a test starts and listens to."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hubft import Job, engine, hookimpl
from hubft.base.console import Console
from hubft.base.errors import Stopped
from hubft.families import plugins
from hubft.job import Compute, Recipe
from hubft.run import training
from hubft.run.folder import Run
from hubft.train import loop


def job(folder: Path, output: Path, **parts: Any) -> Job:
    """Return a job of two epochs, with the fields of the recipe and the machine in `recipe` and `compute`."""
    recipe = Recipe(**{"epochs": 2, "lr": 0.02, "batch_size": 16} | parts.pop("recipe", {}))
    compute = Compute(**{"device": "cpu", "workers": 0} | parts.pop("compute", {}))
    return Job("toy:small", str(folder), recipe=recipe, compute=compute, output=str(output), **parts)


def listening(monkeypatch: pytest.MonkeyPatch, **hooks: Any) -> list[str]:
    """Have every manager note which hooks a run calls, after asking the `hooks` given here."""
    called: list[str] = []
    real = plugins.manager

    def manager(name: str) -> Any:
        pm = real(name)
        module = ModuleType("override")
        for hook, function in hooks.items():
            setattr(module, hook, hookimpl(function))
        pm.register(module)
        pm.add_hookcall_monitoring(lambda hook, impls, arguments: called.append(hook), lambda *_: None)
        return pm

    monkeypatch.setattr(plugins, "manager", manager)
    return called


class Heard(Console):
    """A console that keeps its lines."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def about(self, what: str) -> list[str]:
        """Return the lines that begin so."""
        return [line for line in self.lines if line.startswith(what)]


def heard(job: Job) -> tuple[engine.Result, Heard]:
    """Return a finished run and what it said."""
    console = Heard()
    return engine.finetune(job, console), console


class Killed(Exception):
    """Ends a run."""


def killed(asked: Job, step: int, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run that ended when this training step was done and nothing was recorded of it."""
    real = loop.fit

    def dying(*its: Any) -> Iterator[loop.Step]:
        for done in real(*its):
            if done.number == step:
                raise Killed
            yield done

    with monkeypatch.context() as patch:
        patch.setattr(loop, "fit", dying)
        with pytest.raises(Killed):
            engine.finetune(asked)
    return Run(Path(asked.output))


class Stop:
    """Stops a run when it is told a signal, as SIGTERM does."""

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def stopped(asked: Job, step: int, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run that was told to stop, as SIGTERM does, at this training step, and recorded it."""
    real, stop = loop.fit, Stop()

    def stopping(*its: Any, **options: Any) -> Iterator[loop.Step]:
        for done in real(*its, **options):
            stop.signal = 15 if done.number == step else 0
            yield done

    with monkeypatch.context() as patch:
        patch.setattr(loop, "fit", stopping)
        patch.setattr(training, "StopRequest", lambda: stop)
        with pytest.raises(Stopped):
            engine.finetune(asked)
    return Run(Path(asked.output))
