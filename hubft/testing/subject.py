"""What is checked: one model of one family, built afresh for every check, with values that let images through."""

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

from hubft import build, plugins
from hubft.hookspecs import Batch, Declared, Loaded
from hubft.job import Job, Task
from hubft.train import stages

T = TypeVar("T")

TASK = Task(outputs=3)
BATCH = 4


def expect(good: bool, problem: str) -> None:
    """Raise AssertionError, with the problem in one line, where a promise is not kept."""
    if not good:
        raise AssertionError(problem)


class Subject:
    """One model of one family.

    Its values are drawn, not pretrained: most checks need no weights, and fresh layers often ignore their inputs.
    """

    def __init__(self, family: str, model: str, declared: Declared) -> None:
        self.family, self.model, self.declared = family, model, declared
        self._kept: dict[Callable[[Subject], Any], Any] = {}

    @cached_property
    def pm(self) -> pluggy.PluginManager:
        """The manager with the family's hooks."""
        return plugins.manager(self.family)

    @property
    def plugin(self) -> Any:
        """The family's module."""
        return self.pm.get_plugin(self.family)

    def job(self, task: Task = TASK) -> Job:
        """Return the job of a run on this model."""
        return Job(f"{self.family}:{self.model}", "data", task=task)

    def load(self, pretrained: bool = False) -> Loaded:
        """Return what the family's `load` gives, as it is."""
        loaded: Loaded = self.pm.hook.load(name=self.model, pretrained=pretrained)
        return loaded

    def build(self) -> Loaded:
        """Return the model with its original head, every tensor with values."""
        loaded = self.load()
        fill(loaded.model)
        return loaded

    def adapted(self, task: Task = TASK, fresh: bool = False) -> Loaded:
        """Return the model with a head for `task`, which has values of its own too, unless it is to be `fresh`."""
        loaded = build.adapt(self.pm, self.job(task), self.build())
        if not fresh:
            fill(loaded.model)
        return loaded

    def once(self, make: Callable[[Subject], T]) -> T:
        """Return what `make` gives for this subject; it is called at most once."""
        if make not in self._kept:
            self._kept[make] = make(self)
        kept: T = self._kept[make]
        return kept


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Give parameters and norm statistics the same values at each call, of a size that lets an image through.

    Tensors without memory get it here; vectors that have values keep them: they scale, shift, and are fine.
    """
    random = torch.Generator().manual_seed(0)
    state = model.state_dict()
    bare = [name for name, tensor in state.items() if tensor.is_meta]
    if bare:
        state.update({name: torch.zeros_like(state[name], device="cpu") for name in bare})
        model.load_state_dict(state, assign=True)  # the whole state: it carries versions of modules
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, nn.Parameter) and tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=random) * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_mean"):
            tensor.copy_(0.1 * torch.rand(tensor.shape, generator=random))
        elif name.endswith("running_var") or (name in bare and name.endswith("weight")):
            tensor.copy_(1 + 0.1 * torch.rand(tensor.shape, generator=random))


def images(loaded: Loaded, number: int = 2) -> Tensor:
    """Return noise of the model's input size, `[number, 3, height, width]`: the same at each call."""
    return torch.randn(number, 3, *loaded.preprocess.size, generator=torch.Generator().manual_seed(0))


def batch(loaded: Loaded) -> Batch:
    """Return images of two classes, as `train_step` gets them."""
    return images(loaded, BATCH), torch.tensor([0, 1] * (BATCH // 2))


@torch.no_grad()
def compute(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the outputs in eval mode."""
    outputs: Tensor = model.eval()(inputs)
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
