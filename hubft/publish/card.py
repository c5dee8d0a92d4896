"""The README.md of a package: the model card that the Hugging Face Hub shows.

Every text that is not ours (a class name is the name of somebody's folder) is made inert: it can neither
become markup, nor a link, nor reorder or hide what stands beside it.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hubft.job import Job
from hubft.text import visible

if TYPE_CHECKING:
    from hubft.publish.manifest import Manifest

ROWS = 200  # classes that are listed


def text(manifest: Manifest) -> str:
    """Return the card in Markdown, with the metadata that the Hub reads in front."""
    return "\n".join([*_front(manifest), *_body(manifest)]) + "\n"


def inert(value: object) -> str:
    """Return a text as Markdown that shows it and does nothing: no markup, no HTML, no control characters."""
    shown = visible(str(value))
    return "".join(c if not c.isascii() or c.isalnum() or c in " -," else f"&#{ord(c)};" for c in shown)


def command(job: Job) -> str:
    """Return the command line that makes the run again, in one line of printable characters.

    Options at their default are left out; `DATA` stands for the folder.
    """
    words = ["hubft", "finetune", job.reference, "DATA"]
    for name, value in _options(job):
        values = value if isinstance(value, tuple) else (value,)
        words += [word for one in values for word in ("--" + name.replace("_", "-"), str(one))]
    return "".join(c if c.isprintable() else "?" for c in shlex.join(words))


def _options(part: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value)
        elif field.default is not dataclasses.MISSING and value != field.default and field.name != "outputs":
            yield field.name, value


def accuracy(metrics: Mapping[str, Any]) -> str:
    """Return `93.1 % (95 % interval 90.2 to 95.3 %, 420 images)`, or nothing where it was not measured."""
    try:
        value, low, high = (f"{100 * metrics['accuracy'][key]:.1f}" for key in ("value", "low", "high"))
        return f"{value} % (95 % interval {low} to {high} %, {int(metrics['accuracy']['n'])} images)"
    except (KeyError, TypeError, ValueError):
        return ""


def _front(manifest: Manifest) -> Iterator[str]:
    # JSON is YAML too, and json.dumps quotes everything that YAML could take for more than a text.
    facts: dict[str, Any] = {
        "library_name": "hubft",
        "pipeline_tag": "image-classification",
        "tags": ["hubft", manifest.job.family, "image-classification"],
    }
    if manifest.base.license:
        facts["license"] = manifest.base.license
    if accuracy(manifest.metrics):
        metric = {"type": "accuracy", "name": "accuracy", "value": manifest.metrics["accuracy"]["value"]}
        dataset = {"name": visible(manifest.job.data), "type": "imagefolder"}
        result = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": [metric]}
        facts["model-index"] = [{"name": visible(manifest.job.reference), "results": [result]}]
    yield "---"
    yield from (f"{key}: {json.dumps(value)}" for key, value in facts.items())
    yield "---"


def _body(manifest: Manifest) -> Iterator[str]:
    job, base = manifest.job, manifest.base
    yield f"# {inert(job.reference)}, fine-tuned on {inert(job.data)}\n"
    yield f"An image classifier for {len(manifest.classes)} classes, made with hubft.\n"
    if accuracy(manifest.metrics):
        yield f"Accuracy on held-out images: **{accuracy(manifest.metrics)}**.\n"
    yield "## Load it\n"
    yield "```python"
    yield "import torch"
    yield ""
    yield 'model = torch.hub.load("ORG/hubft", "finetuned", "OWNER/NAME@REVISION")  # or the folder of this package'
    yield "inputs = model.preprocess(image)[None]  # image: PIL, RGB"
    yield 'model.hubft["classes"][model(inputs).argmax().item()]'
    yield "```\n"
    if manifest.delta is not None:
        wheel = f" (`pip install {base.requires}`)" if base.requires else ""
        yield f"This package holds only what differs from its base {inert(base.reference)}, which is needed{wheel}.\n"
    yield "## How it was made\n"
    yield "```"
    yield command(job)
    yield "```\n"
    yield from _table("fact", "value", _facts(manifest))
    yield "## Classes\n"
    yield from _table("class", "recall", _classes(manifest))


def _facts(manifest: Manifest) -> Iterator[tuple[str, object]]:
    base = manifest.base
    yield "base", base.reference
    yield "base revision", base.revision or "unknown"
    yield "base sha256", base.sha256 or "unknown"
    yield "license of the base", base.license or "unknown"
    for title, part in (("data", manifest.data), ("frozen", manifest.frozen), ("version", manifest.versions)):
        yield from _leaves(title, part)


def _leaves(title: str, part: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{title} {key}", value)
        elif isinstance(value, str | int | float):
            yield f"{title} {key}", value


def _classes(manifest: Manifest) -> Iterator[tuple[str, object]]:
    recall = manifest.metrics.get("recall")
    if not isinstance(recall, list) or len(recall) != len(manifest.classes):
        recall = [None] * len(manifest.classes)
    for name, measured in list(zip(manifest.classes, recall, strict=True))[:ROWS]:
        value = measured.get("value") if isinstance(measured, dict) else None
        yield name, f"{100 * value:.1f} %" if isinstance(value, int | float) else "not measured"
    if len(manifest.classes) > ROWS:
        yield f"and {len(manifest.classes) - ROWS} more", "in hubft.json"


def _table(left: str, right: str, rows: Iterator[tuple[str, object]]) -> Iterator[str]:
    yield f"| {left} | {right} |"
    yield "| --- | --- |"
    yield from (f"| {inert(a)} | {inert(b)} |" for a, b in rows)
    yield ""
