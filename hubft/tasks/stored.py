"""A safetensors file of tensors that a task says the meaning of."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from hubft.base.errors import CheckpointError, HubftError
from hubft.base.files import save_file, temporary_file
from hubft.tasks import kinds
from hubft.tasks.task import Task


def write(path: Path, task: Task, tensors: dict[str, Tensor]) -> None:
    """Write the file whole or not at all."""
    with temporary_file(path) as temporary:
        save_file(tensors, temporary, {"task": json.dumps(kinds.plain(task))})


def read(path: Path) -> tuple[Task, dict[str, Tensor]]:
    """Return what `write` left.

    :raises CheckpointError: it is missing, cut or altered: what is at fault, without the path.
    """
    try:
        with safe_open(path, "pt") as file:
            task = kinds.read(json.loads((file.metadata() or {})["task"]))
            return task, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError, HubftError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(str(error)) from error
