"""The page of a run: `report/index.html`, one file without a request, made of what the run's folder holds."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import hubft
from hubft import modality
from hubft.base import urls
from hubft.base.display import visible
from hubft.base.errors import CheckpointError
from hubft.base.files import write_text
from hubft.base.serialize import to_dict
from hubft.job import Job
from hubft.publish import package as packages
from hubft.report import charts, commands, documents, tables
from hubft.report.documents import Documents, Steps
from hubft.report.tables import RESULTS, Part
from hubft.run.folder import PAGE_FILE, RESULTS_FILE, Run
from hubft.tasks import kinds
from hubft.tasks.metrics import Measured, read, title

FILE, FACTS = PAGE_FILE, "facts.json"
TEMPLATES = Path(__file__).parent / "templates"
FILES = {
    RESULTS: RESULTS_FILE,
    "facts": FACTS,
    "epochs": "../metrics.jsonl",
    "plan": "../plan.json",
    "job": "../job.json",
    "data": "../data.json",
}
"""The JSON behind a page, relative to the report's folder."""
OTHERS: Mapping[str, Steps] = {
    "before compression": ("uncompressed",),
    "test part": ("test",),
    "probe": ("probe",),
    "before training": ("before", "metrics"),
    "the same without a teacher": ("beside", "without"),
    "the teacher": ("beside", "teacher"),
}
"""What a model is held against -> where its metrics stand in the results."""
BASE_RATE = "base rate"
BEYOND = {"probe": "probe", BASE_RATE: "base_rate"}
"""What a model is held against -> how the results call the difference to it (`hubft.run.beyond`)."""


def write(run: Run) -> Path:
    """Return the page that now lies in the folder of a run's report.

    :raises CheckpointError: the folder is no run, or one that has measured nothing yet.
    """
    job = run.job()
    known = Documents(documents.read(run.report, FILES))
    if RESULTS not in known.known:
        raise CheckpointError(f"{str(run.folder)!r} has not come to its report; go on with: {run.resumed_by()}")
    if "facts" not in known.known:
        raise CheckpointError(
            f"{str(run.folder)!r} is of an older hubft, which kept nothing for a page: train it again"
        )
    made = environment().get_template("page.html").render(**common(), **context(run, job, known))
    write_text(run.report / FILE, made)
    return run.report / FILE


def environment() -> Environment:
    """Return what fills templates in: whatever is not marked up is escaped."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # names of classes and files are strangers' texts
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def common() -> dict[str, Any]:
    """Return what every page is filled with: style and script are in the page, and no other script runs there."""
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "sort.js"))
    return {
        "style": Markup(style),
        "script": Markup(script),
        "script_sha256": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "visible": visible,
        "version": hubft.__version__,
    }


def context(run: Run, job: Job, known: Documents) -> dict[str, Any]:
    """Return what the template is filled with."""
    metrics = read(known.get(RESULTS, "metrics"))
    task = kinds.read(known.get("facts", "task"))
    heads = tables.parts(task, metrics)
    package = packages.read(run.package, verify=False) if run.package.is_dir() else None
    history, probe = known.get("epochs") or [], known.get(RESULTS, "probe")
    measured = {"validation part": ("metrics",), **OTHERS}
    return {
        "known": known,
        "title": f"{visible(job.reference, 80)} on {visible(Path(str(job.data)).name, 60)}",
        "summary": task.summary(),
        "word": modality.named(known.get("facts", "kind")).word,
        "folder": visible(str(run.folder), 200),
        "headline": title(metrics.headline),
        "head": known.number(RESULTS, "metrics", metrics.headline),
        "better": metrics.head.better,
        "against": against(known, metrics.headline),
        "curves": charts.curves(history, metrics.headline, probe) if history else [],
        "measured": tables.measured(known, measured),
        "heads": [_head(known, part) for part in heads],
        "mistakes": [_pictured(run.report, one) for one in known.get("facts", "mistakes") or []],
        "batch": [_pictured(run.report, one) for one in known.get("facts", "batch") or []],
        "counts": tables.counts(known, task),
        "plan": _plan(known, job),
        "timed": list(dict.fromkeys(column for row in known.get("plan", "machine", "table") or [] for column in row)),
        "use": commands.use(run, package, str(job.data)) if package else {},
        "reproduce": commands.reproduce(job),
    }


def against(known: Documents, headline: str) -> dict[str, Any]:
    """Return the headline beside that of the probe, of the base rate and of whatever else was measured: a chart, and
    rows of name, linked number, and the paired difference of this model to it, where there is one."""
    places: dict[str, tuple[str, Steps]] = {"this model": (RESULTS, ("metrics",))}
    places |= {name: (RESULTS, path) for name, path in OTHERS.items()}
    places[BASE_RATE] = ("facts", ("base_rate",))
    there = {name: (file, (*path, headline)) for name, (file, path) in places.items()}
    there = {name: (file, path) for name, (file, path) in there.items() if known.get(file, *path)}
    reached = {name: Measured(**known.get(file, *path)) for name, (file, path) in there.items()}
    apart = {name: ("beyond", key) for name, key in BEYOND.items() if known.get(RESULTS, "beyond", key)}
    rows = [
        (name, known.number(file, *path), known.number(RESULTS, *apart[name]) if name in apart else "")
        for name, (file, path) in there.items()
    ]
    return {"chart": charts.compared(reached, headline) if len(reached) > 1 else "", "rows": rows}


def _head(known: Documents, part: Part) -> dict[str, Any]:
    """Return what a page shows of a head: tables, and the task's own pictures."""
    matrix = tables.confusion(known, part)
    figures = {name: one for name, one in part.task.figures(part.metrics).items() if name != "confusion.png"}
    return {
        "name": visible(part.name, 60),
        "word": part.task.word,
        "matrix": matrix,
        "figures": [
            (charts.svg(one, f"{name.removesuffix('.png')} {part.name}"), name.removesuffix(".png"))
            for name, one in figures.items()
        ],
        "link": lambda text: known.link(text, RESULTS, *part.path),
        "tables": list(tables.classes(known, part)),
    }


def _pictured(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with its pictures in it."""
    found = {**entry, "pictures": [{**one, "data": _inlined(folder, one["file"])} for one in entry.get("pictures", [])]}
    return found | {"looked": _inlined(folder, entry["looked"]) if "looked" in entry else ""}


def _inlined(folder: Path, file: str) -> str:
    """Return a picture as a data URL; nothing where it is gone."""
    path = folder / file
    return urls.picture(path.read_bytes()) if path.is_file() else ""


def _plan(known: Documents, job: Job) -> list[tuple[str, Any, str]]:
    """Return the options that are not the default: name, value linked to the plan, and who chose it."""
    said = dict(commands.changed(job))
    rows = []
    for part in (*((name,) for name in ("recipe", "compute", "labels", "head", "adapting", "teaching")), ()):
        its = known.get("plan", "job", *part) or {}
        usual = _defaults(job, part)
        for name, value in its.items():
            if isinstance(value, Mapping) or name in commands.OWN or value == usual.get(name):
                continue
            text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
            shown = known.link(documents.shown(text), "plan", "job", *part, name)
            rows.append((name.replace("_", " "), shown, "said" if name in said else "chosen by the run"))
    return rows


def _defaults(job: Job, part: Sequence[str]) -> Mapping[str, Any]:
    usual: Any = json.loads(json.dumps(to_dict(Job(job.reference, "-"))))
    for step in part:
        usual = usual.get(step, {})
    return usual if isinstance(usual, Mapping) else {}
