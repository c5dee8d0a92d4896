"""What a run leaves: its result, the numbers of its report, its package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hubft.base import digest
from hubft.compress import structure
from hubft.data import seen
from hubft.hookspecs import Loaded
from hubft.publish import package, selftest, tensors
from hubft.publish.package import Package
from hubft.run import compressing
from hubft.run.before import Before
from hubft.run.beside import Beside
from hubft.run.folder import Run
from hubft.run.plan import Plan
from hubft.run.prepare import Prepared
from hubft.run.soup import Soup
from hubft.run.wise import Way
from hubft.tasks.metrics import Measured, Metrics


@dataclass(frozen=True)
class Result:
    run: Run
    metrics: Metrics
    """Of the packaged model on the validation images."""
    uncompressed: Metrics | None
    """The same before compression, where there was one."""
    test: Metrics | None = None
    """The same on the test part of the data, where there is one: measured once, when all is done."""
    steps: tuple[compressing.Step, ...] = ()
    """What each method of `--compress` came to, those that were left out too."""
    beside: Beside | None = None
    """Its teacher and the same model without it, where there was a teacher."""
    before: Before | None = None
    """The model before it was trained, where it could answer already."""
    way: Way = field(default_factory=Way)
    """How far it came from where it began."""
    soup: Soup | None = None
    """Of which packages it was made, if it was."""
    beyond: Mapping[str, Measured] = field(default_factory=dict)
    """Its headline minus that of `probe` and `base_rate`, on the same samples (`hubft.run.beyond`)."""


def results(prepared: Prepared, result: Result, plan: Plan, seconds: float) -> dict[str, Any]:
    """Return what results.json holds, JSON types."""
    return {
        "classes": list(prepared.data.task.names),
        "metrics": result.metrics.plain(),
        "uncompressed": result.uncompressed and result.uncompressed.plain(),
        "test": result.test and result.test.plain(),
        "compression": [step.plain() for step in result.steps],
        "beside": result.beside and result.beside.plain(),
        "adapter": prepared.folded and prepared.folded.record,
        "quantized_base": prepared.folded and prepared.folded.narrow and prepared.folded.narrow.plain(),
        "before": result.before and result.before.plain(),
        "probe": plan.probed,
        "beyond": {name: asdict(one) for name, one in result.beyond.items()},
        "wise": result.way.line and result.way.line.plain(),
        "moved": dict(result.way.moved),
        "memory": dict(result.way.memory),
        "soup": result.soup and result.soup.plain(),
        "seconds": seconds,
        "quarantined": dict(prepared.data.quarantined),
    }


def package_of(
    prepared: Prepared,
    result: Result,
    plan: Plan,
    proof: dict[str, str],
    done: compressing.Compression,
    pictures: Sequence[Path],
) -> Package:
    """Return the package that now lies in the folder of a run.

    :param proof: of what was frozen to the end.
    :param pictures: of the report; the first stands on the card.
    """
    loaded, state = prepared.loaded, structure.state(prepared.loaded.model)
    if prepared.folded and prepared.job.adapting.apart:
        state |= prepared.folded.tensors
    frozen = {} if done.tuned else proof
    others = {"uncompressed": result.uncompressed, "test": result.test}
    beside = {"beside": result.beside.plain(public=True)} if result.beside else {}
    beside |= {"before": result.before.plain(public=True)} if result.before else {}
    task = prepared.data.task
    taken: dict[str, Any] = {"training samples taken": len(prepared.data.train)} if plan.rows else {}
    taken |= result.soup.facts if result.soup else {}
    manifest = package.Manifest(
        job=prepared.job,
        task=task,
        inputs=loaded.inputs,
        base=loaded.base,
        metrics=result.metrics.public() | {name: found.public() for name, found in others.items() if found} | beside,
        data=_data(prepared),
        frozen={"tensors": len(frozen), "sha256": digest.of_state(frozen)},
        settled=plan.settled() | taken | result.way.facts | (prepared.folded.facts if prepared.folded else {}),
        versions=prepared.versions,
        structure=done.structure,
    )
    files = {**extras(loaded, manifest), **({package.PICTURE: pictures[0].read_bytes()} if pictures else {})}
    if prepared.folded and prepared.job.adapting.apart:
        files |= prepared.folded.files
    with prepared.counting("package written", None):
        manifest = package.write(result.run.package, manifest, state, selftest.make(loaded), prepared.base, files)
    return Package(result.run.package, manifest)  # written, read back and hashed a moment ago


def _data(prepared: Prepared) -> dict[str, Any]:
    """Return the fingerprints of the images, with a record of those that were trained on, here or in packages below."""
    train = seen.record((sample.sha256 for sample in prepared.data.train), prepared.seen)
    return {**prepared.fingerprint, "train": {**prepared.fingerprint["train"], **train}}


def extras(loaded: Loaded, manifest: package.Manifest) -> dict[str, bytes]:
    """Return config.json and what is read beside it, with their bytes, where the library of the family loads such a
    package without hubft."""
    own = not loaded.config or manifest.job.over_base or manifest.structure
    unnamed = "problem_type" in loaded.config and manifest.task.problem == ""
    if own or unnamed or tensors.in_int8(structure.state(loaded.model)):
        return {}
    names = manifest.task.names
    labels = {
        "label_names": list(names),
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": manifest.task.problem,
    }
    known = {key: value for key, value in labels.items() if key in loaded.config}
    stated = {package.CONFIG: {**loaded.config, **known}, **loaded.files}
    return {file: (json.dumps(its, indent=1, allow_nan=False) + "\n").encode() for file, its in stated.items()}
