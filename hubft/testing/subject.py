"""What is checked: one model of one family, built afresh for every check."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import pluggy
import torch
from torch import Tensor, nn

from hubft import modality
from hubft.families import build, plugins, stages
from hubft.hookspecs import Batch, Declared, Loaded
from hubft.job import Head, Job
from hubft.testing import values

T = TypeVar("T")

HEAD = Head(outputs=3)
BATCH = 4


def expect(good: bool, problem: str) -> None:
    """Raise AssertionError, with the problem in one line, where a promise is not kept."""
    if not good:
        raise AssertionError(problem)


class Subject:
    """One model of one family.

    Its values are mostly those of its constructors: few checks need pretrained weights.
    """

    def __init__(self, family: str, model: str, declared: Declared) -> None:
        self.family, self.model, self.declared = family, model, declared
        self._kept: dict[Callable[[Subject], Any], Any] = {}

    @cached_property
    def pm(self) -> pluggy.PluginManager:
        """The manager with the family's hooks."""
        return plugins.manager_of(self.job())

    @property
    def plugin(self) -> Any:
        """The family's module."""
        return self.pm.get_plugin(self.family)

    def job(self, head: Head = HEAD) -> Job:
        """Return the job of a run on this model."""
        return Job(f"{self.family}:{self.model}", "data", head=head)

    def load(self, pretrained: bool = False) -> Loaded:
        """Return what the family's `load` gives, as it is."""
        loaded: Loaded = self.pm.hook.load(name=self.model, pretrained=pretrained, config={}, task="")
        return loaded

    def build(self) -> Loaded:
        """Return the model with its original head, and the same values at each call."""
        loaded = self.load()
        state = loaded.model.state_dict()  # as a mapping that carries versions of modules
        state.update({name: tensor.clone() for name, tensor in self.once(_settled).items()})
        loaded.model.load_state_dict(state, assign=True)
        return loaded

    def adapted(self, head: Head = HEAD, fresh: bool = False) -> Loaded:
        """Return the model with this head; unless that is to be `fresh`, with values by which images differ."""
        loaded = build.adapt(self.pm, self.job(head), self.build())
        if not fresh:
            values.draw(loaded.model.get_submodule(loaded.head))
        return loaded

    def once(self, make: Callable[[Subject], T]) -> T:
        """Return what `make` gives for this subject; it is called at most once."""
        if make not in self._kept:
            self._kept[make] = make(self)
        kept: T = self._kept[make]
        return kept


def _settled(subject: Subject) -> dict[str, Tensor]:
    """Return values for the model's state, its head among them, by which images differ in the outputs."""
    loaded = subject.load()
    values.fill(loaded.model)
    head = dict(loaded.model.named_modules()).get(loaded.head)
    if head is not None:  # whether it is there is another check
        values.draw(head)
    values.settle(loaded.model, noise(loaded, BATCH), loaded.forward)
    return copied(loaded.model)


def noise(loaded: Loaded, number: int = 2) -> Any:
    """Return inputs of the model that are drawn: the same at each call."""
    return modality.of(loaded.inputs).noise(loaded.inputs, number)


def batch(loaded: Loaded) -> Batch:
    """Return inputs of two classes, such as dark and bright images, as `train_step` gets them."""
    targets = [0, 1] * (BATCH // 2)
    signs = [2 * target - 1 for target in targets]
    return modality.of(loaded.inputs).noise(loaded.inputs, BATCH, signs), torch.tensor(targets)


@torch.no_grad()
def compute(loaded: Loaded, inputs: Any, model: nn.Module | None = None) -> Tensor:
    """Return the outputs in eval mode, of another model than its own where one is given, called in the same way."""
    outputs: Tensor = loaded.forward((model or loaded.model).eval(), inputs)
    return outputs


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state as it is now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def shapes(model: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return shape and dtype of every tensor of the model's state."""
    return {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names that only one has, or that have tensors of other bits or other values."""
    both = [n for n in one if n in other]
    changed = [n for n in both if not (torch.equal if isinstance(one[n], Tensor) else _equal)(one[n], other[n])]
    return [*changed, *(n for n in (*one, *other) if (n in one) != (n in other))]


def in_stage(loaded: Loaded, *names: str) -> set[str]:
    """Return the names of the parameters in these stages."""
    return {name for name, stage in stages.stage_of(loaded).items() if stage in names}


def shown(names: Any) -> str:
    """Return the first of some names, for a line of a report."""
    listed = sorted(map(str, names))
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def in_process(file: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what came of running a Python file in a process of its own, in an empty working folder."""
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [sys.executable, "-P", file, *arguments],  # -P: the file's neighbours are no modules of that process
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )


def last_line(output: str) -> str:
    """Return the last line of a process's output: of a traceback, the error."""
    return (output.strip().splitlines() or ["no output"])[-1]


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other)
