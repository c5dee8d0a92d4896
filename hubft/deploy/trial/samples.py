"""A few samples of each class, small, to stand beside an answer: text that a page and a file of the Space can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from markupsafe import Markup

from hubft import modality
from hubft.base import urls
from hubft.base.bars import Counting, nobody
from hubft.base.errors import DataError
from hubft.publish.manifest import Manifest
from hubft.run.data import labelled

EACH = 4  # samples of a class
FILE = "examples.json"
SHOWN = 300  # characters of a text

Examples: TypeAlias = Mapping[str, list[str]]
"""Class -> its samples: texts, or pictures as `data:` addresses."""


def of_data(manifest: Manifest, data: str, counting: Counting = nobody) -> dict[str, list[str]]:
    """Return samples of each class of a package, from the part of labelled data that it would be measured on.

    Only tasks whose answer is a class, or several, have any.

    :raises DataError: data that cannot be read, or whose labels the package does not know.
    """
    task, kind = manifest.task, modality.of(manifest.inputs)
    found: dict[str, list[str]] = {name: [] for name in task.names if task.ranks}
    if not found:
        return {}
    known = labelled(data, manifest.job.labels, None, task, manifest.inputs.kind, counting)
    for sample in known.samples:
        stated = task.state(sample.target)
        for name in _classes(stated):
            if len(found.get(name, [])) < EACH and name in found:
                try:
                    shown = kind.shown(known.source.open(sample.place), manifest.inputs)
                except (DataError, OSError):  # it was there when it was listed
                    continue
                found[name].append(shown[:SHOWN] if isinstance(shown, str) else urls.picture(shown))
    return {name: its for name, its in found.items() if its}


def _classes(stated: Mapping[str, object]) -> Iterable[str]:
    """Return the classes that a label states."""
    one, several = stated.get("class"), stated.get("labels")
    return [one] if isinstance(one, str) else several if isinstance(several, list) else []


def read(folder: Path) -> dict[str, list[str]]:
    """Return what `of_data` found, from the file of a Space; nothing where there is none."""
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def shown(examples: Examples, names: Iterable[str]) -> str:
    """Return the samples of classes as HTML, every text of them inert."""
    parts = []
    for name in names:
        its = [
            Markup('<img src="{}" alt="{}" style="height: 6rem; margin: 0.2rem; display: inline-block">').format(
                one, name
            )
            if one.startswith(urls.PICTURE)
            else Markup("<blockquote>{}</blockquote>").format(one)
            for one in examples.get(name, [])
        ]
        if its:
            parts.append(Markup("<h4>Examples of {}</h4>{}").format(name, Markup("").join(its)))
    return str(Markup("").join(parts))
