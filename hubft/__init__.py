"""Fine-tune a pretrained model on your own labelled data and make it a `torch.hub` entry again."""

from hubft.base.errors import HubftError
from hubft.families.torch_hub import hub_lock
from hubft.hookspecs import Base, Loaded, hookimpl
from hubft.inputs import Preprocess
from hubft.job import Head, Job

__version__ = "0.3.0"

__all__ = ["Base", "Head", "HubftError", "Job", "Loaded", "Preprocess", "hookimpl", "hub_lock"]


def __getattr__(name: str) -> object:
    if name == "Task":  # what `Head` was called in version 1.1 of the hooks
        return Head
    raise AttributeError(f"module 'hubft' has no attribute {name!r}")
