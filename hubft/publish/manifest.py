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

from hubft import modality
from hubft.base.display import quoted, unprintable
from hubft.base.errors import DamagedPackage, HubftError, PackageError
from hubft.base.files import MANIFEST
from hubft.base.serialize import from_dict, to_dict
from hubft.compress import lora, structure
from hubft.hookspecs import Base
from hubft.inputs import Inputs
from hubft.job import PACKAGE, Job, Reference
from hubft.publish import carried, tensors
from hubft.publish.carried import File
from hubft.tasks import kinds as tasks
from hubft.tasks.task import Task

SCHEMA = 2  # written; 1 is read, too
WEIGHTS = "model.safetensors"
DELTA = "delta.safetensors"
SELFTEST = "selftest.safetensors"
CARD = "README.md"
PICTURE = "picture.png"
CONFIG, PREPROCESSOR, TOKENIZER_CONFIG = "config.json", "preprocessor_config.json", "tokenizer_config.json"
GENERATION = "generation_config.json"
BESIDE = (PREPROCESSOR, TOKENIZER_CONFIG, GENERATION)
"""What the library of a family may read beside CONFIG."""
ROLES = {
    WEIGHTS: "weights",
    DELTA: "weights",
    lora.FILE: "weights",
    lora.CONFIG: "adapter",
    SELFTEST: "selftest",
    CARD: "card",
    PICTURE: "picture",
    "confusion.png": "picture",  # of schema 1
    CONFIG: "config",
    **{file: file.removesuffix(".json") for file in BESIDE},
    **carried.ROLES,
}
"""What each file of a package is for."""
NEEDED = {"weights", "selftest", "card"}
FILES = (MANIFEST, *ROLES)

CHAIN = 64  # packages of which each was fine-tuned from the next
MANIFEST_LIMIT = 16 * 2**20  # bytes
UNSEALED = 64 * "0"  # stands for the seal in the bytes whose sha256 the seal is


@dataclass(frozen=True)
class Manifest:
    """All that a package states about itself."""

    job: Job
    task: Task
    inputs: Inputs
    base: Base
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured on the held-out images, as `Metrics.plain` gives it, with `uncompressed` and `test` beside it."""
    data: dict[str, Any] = field(default_factory=dict)
    """Fingerprints of the images."""
    frozen: dict[str, Any] = field(default_factory=dict)
    """The run's proof that what was frozen did not move."""
    settled: dict[str, Any] = field(default_factory=dict)
    """What the job left open and the run chose by measuring, by plain names."""
    versions: dict[str, str] = field(default_factory=dict)
    structure: tuple[dict[str, Any], ...] = ()
    """What changed the architecture after it was built, to be done again, a record each
    (`hubft.compress.structure`)."""
    delta: dict[str, str] | None = None
    """sha256 by name of the tensors taken from the base; None in a full package. `package.write` fills it in."""
    files: dict[str, File] = field(default_factory=dict)
    """Every file but the manifest; `package.write` fills it in."""
    schema: int = SCHEMA

    @property
    def picture(self) -> str:
        """Name of the file with the picture of what was reached; empty where there is none."""
        return next((name for name, file in self.files.items() if file.role == "picture"), "")

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
        form = structure.form(self.structure)
        return form.file if form else WEIGHTS if self.delta is None else DELTA


def to_json(manifest: Manifest) -> str:
    """Return the text of hubft.json: the job's head beside the job, not in it, and the text's own sha256, `seal`."""
    plain = to_dict(manifest)
    head, _ = plain["job"].pop("head"), plain.pop("inputs")
    inputs = {"kind": manifest.inputs.kind, **carried.stated(manifest.inputs)}
    first = {"schema": plain.pop("schema"), "job": plain.pop("job"), "task": tasks.plain(manifest.task)}
    plain.pop("task")
    text = json.dumps({**first, "head": head, "inputs": inputs, **plain, "seal": UNSEALED}, indent=1, allow_nan=False)
    before, _, after = f"{text}\n".rpartition(UNSEALED)
    return before + hashlib.sha256(f"{text}\n".encode()).hexdigest() + after


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
    manifest = parse(path.read_bytes())
    return replace(manifest, inputs=carried.filled(manifest.inputs, manifest.files, path.parent))


