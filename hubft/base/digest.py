"""sha256 of tensors and files: the one way in which hubft says that bytes are equal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hubft.base.errors import PackageError
from hubft.base.whole import whole


def of_tensor(tensor: Tensor) -> str:
    """Return the sha256 (hex) of a tensor's dtype, shape and values, wherever it lies; of one that is in shards each
    process must ask."""
    plain = whole(tensor).cpu().contiguous()
    digest = hashlib.sha256(f"{plain.dtype} {list(plain.shape)}\n".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def of_tensors(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the sha256 of each tensor by name."""
    return {name: of_tensor(tensor) for name, tensor in tensors.items()}


def of_state(digests: Mapping[str, str]) -> str:
    """Return one sha256 for all: over the sorted lines `name sha256`."""
    return hashlib.sha256("".join(f"{n} {d}\n" for n, d in sorted(digests.items())).encode()).hexdigest()


def of_file(path: Path) -> str:
    """Return the sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(file: Path) -> Path:
    """Return the path of a weights' file whose bytes agree with the digest in its name (`resnet18-f37072fd.pth`).

    :raises PackageError: other bytes, or a name without a digest.
    """
    sha256 = of_file(file)
    wanted = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if wanted is None or not sha256.startswith(wanted[1]):
        raise PackageError(f"{file} is damaged or altered: its sha256 is {sha256}; delete it and load again")
    return file
