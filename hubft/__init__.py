"""Fine-tune a pretrained model on your own labelled data and make it a `torch.hub` entry again.

    result = hubft.finetune("timm:resnet18.a1_in1k", "flowers/", epochs=4)

The commands are functions, with the names and defaults of the command line (`hubft.api`): before a run `inspect_data`,
`features`, `rank`, `lr_find` and `sweep`; `finetune`, `distill`, `resume` and `soup`; then `evaluate`, `predict`,
`load`, `write_report`, `compare` and `track`. What needs torch is imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hubft.base.errors import HubftError
from hubft.families.torch_hub import hub_lock
from hubft.hookspecs import Base, Compressed, Loaded, hookimpl
from hubft.inputs import Preprocess
from hubft.job import Head, Job

if TYPE_CHECKING:
    from hubft.api import (
        Result,
        compare,
        distill,
        evaluate,
        features,
        finetune,
        inspect_data,
        load,
        lr_find,
        predict,
        rank,
        resume,
        soup,
        sweep,
        track,
        write_report,
    )

__version__ = "0.3.0"

__all__ = [
    "Base",
    "Compressed",
    "Head",
    "HubftError",
    "Job",
    "Loaded",
    "Preprocess",
    "Result",
    "compare",
    "distill",
    "evaluate",
    "features",
    "finetune",
    "hookimpl",
    "hub_lock",
    "inspect_data",
    "load",
    "lr_find",
    "predict",
    "rank",
    "resume",
    "soup",
    "sweep",
    "track",
    "write_report",
]

LAZY = set(__all__) - set(globals())  # of `hubft.api`, which imports torch


def __getattr__(name: str) -> Any:
    if name == "Task":  # what `Head` was called in version 1.1 of the hooks
        return Head
    if name == "load":  # not by way of `api`: whoever loads a package needs no engine
        return import_module("hubft.share.load").load
    if name in LAZY:
        return getattr(import_module("hubft.api"), name)
    raise AttributeError(f"module 'hubft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
