"""The package: what is published of a run. Its format (schema 1), written atomically, read with suspicion.

    hubft.json              the manifest
    model.safetensors       all weights, or
    delta.safetensors       only the tensors that differ from the base; the manifest lists those to be taken from it
    selftest.safetensors    images and the logits they must give (`hubft/publish/selftest.py`)
    README.md               the model card (`hubft/publish/card.py`)

A package is data: nothing in it is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from hubft import digest
from hubft.errors import HubftError, PackageError
from hubft.hookspecs import Base, Preprocess
from hubft.job import Job, Reference, from_dict, to_dict
from hubft.publish import card, tensors

SCHEMA = 1
MANIFEST = "hubft.json"
WEIGHTS = "model.safetensors"
DELTA = "delta.safetensors"
SELFTEST = "selftest.safetensors"
CARD = "README.md"
FILES = (MANIFEST, WEIGHTS, DELTA, SELFTEST, CARD)

MANIFEST_LIMIT = 16 * 2**20  # bytes
UNSEALED = 64 * "0"  # stands for the seal in the bytes whose sha256 the seal is


@dataclass(frozen=True)
class File:
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Manifest:
    """All that a package states about itself."""

    job: Job
    classes: tuple[str, ...]
    """Names of the outputs, in order; any text at all."""
    preprocess: Preprocess
    base: Base
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured on the held-out images; `{name: {"value", "low", "high", "n"}}` is shown on the card."""
    data: dict[str, Any] = field(default_factory=dict)
    """Fingerprints of the images."""
    frozen: dict[str, Any] = field(default_factory=dict)
    """The run's proof that what was frozen did not move."""
    versions: dict[str, str] = field(default_factory=dict)
    delta: dict[str, str] | None = None
    """sha256 by name of the tensors that are taken from the base; None in a full package. `write` fills it in."""
    files: dict[str, File] = field(default_factory=dict)
    """Every file but the manifest; `write` fills it in."""
    schema: int = SCHEMA

    @property
    def weights(self) -> str:
        """Name of the file with the weights."""
        return WEIGHTS if self.delta is None else DELTA


@dataclass(frozen=True)
class Package:
    """A package that was read and checked."""

    folder: Path
    manifest: Manifest


def write(
    folder: Path,
    manifest: Manifest,
    state: Mapping[str, Tensor],
    selftest: Mapping[str, Tensor],
    base_digests: Mapping[str, str] | None = None,
) -> Manifest:
    """Return the complete manifest of the package that now lies in `folder`.

    A package that was there is replaced in the end, by renaming: a crash leaves the old one or the new one.

    :param manifest: without `delta` and `files`; paths of this machine are taken out of its job.
    :param state: the trained model's `state_dict()`.
    :param selftest: of `selftest.make`.
    :param base_digests: sha256 by name of the base's tensors; needed where the job asks for a delta.
    :raises PackageError: the folder holds something else, or the manifest would not be readable.
    """
    folder = folder.resolve()
    new, old = _beside(folder)
    _recover(folder)
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise PackageError(f"{folder} is not empty and is no package: nothing was written")
    reused = None
    if manifest.job.package == "delta":
        assert base_digests is not None, "a delta needs the digests of its base"
        reused = {n: base_digests[n] for n, t in state.items() if base_digests.get(n) == digest.of_tensor(t)}
    manifest = replace(manifest, job=manifest.job.published(), delta=reused)
    new.mkdir(parents=True)
    tensors.save(new / manifest.weights, {n: t for n, t in state.items() if n not in (reused or {})})
    tensors.save(new / SELFTEST, selftest)
    (new / CARD).write_text(card.text(manifest), encoding="utf-8")
    files = {path.name: File(digest.of_file(path), path.stat().st_size) for path in sorted(new.iterdir())}
    (new / MANIFEST).write_text(to_json(replace(manifest, files=files)), encoding="ascii")
    for path in (*new.iterdir(), new):
        _sync(path)
    written = read(new).manifest  # what cannot be read is never put in place
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return written


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.parent / f".{folder.name}.new", folder.parent / f".{folder.name}.old"


