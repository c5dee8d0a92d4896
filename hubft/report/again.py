"""The page of a finished run, written again: by the samples as they are now, where the data is still there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubft.base.bars import Counting, nobody
from hubft.base.errors import CheckpointError, HubftError
from hubft.base.files import write_json, writing
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

THEN = "samples are shown as they were then"


@dataclass(frozen=True)
class Page:
    """A page that was written again."""

    path: Path
    """The file report/index.html."""
    note: str = ""
    """What is missing on it, or as it was then, and why; empty where all is there."""


def write(run: Run, data: str | Path | None = None, trust: bool = False, counting: Counting = nobody) -> Page:
    """Return the page that now lies in the report of a run: of what its folder holds, with pictures of samples made
    anew; where the data or the package is gone, with those that were made then.

    :param data: where the data is now, if it was moved.
    :param trust: also ask a model that is built by code of a repository, which runs that code.
    :raises CheckpointError: the folder is no run, or one that has measured nothing yet.
    """
    job = run.job()
    facts = _facts(run)
    seen, note = _seen(run, replace(job, data=str(data or job.data)), trust, counting) if facts else (None, "")
    with writing(run.report, "make room, or mend that, and type it again"):
        if seen:
            with counting("samples of the report", None):
                write_json(run.report / page.FACTS, {**facts, **samples.shown(seen, run.report)})
        return Page(page.write(run), note)


def _facts(run: Run) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((run.report / page.FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(f"{str(run.report / page.FACTS)!r} cannot be read ({error}): train it again") from error
    return found


def _seen(run: Run, job: Job, trust: bool, counting: Counting) -> tuple[Seen | None, str]:
    """Return what there is to look at, and what of it is missing, and why."""
    kept = outcomes.read(run.report)
    if kept is None:
        return None, f"what became of each sample was too much to be kept; {THEN}"
    if not run.package.is_dir():
        return None, f"no package was made; {THEN}"
    if not is_there(str(job.data)):
        return None, f"the data was in {str(job.data)!r}, which is not there now (--data says where it is); {THEN}"
    try:
        found = resuming.data(run, job, counting)
        package = packages.read(run.package)
    except HubftError as error:
        return None, f"{error}; {THEN}"
    settled = run.settled()
    model, note = _model(package, trust)
    inputs = package.manifest.inputs
    return Seen(found, kept.task, inputs, settled.recipe, kept.outputs, kept.targets, model), note


def _model(package: Package, trust: bool) -> tuple[Loaded | None, str]:
    """Return the model of a package; none, and why, where it cannot be had here."""
    try:
        return load.filled(package, trust), ""
    except HubftError as error:
        return None, f"what the model looked at is not drawn: {error}"
