"""What a model gave for each validation sample, kept in the report: runs are compared sample by sample.

`outcomes.safetensors` holds the outputs, the targets and the sha256 of each sample, and what its task is. It stays in
the report: a package says nothing of single samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy
import torch
from torch import Tensor

from hubft.base.errors import CheckpointError
from hubft.modality import Sample
from hubft.tasks import stored
from hubft.tasks.task import Task

FILE = "outcomes.safetensors"
MOST = 2**26  # bytes of outputs and targets, above which they are not kept
SHAPES = ":shapes"  # of a list of tensors, which are kept one behind the other; no quoted name ends so


@dataclass(frozen=True)
class Outcomes:
    """What a model gave for each of some samples."""

    task: Task
    outputs: Tensor
    """float32 `[n, ...]`, as the task measures them."""
    targets: Any
    """As the task collates them."""
    sha256: tuple[str, ...]
    """Of each sample's bytes."""


def write(folder: Path, found: Outcomes) -> bool:
    """Write the file into a folder and return True; where it would be too large, leave none there."""
    tensors = {"outputs": found.outputs.contiguous(), **_flat("targets", found.targets)}
    if sum(tensor.nbytes for tensor in tensors.values()) > MOST:
        (folder / FILE).unlink(missing_ok=True)
        return False
    digests = numpy.frombuffer(bytes.fromhex("".join(found.sha256)), numpy.uint8).reshape(-1, 32)
    tensors["sha256"] = torch.from_numpy(digests.copy())
    stored.write(folder / FILE, found.task, tensors)
    return True


def read(folder: Path) -> Outcomes | None:
    """Return what `write` left in a folder; None where there is none.

    :raises CheckpointError: a file that was cut or altered.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        task, tensors = stored.read(path)
        digests = tuple(bytes(row).hex() for row in tensors.pop("sha256").numpy())
        return Outcomes(task, tensors.pop("outputs"), _tree("targets", tensors), digests)
    except (CheckpointError, KeyError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read ({error}): remove it, and train again") from error


def of(task: Task, samples: Sequence[Sample], outputs: Tensor, targets: Any) -> Outcomes:
    """Return what a model gave for samples, in their order."""
    return Outcomes(task, outputs, targets, tuple(sample.sha256 for sample in samples))


def _flat(name: str, tree: Any) -> dict[str, Tensor]:
    """Return a tree of targets as tensors by name: a list of tensors as one, with the shape of each."""
    if isinstance(tree, Tensor):
        return {name: tree.contiguous()}
    if isinstance(tree, Mapping):
        return {
            key: one for part, its in tree.items() for key, one in _flat(f"{name}/{quote(part, safe='')}", its).items()
        }
    if tree and isinstance(tree[0], Mapping):
        return _flat(name, {part: [one[part] for one in tree] for part in tree[0]})
    shapes = torch.tensor([one.shape for one in tree], dtype=torch.int64)
    return {name: torch.cat([one.flatten() for one in tree]) if tree else shapes, name + SHAPES: shapes}


def _tree(name: str, tensors: Mapping[str, Tensor]) -> Any:
    """Return the tree that `_flat` took apart."""
    if name + SHAPES in tensors:
        shapes = tensors[name + SHAPES]
        flat = tensors[name].split(shapes.prod(1).tolist())
        return [one.view(shape) for one, shape in zip(flat, shapes.tolist(), strict=True)]
    if name in tensors:
        return tensors[name]
    inside = [key.removeprefix(f"{name}/").removesuffix(SHAPES) for key in tensors if key.startswith(f"{name}/")]
    below = dict.fromkeys(key.partition("/")[0] for key in inside)
    parts = {unquote(part): _tree(f"{name}/{part}", tensors) for part in below}
    if parts and all(isinstance(one, list) for one in parts.values()):
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    return parts