def parse(text: bytes) -> Manifest:
    """Return the manifest that the text of a hubft.json states, wherever it was kept; at most MANIFEST_LIMIT of it.

    :raises PackageError: altered, of a newer schema, or with a value that is none.
    """
    if len(text) > MANIFEST_LIMIT:
        raise PackageError(f"{MANIFEST}: {len(text)} bytes, more than {MANIFEST_LIMIT}")
    data = _unsealed(text)
    try:
        foreign = ("head", "inputs") if data["schema"] == 1 else ("preprocess",)
        if other := [key for key in foreign if key in data]:
            raise PackageError(f"manifest: unknown key {other[0]!r} in schema {data['schema']}")
        data = _of_schema_1(data) if data["schema"] == 1 else data
        job, inputs = data.get("job"), data.pop("inputs", None)
        if not isinstance(job, dict) or "head" in job:
            raise PackageError("job must be an object, and head stand beside it")
        kind = inputs.pop("kind", None) if isinstance(inputs, dict) else None
        if kind not in modality.KINDS:
            raise PackageError(f"inputs must be an object of a kind among {', '.join(modality.KINDS)}")
        inputs = from_dict(modality.named(kind).takes, inputs, "manifest.inputs")
        data |= {"job": {**job, "head": data.pop("head", None)}}
        made = {"task": tasks.read(data.pop("task", None)), "inputs": inputs}
        manifest = from_dict(Manifest, data, "manifest", made)
        _check(manifest)
    except (HubftError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # One border for all that a hostile value does to a check that expects decent ones.
        line = " ".join(str(error).split())
        raise PackageError(f"{MANIFEST}: {line[:500]}") from error
    return manifest


def _of_schema_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a classifier of images, which all of schema 1 are, as schema 2 has it."""
    classes, files = data.pop("classes", None), data.get("files")
    if isinstance(files, dict):
        files = {name: {"role": ROLES.get(name, ""), **file} if isinstance(file, dict) else file
                 for name, file in files.items()}  # fmt: skip
    preprocess = data.pop("preprocess", None)
    inputs = {"kind": "images", **preprocess} if isinstance(preprocess, dict) else preprocess
    task = {"kind": "classification", "classes": classes}
    return {**data, "schema": SCHEMA, "head": data.get("task"), "task": task, "inputs": inputs, "files": files}


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
    task, base, files = manifest.task, manifest.base, manifest.files
    if task.outputs != manifest.job.head.outputs:
        raise PackageError(f"{task.outputs} {task.word} names for {manifest.job.head.outputs} outputs")
    for name, times in Counter(task.names).items():
        if problem := unprintable(name):
            raise PackageError(f"the name of the {task.word} {quoted(name)} {problem}")
        if times > 1:
            raise PackageError(f"{times} {task.word} names are {quoted(name)}")
    if (manifest.delta is not None) != manifest.job.over_base:
        raise PackageError(f"job.package is {manifest.job.package!r}, and delta says otherwise")
    structure.check(manifest.structure)
    if (structure.form(manifest.structure) is not None) != manifest.job.adapting.apart:
        raise PackageError("structure has an adapter alone in a package, and job.adapting says otherwise")
    _check_files(manifest)
    for sha256 in (*(file.sha256 for file in files.values()), *(manifest.delta or {}).values(), *base.code.values()):
        if not re.fullmatch(r"[0-9a-f]{64}", str(sha256)):
            raise PackageError(f"{str(sha256)[:80]!r} is no sha256")
    for reference in (base.reference, *base.same_as, *base.below):
        Reference.parse(reference)
    further = Reference.parse(base.reference).family == PACKAGE
    if further != bool(base.below) or Reference.parse(base.architecture).family == PACKAGE or len(base.below) > CHAIN:
        raise PackageError(f"base.below {base.below[:3]} must lead from {base.reference} down to a pretrained model")
    if not re.fullmatch(r"[A-Za-z0-9._-]*", base.requires):
        raise PackageError(f"base.requires {base.requires[:80]!r} is no distribution")
    if manifest.delta is None or not further:  # else the head may be that of the package below, which `load` looks at
        check_head(manifest)


def _check_files(manifest: Manifest) -> None:
    """Check that the files are those of a package, each once in its role."""
    files = manifest.files
    roles = Counter(file.role for file in files.values())
    wrong = [name for name, file in files.items() if ROLES.get(name) != file.role]
    own = dict(manifest.inputs.FILES) | ({"adapter": lora.CONFIG} if manifest.weights == lora.FILE else {})
    foreign = set(roles) & ({*carried.ROLES.values(), "adapter"} - set(own))
    if (
        wrong
        or foreign
        or not set(roles) >= NEEDED | set(own)
        or max(roles.values()) > 1
        or manifest.weights not in files
    ):
        raise PackageError(
            f"files {sorted(files)[:9]} must be {', '.join((manifest.weights, SELFTEST, CARD, *own.values()))}, and at "
            f"most {PICTURE}, {CONFIG} and what its library reads beside that, each with its role"
        )


def check_head(manifest: Manifest) -> None:
    """Refuse a head that the weights cannot fill before it is built: at a byte a number, the least.

    :raises PackageError: too large a head.
    """
    head, file = manifest.job.head, manifest.weights
    if sum(a * b for a, b in pairwise((*head.hidden, head.outputs))) > manifest.files[file].size:
        raise PackageError(f"hidden {list(head.hidden)} needs more numbers than {file} holds")