def _recover(folder: Path) -> None:
    """Mend what a crash in `write` left: the old package is put back if it had just been moved away."""
    new, old = _beside(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    for path in (new, old):
        if path.exists():
            shutil.rmtree(path)


def locate(folder: Path) -> Path | None:
    """Return where the package `folder` lies: there, or beside it where a crash in `write` left the old one."""
    return next((place for place in (folder, _beside(folder.resolve())[1]) if (place / MANIFEST).is_file()), None)


def _sync(path: Path) -> None:
    """Have the bytes of a file, or the names in a folder, on the disk and not only in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def to_json(manifest: Manifest) -> str:
    """Return the text of hubft.json: the job's task beside the job, not in it, and the text's own sha256, `seal`."""
    plain = to_dict(manifest)
    plain["task"] = plain["job"].pop("task")
    first = {key: plain.pop(key) for key in ("schema", "job", "task")}
    text = json.dumps({**first, **plain, "seal": UNSEALED}, indent=1, allow_nan=False) + "\n"
    return text.replace(UNSEALED, hashlib.sha256(text.encode()).hexdigest())


def read(folder: Path, verify: bool = True) -> Package:
    """Return the package in a folder, every file compared with what the manifest says of it.

    :param verify: read all files and compare their sha256, not only their sizes.
    :raises PackageError: incomplete, altered, of a newer schema, or no package.
    """
    manifest = _read_manifest(folder / MANIFEST)
    for name, file in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise PackageError(f"{folder}: {name} is missing")
        if path.stat().st_size != file.size:
            raise PackageError(f"{folder}: {name} has {path.stat().st_size} bytes, not the {file.size} of its manifest")
    for name, file in manifest.files.items() if verify else ():
        if digest.of_file(folder / name) != file.sha256:
            raise PackageError(f"{folder}: {name} was altered: its sha256 is not that of the manifest")
    return Package(folder, manifest)


def _read_manifest(path: Path) -> Manifest:
    try:
        facts = path.stat()
    except OSError as error:
        raise PackageError(f"{path.parent} is no package: it has no {MANIFEST}") from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > MANIFEST_LIMIT:
        raise PackageError(f"{path}: not a file of at most {MANIFEST_LIMIT} bytes")
    text = path.read_bytes()
    data = tensors.parse_json(text, MANIFEST)
    schema = data.get("schema")
    if type(schema) is not int or schema < 1:
        raise PackageError(f"{MANIFEST}: schema {schema!r} is no schema of hubft")
    if schema > SCHEMA:
        raise PackageError(
            f"{MANIFEST}: written by a newer hubft (schema {schema}, this one reads {SCHEMA}): pip install -U hubft"
        )
    seal = str(data.pop("seal", "")).encode()
    if len(seal) != 64 or hashlib.sha256(text.replace(seal, UNSEALED.encode())).hexdigest().encode() != seal:
        raise PackageError(f"{path.parent}: {MANIFEST} was altered: its seal is not that of its text")
    try:
        job = data.get("job")
        if not isinstance(job, dict) or "task" in job:
            raise PackageError("job must be an object, and task stand beside it")
        data["job"] = {**job, "task": data.pop("task", None)}
        manifest = from_dict(Manifest, data, "manifest")
        _check(manifest)
    except (HubftError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # One border for all that a hostile value does to a check that expects decent ones.
        line = " ".join(str(error).split())
        raise PackageError(f"{MANIFEST}: {line[:500]}") from error
    return manifest


def _check(manifest: Manifest) -> None:
    """Check what the fields of the manifest say of each other."""
    task, base, files = manifest.job.task, manifest.base, manifest.files
    if len(manifest.classes) != task.outputs:
        raise PackageError(f"{len(manifest.classes)} classes for {task.outputs} outputs")
    if (manifest.delta is None) != (manifest.job.package == "full"):
        raise PackageError(f"job.package is {manifest.job.package!r}, and delta says otherwise")
    if set(files) != {manifest.weights, SELFTEST, CARD}:
        raise PackageError(f"files {sorted(files)} must be {manifest.weights}, {SELFTEST} and {CARD}")
    for sha256 in (*(file.sha256 for file in files.values()), *(manifest.delta or {}).values()):
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise PackageError(f"{sha256[:80]!r} is no sha256")
    for reference in (base.reference, *base.same_as):
        Reference.parse(reference)
    if not re.fullmatch(r"[A-Za-z0-9._-]*", base.requires):  # it is shown after `pip install`
        raise PackageError(f"base.requires {base.requires[:80]!r} is no distribution")
    # A head that the weights cannot fill is refused before it is built: at two bytes a number, the least.
    head = sum(a * b for a, b in pairwise((*task.hidden, task.outputs)))
    if 2 * head > files[manifest.weights].size:
        raise PackageError(f"hidden {list(task.hidden)} needs more numbers than {manifest.weights} holds")
