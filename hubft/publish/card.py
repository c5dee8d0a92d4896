"""The README.md of a package: the model card that the Hugging Face Hub shows.

Every text that is not ours (a class name is the name of somebody's folder) stands in a code span, escaped by
`visible`: there no renderer makes markup, HTML or a link of it, not even of a bare address.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from hubft import modality
from hubft.job import Job
from hubft.publish import exports as exported
from hubft.publish import loading, metadata
from hubft.publish import measured as stated
from hubft.publish.manifest import Manifest
from hubft.publish.markdown import code, inert, table
from hubft.tasks.metrics import Measured, title

ROWS = 200  # classes that are listed; more are in hubft.json
TITLED = ("accuracy", "recall", "precision", "f1", "average_precision", "mean_average_precision", "r2", "perplexity",
          *stated.WHOLE)  # fmt: skip
"""Metrics whose names are ours in every package; others may be made of the name of somebody's column."""
NAMED = 8  # classes that the first sentence names


def text(manifest: Manifest, hub: str = "", exports: Sequence[str] = ()) -> str:
    """Return the card in Markdown, with the metadata that the Hub reads in front.

    :param hub: owner/name where the package lies on the Hub; without it, its folder is what the card loads.
    :param exports: places of the exported files that lie beside it there.
    """
    parts = (
        _summary(manifest),
        loading.text(manifest, hub),
        exported.text(exports, hub, manifest.inputs),
        _measured(manifest),
        _outputs(manifest),
        _reproduce(manifest),
    )
    front = metadata.front(manifest, hub, exported.formats(exports))
    return f"---\n{front}\n---\n" + "\n".join(line for part in parts for line in part)


def command(job: Job) -> str:
    """Return the command line that makes the run again, in one line of printable characters.

    Options at their default are left out; `DATA` stands for the folder.
    """
    words = ["hubft", "finetune", job.reference, "DATA"]
    if teacher := job.teaching.teacher:
        words = ["hubft", "distill", teacher, job.reference, "DATA"]
        job = dataclasses.replace(job, teaching=dataclasses.replace(job.teaching, teacher=""))
    for name, value in _options(job):
        values = value if isinstance(value, tuple) else (value,)
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        words += [word for one in values for word in (f"--{flag}", str(one))]
    return "".join(c if c.isprintable() else "?" for c in shlex.join(words))


def _options(part: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value)
        elif field.default is not dataclasses.MISSING and value != field.default and field.name != "outputs":
            yield field.name, value


