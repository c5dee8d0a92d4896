"""hubft.json: all that a package states about itself, and the checks that a stranger's must pass."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from hubft.base.display import quoted, unprintable
from hubft.base.errors import DamagedPackage, HubftError, PackageError
from hubft.base.files import MANIFEST
from hubft.base.serialize import from_dict, to_dict
from hubft.hookspecs import Base
from hubft.inputs import Preprocess
from hubft.job import PACKAGE, Job, Reference
from hubft.publish import tensors

SCHEMA = 1
WEIGHTS = "model.safetensors"
DELTA = "delta.safetensors"
SELFTEST = "selftest.safetensors"
CARD = "README.md"
PICTURE = "confusion.png"
CONFIG = "config.json"
FILES = (MANIFEST, WEIGHTS, DELTA, SELFTEST, CARD, PICTURE, CONFIG)

CHAIN = 64  # packages of which each was fine-tuned from the next
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
    """Names of the outputs, in order: each once, and each can be shown."""
    preprocess: Preprocess
    base: Base
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured on the held-out images; `{name: {"value", "low", "high", "n"}}` is shown on the card."""
    data: dict[str, Any] = field(default_factory=dict)
    """Fingerprints of the images."""
    frozen: dict[str, Any] = field(default_factory=dict)
    """The run's proof that what was frozen did not move."""
    settled: dict[str, Any] = field(default_factory=dict)
    """What the job left open and the run chose by measuring, by plain names."""
    versions: dict[str, str] = field(default_factory=dict)
    delta: dict[str, str] | None = None
    """sha256 by name of the tensors taken from the base; None in a full package. `package.write` fills it in."""
    files: dict[str, File] = field(default_factory=dict)
    """Every file but the manifest; `package.write` fills it in."""
    schema: int = SCHEMA

    @property
    def built(self) -> Job:
        """The job with the reference that builds the model, whatever was fine-tuned from it before."""
        return replace(self.job, reference=self.base.architecture)

    @property
    def origin(self) -> str:
        """Reference of the pretrained model, as the first of the runs named it."""
        return self.base.architecture if self.base.below else self.job.reference

    @property
    def weights(self) -> str:
        """Name of the file with the weights."""
        return WEIGHTS if self.delta is None else DELTA


def to_json(manifest: Manifest) -> str:
    """Return the text of hubft.json: the job's task beside the job, not in it, and the text's own sha256, `seal`."""
    plain = to_dict(manifest)
    plain["task"] = plain["job"].pop("task")
    first = {key: plain.pop(key) for key in ("schema", "job", "task")}
    text = json.dumps({**first, **plain, "seal": UNSEALED}, indent=1, allow_nan=False) + "\n"
    before, _, after = text.rpartition(UNSEALED)
    return before + hashlib.sha256(text.encode()).hexdigest() + after


def read(path: Path) -> Manifest:
    """Return the manifest that a hubft.json holds.

    :raises PackageError: no such file, altered, of a newer schema, or with a value that is none.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise PackageError(f"{path.parent} is no package: it has no {MANIFEST}") from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > MANIFEST_LIMIT:
        raise PackageError(f"{path}: not a file of at most {MANIFEST_LIMIT} bytes")
    data = _unsealed(path.read_bytes())
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


def _unsealed(text: bytes) -> dict[str, Any]:
    """Return what the text holds but its seal, if it is of a schema that is known and was not altered."""
    try:
        data = tensors.parse_json(text, MANIFEST)
    except PackageError as error:
        raise DamagedPackage(str(error)) from error
    schema = data.get("schema")
    if type(schema) is not int or schema < 1:
        raise PackageError(f"{MANIFEST}: schema {schema!r} is no schema of hubft")
    if schema > SCHEMA:
        raise PackageError(
            f"{MANIFEST}: written by a newer hubft (schema {schema}, this one reads {SCHEMA}): update hubft"
        )
    seal = str(data.pop("seal", "")).encode()
    if len(seal) != 64 or hashlib.sha256(text.replace(seal, UNSEALED.encode())).hexdigest().encode() != seal:
        raise DamagedPackage(f"{MANIFEST} was altered: its seal is not that of its text")
    return data


def _check(manifest: Manifest) -> None:
    """Check what the fields of the manifest say of each other."""
    task, base, files = manifest.job.head, manifest.base, manifest.files
    if len(manifest.classes) != task.outputs:
        raise PackageError(f"{len(manifest.classes)} classes for {task.outputs} outputs")
    for name, times in Counter(manifest.classes).items():
        if problem := unprintable(name):
            raise PackageError(f"the name of the class {quoted(name)} {problem}")
        if times > 1:
            raise PackageError(f"{times} classes have the name {quoted(name)}")
    if (manifest.delta is None) != (manifest.job.package == "full"):
        raise PackageError(f"job.package is {manifest.job.package!r}, and delta says otherwise")
    needed = {manifest.weights, SELFTEST, CARD}
    if not needed <= set(files) <= needed | {PICTURE, CONFIG}:
        raise PackageError(
            f"files {sorted(files)[:9]} must be {', '.join(sorted(needed))}, and at most {PICTURE} and {CONFIG} more"
        )
    for sha256 in (*(file.sha256 for file in files.values()), *(manifest.delta or {}).values()):
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise PackageError(f"{sha256[:80]!r} is no sha256")
    for reference in (base.reference, *base.same_as, *base.below):
        Reference.parse(reference)
    further = Reference.parse(base.reference).family == PACKAGE
    if further != bool(base.below) or Reference.parse(base.architecture).family == PACKAGE or len(base.below) > CHAIN:
        raise PackageError(f"base.below {base.below[:3]} must lead from {base.reference} down to a pretrained model")
    if not re.fullmatch(r"[A-Za-z0-9._-]*", base.requires):
        raise PackageError(f"base.requires {base.requires[:80]!r} is no distribution")
    if manifest.delta is None or not further:  # else the head may be that of the package below, which `load` looks at
        check_head(manifest)


def check_head(manifest: Manifest) -> None:
    """Refuse a head that the weights cannot fill before it is built: at two bytes a number, the least.

    :raises PackageError: too large a head.
    """
    task, file = manifest.job.head, manifest.weights
    if 2 * sum(a * b for a, b in pairwise((*task.hidden, task.outputs))) > manifest.files[file].size:
        raise PackageError(f"hidden {list(task.hidden)} needs more numbers than {file} holds")
