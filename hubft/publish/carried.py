"""Files that a package carries for its inputs: a manifest states their names, and who reads it gets their text."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubft import modality
from hubft.base.errors import DamagedPackage, PackageError
from hubft.base.serialize import to_dict
from hubft.inputs import Inputs

ROLES = {file: role for kind in modality.KINDS for role, file in modality.named(kind).takes.FILES.items()}
"""File -> what it is for, which is the field of the inputs that holds its text."""
LIMIT = 64 * 2**20  # bytes of such a file


@dataclass(frozen=True)
class File:
    """A file of a package, as its manifest states it."""

    sha256: str
    size: int
    """Bytes."""
    role: str
    """What it is for, one of `manifest.ROLES`."""


def stated(inputs: Inputs) -> dict[str, Any]:
    """Return inputs as a manifest states them, JSON types: their files by name."""
    return {**to_dict(inputs), **inputs.FILES}


def texts(inputs: Inputs) -> dict[str, bytes]:
    """Return the bytes of the files, by name."""
    return {file: str(getattr(inputs, name)).encode() for name, file in inputs.FILES.items()}


def filled(inputs: Inputs, files: Mapping[str, File], folder: Path, before: str = "") -> Inputs:
    """Return inputs that hold the text of their files.

    :param files: of the manifest.
    :param before: what their names begin with there.
    :raises DamagedPackage: a file is missing, or altered.
    :raises PackageError: one of more than LIMIT bytes, or that is no UTF-8.
    """
    found: Any = inputs
    for name, file in inputs.FILES.items():
        path, wanted = folder / f"{before}{file}", files[file]
        if not path.is_file():
            raise DamagedPackage(f"{folder}: {path.name} is missing")
        if not wanted.size == path.stat().st_size <= LIMIT:
            size = path.stat().st_size
            raise DamagedPackage(
                f"{folder}: {path.name} has {size} bytes, not the {wanted.size} of its manifest, or more than {LIMIT}"
            )
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != wanted.sha256:
            raise DamagedPackage(f"{folder}: {path.name} was altered: its sha256 is not that of the manifest")
        try:
            found = dataclasses.replace(found, **{name: content.decode()})
        except UnicodeDecodeError as error:
            raise PackageError(f"{folder}: {path.name} is no UTF-8: {error}") from error
    whole: Inputs = found
    return whole
