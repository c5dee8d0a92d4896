"""What was timed on this machine, kept for the next run of such a model."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

import torch
from torch import nn

from hubft.base.files import cache, made, write_json
from hubft.job import Compute
from hubft.machine import processor
from hubft.machine.runtime import cores


@dataclass(frozen=True)
class Setting:
    """One way to compute one kind of pass."""

    kind: str
    """`step`: a training step; `forward`: a forward pass whose outputs are used."""
    precision: str
    memory_format: str
    threads: int
    compile: bool = False

    def compute(self, device: torch.device, asked: Compute) -> Compute:
        """Return this way, and in all else what was asked for."""
        return replace(
            asked,
            device=str(device),
            precision=self.precision,  # type: ignore[arg-type]
            memory_format=self.memory_format,  # type: ignore[arg-type]
            compile="on" if self.compile else "off",
            threads=self.threads,
            workers=0,
        )


@dataclass(frozen=True)
class Timing:
    """How long passes took."""

    seconds: float
    """An image."""
    first: float
    """The first pass of all, in which kernels are chosen or compiled."""


class Timings(dict[Setting, Timing]):
    """The times of one model on one machine, as earlier runs left them in `files.cache`."""

    def __init__(self, model: nn.Module, device: torch.device, *more: Any) -> None:
        """:param more: what the times depend on besides the model's structure, torch and the machine; JSON types."""
        key = {
            "model": re.sub(r" at 0x[0-9a-f]+", "", repr(model)),
            "shapes": [(name, tuple(t.shape), str(t.dtype)) for name, t in model.state_dict().items()],
            "trains": [name for name, parameter in model.named_parameters() if parameter.requires_grad],
            "machine": (str(torch.__version__), name_of(device), cores(), torch.get_num_threads()),
            "more": more,
        }
        self.file = cache("machine") / f"{sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            super().__init__({Setting(**setting): Timing(**timing) for setting, timing in kept})
        except (OSError, ValueError, TypeError):  # none yet, or of another version
            super().__init__()

    def keep(self) -> str:
        """Write the times for the next run; return why that failed, or nothing."""
        try:
            made(self.file.parent)
            write_json(self.file, [[asdict(setting), asdict(timing)] for setting, timing in self.items()])
        except OSError as error:
            return str(error)
        return ""


def name_of(device: torch.device) -> str:
    """Return the processor's name, or the accelerator's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor.name()
