"""Fine-tune a pretrained model on your own images and make it a `torch.hub` entry again."""

from hubft.base.errors import HubftError
from hubft.families.torch_hub import hub_lock
from hubft.hookspecs import Base, Loaded, hookimpl
from hubft.inputs import Preprocess
from hubft.job import Job, Task

__version__ = "0.2.0"

__all__ = ["Base", "HubftError", "Job", "Loaded", "Preprocess", "Task", "hookimpl", "hub_lock"]
