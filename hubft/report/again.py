"""The page of a finished run, written again: by the samples as they are now, where the data is still there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubft.base.console import Console
from hubft.base.errors import CheckpointError, HubftError
from hubft.base.files import write_json
from hubft.base.serialize import from_dict
from hubft.data.reading import is_there
from hubft.hookspecs import Loaded
from hubft.job import Job
from hubft.publish import package as packages
from hubft.publish.package import Package
from hubft.report import outcomes, page, samples
from hubft.report.samples import Seen
from hubft.run import resuming
from hubft.run.folder import Run
from hubft.share import load


def write(run: Run, console: Console, data: Path | None = None, trust: bool = False) -> Path:
    """Return the page that now lies in the report of a run: of what its folder holds, with pictures of samples made
    anew; where the data or the package is gone, with those that were made then.

    :param data: where the data is now, if it was moved.
    :param trust: also ask a model that is built by code of a repository, which runs that code.
    :raises CheckpointError: the folder is no run, or one that has measured nothing yet.
    """
    job = run.job()
    facts = _facts(run)
    seen = _seen(run, replace(job, data=str(data or job.data)), console, trust) if facts else ""
    if isinstance(seen, Seen):
        write_json(run.report / page.FACTS, {**facts, **samples.shown(seen, run.report)})
    elif facts:
        console.say(f"note: {seen}; samples are shown as they were then")
    return page.write(run)


def _facts(run: Run) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((run.report / page.FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(f"{str(run.report / page.FACTS)!r} cannot be read ({error}): train it again") from error
    return found


def _seen(run: Run, job: Job, console: Console, trust: bool) -> Seen | str:
    """Return what there is to look at, or why there is nothing."""
    kept = outcomes.read(run.report)
    if kept is None:
        return "what became of each sample was too much to be kept"
    if not run.package.is_dir():
        return "no package was made"
    if not is_there(str(job.data)):
        return f"the data was in {str(job.data)!r}, which is not there now (--data says where it is)"
    try:
        found = resuming.data(run, job)
        package = packages.read(run.package)
    except HubftError as error:
        return str(error)
    settled = from_dict(Job, json.loads(run.plan_file.read_text(encoding="utf-8"))["job"])
    model = _model(package, console, trust)
    inputs = package.manifest.inputs
    return Seen(found, kept.task, inputs, settled.recipe, kept.outputs, kept.targets, model)


def _model(package: Package, console: Console, trust: bool) -> Loaded | None:
    """Return the model of a package; None where it cannot be had here."""
    try:
        return load.filled(package, trust)
    except HubftError as error:
        console.say(f"note: what the model looked at is not drawn: {error}")
        return None