def _summary(manifest: Manifest) -> Iterator[str]:
    job, names, measured, kind = manifest.job, manifest.task.names, manifest.metrics, modality.of(manifest.inputs)
    many = f"{kind.word}s"
    yield f"# {inert(job.reference)} fine-tuned on {inert(job.data)}\n"
    first = ", ".join(inert(name) for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    named = f": {first}{more}" if names else ""
    yield f"{manifest.task.claim().format(one=kind.one, many=many)}{named}.\n"
    if found := stated.of(measured):
        name = inert(title(found.headline)) if found.headline not in TITLED else title(found.headline)
        name = name[0].upper() + name[1:]
        yield f"{name} on held-out {many}: **{stated.in_words(found.headline, found.head, many)}**.\n"
    if found and (job.recipe.keep == "best" or job.recipe.patience):
        yield f"These {many} also chose when training ended: the figure is a little too good.\n"
    if tested := stated.of(measured.get("test")):
        words = stated.in_words(tested.headline, tested.head, many)
        yield f"On test {many}, measured once when all was done: **{words}**.\n"
    if before := stated.of(measured.get("uncompressed")):
        words = stated.in_words(before.headline, before.head, many)
        yield f"Before compression with {inert(job.compress)}: {words}.\n"
    yield from _grown(manifest)
    yield from _taught(manifest)
    if manifest.picture:
        yield f"![{manifest.task.caption}]({manifest.picture})\n"


def _grown(manifest: Manifest) -> Iterator[str]:
    """Yield what the model reached before it was trained, where that was measured."""
    facts, many = _mapping(manifest.metrics.get("before")), f"{modality.of(manifest.inputs).word}s"
    found, difference = stated.of(facts.get("metrics")), stated.one_of("difference", facts.get("difference"))
    if found and difference:
        yield (
            f"Before training: {stated.in_words(found.headline, found.head, many)}. On the same {many} the difference "
            f"is {stated.in_words('difference', difference, many)}.\n"
        )
    further = _mapping(facts.get("further"))
    for name in (one for one in TITLED if found and one in found.values and one in further):
        if found and (change := stated.one_of("difference", further[name])):
            words = stated.in_words(name, found.values[name], many)
            yield f"Its {title(name)} was {words}; the difference is {stated.in_words('difference', change, many)}.\n"


def _taught(manifest: Manifest) -> Iterator[str]:
    """Yield what the teacher is and what it is worth, where there was one."""
    if not manifest.job.teaching.teacher:
        return
    facts, many = _mapping(manifest.metrics.get("beside")), f"{modality.of(manifest.inputs).word}s"
    reached = {name: stated.of(facts.get(name)) for name in ("teacher", "without")}
    words = {name: stated.in_words(found.headline, found.head, many) for name, found in reached.items() if found}
    its = f", which reaches {words['teacher']} on them" if "teacher" in words else ""
    yield f"Beside its labels it learned what the package {inert(manifest.job.teaching.teacher)} says{its}.\n"
    difference = stated.one_of("difference", facts.get("difference"))
    if "without" in words and difference:
        yield (
            f"The same model without that teacher: {words['without']}. On the same {many} the "
            f"difference is {stated.in_words('difference', difference, many)}.\n"
        )
    else:
        yield "What that teacher is worth was not measured.\n"


def _reproduce(manifest: Manifest) -> Iterator[str]:
    base = manifest.base
    yield "## Reproduce it\n"
    yield from code(command(manifest.job), language="bash")
    many = f"{modality.of(manifest.inputs).word}s"
    yield f"`DATA` holds these {many}:\n"
    yield from table((many, "number", "sha256 of labels and files"), _data(manifest.data))
    facts = {
        "base": base.reference,
        "its revision": base.revision or "unknown",
        "its sha256": base.sha256 or "unknown",
        "its license": base.license or "unknown",
        **({"it was itself fine-tuned from": ", from ".join(base.below)} if base.below else {}),
        "frozen to the end": f"{manifest.frozen.get('tensors', 'unknown')} tensors",
        **{f"settled: {inert(name)}": value for name, value in islice(manifest.settled.items(), 20)},
        **{f"version of {inert(name)}": version for name, version in islice(manifest.versions.items(), 20)},
    }
    yield from table(("fact", "value"), ((title, inert(fact)) for title, fact in facts.items()))


def _data(data: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for part, name in (("train", "training"), ("val", "held out"), ("tune", "to choose by"), ("test", "test")):
        facts = _mapping(data.get(part))
        if part in ("test", "tune") and not facts:  # most data has none
            continue
        yield name, inert(facts.get("samples", "unknown")), inert(facts.get("sha256", "unknown"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _outputs(manifest: Manifest) -> Iterator[str]:
    task, many = manifest.task, f"{modality.of(manifest.inputs).word}s"
    if not task.names:
        return
    known = stated.listed(manifest.metrics, len(task.names))
    yield "## Outputs\n"
    rows = zip(range(ROWS), task.names, *known.values(), strict=False)
    yield from table(
        ("output", task.word, *(inert(title(name)) if name not in TITLED else title(name) for name in known)),
        (
            (str(i), inert(name), *(_cell(*pair, many) for pair in zip(known, cells, strict=True)))
            for i, name, *cells in rows
        ),
    )
    if len(task.names) > ROWS:
        yield f"And {len(task.names) - ROWS} more, in hubft.json.\n"


def _cell(name: str, measured: Measured | None, many: str) -> str:
    return stated.in_words(name, measured, many) if measured else "not measured"


def _measured(manifest: Manifest) -> Iterator[str]:
    found, many = stated.of(manifest.metrics), f"{modality.of(manifest.inputs).word}s"
    if found is None or len(found.values) < 2:
        return
    yield f"## Measured on held-out {many}\n"
    rows = ((inert(title(name)), stated.in_words(name, one, many)) for name, one in islice(found.values.items(), ROWS))
    yield from table(("metric", "value"), rows)
