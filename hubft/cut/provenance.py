"""What the bits of cached features depend on, as one sha256: any change of it makes other features."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from torch import Tensor, nn

from hubft.base import digest
from hubft.cut.calls import PLAIN
from hubft.cut.feed import Cut, among
from hubft.inputs import Inputs

SCHEMA = 1  # of the files
CODE = (
    *("images/*.py", "text/*.py", "cut/*.py", "train/loader.py", "train/lessons.py", "machine/runtime.py"),
    *("base/batches.py", "base/draws.py", "base/keys.py", "base/store.py"),
)
"""What the bits of features depend on, below `hubft/`: pixels, transforms, draws, batches, and where all that runs."""


@dataclass(frozen=True)
class Source:
    """All that the bits of one view's features depend on."""

    prefix: str
    """`prefix(cut)`."""
    samples: tuple[str, ...]
    """sha256 of each image file, in the order of the rows."""
    inputs: Inputs
    shape: tuple[int, ...]
    """Of one sample's features."""
    batch_size: int
    """Of the pass that computes them: other sizes round otherwise."""
    device: torch.device
    view: int = 0
    """0 is the evaluation's: it depends neither on the seed nor on the augmentation."""
    seed: int = 0
    augment: str = "none"
    dtype: torch.dtype = torch.float32
    """In which they are stored."""
    precision: str = "fp32"
    """In which they are computed."""
    memory_format: str = "contiguous"
    pixels: str = ""
    """How else an image is decoded than from the file at full size, in words."""

    @property
    def bytes(self) -> int:
        return len(self.samples) * prod(self.shape) * self.dtype.itemsize

    def key(self) -> str:
        """Return the sha256 over all of it, the machine and the versions at work."""
        drawn = {} if self.view == 0 else {"view": self.view, "seed": self.seed, "augment": self.augment}
        names = {f.name for f in dataclasses.fields(self)} - {"view", "seed", "augment", "device"}
        plain = {name: repr(getattr(self, name)) for name in names}
        text = json.dumps({"schema": SCHEMA, **plain, **drawn, **_machine(self.device)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def prefix(cut: Cut) -> str:
    """Return the sha256 of what computes the features: weights, buffers, structure, and the source of every class."""
    modules = {name: module for name, module in cut.model.named_modules() if not among(name, cut.behind)}
    return _computing(f"{cut.entry} {cut.place}", cut.tensors(), modules)


def whole(model: nn.Module, what: str) -> str:
    """Return the sha256 of what computes all that a model gives.

    :param what: of that is kept, and how inputs are made its own.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return _computing(what, tensors, dict(model.named_modules()))


def _computing(what: str, tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> str:
    parts = {
        "entry": what,
        "tensors": digest.of_state(digest.of_tensors(tensors)),
        "modules": {name: _structure(module) for name, module in modules.items()},
        "libraries": {name: str(getattr(sys.modules.get(name), "__version__", "")) for name in _libraries(modules)},
        "sources": {module: _source(module) for module in {type(m).__module__ for m in modules.values()}},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _libraries(modules: Mapping[str, nn.Module]) -> set[str]:
    """Return the packages of the classes: what these call lies in other modules of them, too."""
    return {type(module).__module__.partition(".")[0] for module in modules.values()}


def _structure(module: nn.Module) -> str:
    public = {name: _plain(value) for name, value in vars(module).items() if name[0] != "_" and name != "training"}
    return f"{type(module).__qualname__} {sorted(public.items())}"


def _plain(value: Any) -> str:
    """Return what a value says in every process: no address in memory."""
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_plain, value))})"
    return repr(value) if isinstance(value, PLAIN) else getattr(value, "__qualname__", type(value).__qualname__)


def _source(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return digest.of_file(Path(file)) if file and Path(file).is_file() else ""


def _machine(device: torch.device) -> dict[str, str]:
    core = Path(__file__).parents[1]
    code = [path for room in CODE for path in sorted(core.glob(room))]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "versions": f"{torch.__version__} {torchvision.__version__} {PIL.__version__}",
        "machine": f"{device.type} {name} {torch.get_num_threads()} {torch.get_float32_matmul_precision()}",
        "code": "".join(digest.of_file(path) for path in code),
    }
