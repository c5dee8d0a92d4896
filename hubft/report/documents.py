"""The JSON behind a page: each number of the page is read from it here, and leads to the line that it stands in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from hubft.base.display import visible
from hubft.tasks.metrics import Measured, number

SHORT = 100  # characters of what stands in one line
SHOWN = 60  # items of a list that are shown where none of them is linked to
Steps = tuple[str | int, ...]
Place = tuple[str, Steps]
"""Name of a document, and the keys on the way down to a value."""
Anchors = Mapping[Place, str]


class Document(NamedTuple):
    name: str
    file: str
    """Relative to the page."""
    value: Any


class Documents:
    """JSON by name; what was linked to has an anchor in what `rendered` gives, which is to be asked for last."""

    def __init__(self, known: Sequence[Document]) -> None:
        self.known = {one.name: one for one in known}
        self.anchors: dict[Place, str] = {}

    def get(self, name: str, *path: str | int) -> Any:
        """Return what lies at a path of a document; None where nothing does."""
        value: Any = self.known[name].value if name in self.known else None
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def link(self, text: object, name: str, *path: str | int) -> Markup:
        """Return a text that leads to a place of a document."""
        anchor = self.anchors.setdefault((name, path), f"j{len(self.anchors)}")
        where = visible(" > ".join([self.known[name].file, *map(str, path)]), 200)
        return Markup('<a class="n" href="#{}" title="{}">{}</a>').format(anchor, where, text)

    def number(self, name: str, *path: str | int) -> Markup:
        """Return the number at a path, as people write it, linked to it: a `Measured` with its interval behind it."""
        value = self.get(name, *path)
        if isinstance(value, Mapping) and "value" in value:
            return self.measured(Measured(**value), name, *path)
        return Markup("-") if value is None else self.link(shown(value), name, *path)

    def measured(self, one: Measured, name: str, *path: str | int) -> Markup:
        """Return a number with its interval, linked to where it stands."""
        if one.low is None or one.high is None:
            return self.link(number(one.value), name, *path)
        interval = Markup('{} <span class="ci">[{}, {}]</span>')
        return self.link(interval.format(number(one.value), number(one.low), number(one.high)), name, *path)

    def rendered(self) -> Iterator[tuple[Document, Markup]]:
        """Yield each document with its text, in which every place that was linked to has its anchor."""
        above = {(name, path[:end]) for name, path in self.anchors for end in range(len(path))}
        for one in self.known.values():
            yield one, Markup("").join(_text(self.anchors, above, one.name, (), one.value))


def _text(anchors: Anchors, above: Set[Place], name: str, path: Steps, value: Any) -> Iterator[Markup]:
    """Yield the text of a value, with the anchors of all that is linked to in it.

    :param above: places below which something is linked to.
    """
    anchor = anchors.get((name, path))
    if anchor:
        yield Markup('<span id="{}">').format(anchor)
    nested = isinstance(value, Mapping | list) and len(value) > 0
    flat = ""
    if not nested or ((name, path) not in above and len(value) <= SHOWN):
        flat = json.dumps(value, ensure_ascii=False)
    if flat and (not nested or len(flat) <= SHORT):
        yield escape(visible(flat, 10**6))
    else:
        yield from _nested(anchors, above, name, path, value)
    if anchor:
        yield Markup("</span>")


def _nested(anchors: Anchors, above: Set[Place], name: str, path: Steps, value: Any) -> Iterator[Markup]:
    """Yield the text of an object or a list, an item a line; plain numbers of a list stand in one."""
    named = isinstance(value, Mapping)
    pairs = list(value.items() if named else enumerate(value))
    plain = not named and not any(isinstance(one, Mapping | list) for _, one in pairs)
    here = [(name, (*path, key)) for key, _ in pairs]
    linked = [place for place, one in enumerate(here) if one in above or one in anchors]
    most = max(SHOWN, linked[-1] + 1 if linked else 0)
    indent = "\n" + "  " * len(path)
    gap = " " if plain else f"{indent}  "
    yield Markup("{" if named else "[")
    for place, (key, one) in enumerate(pairs[:most]):
        yield escape(("," if place else "") + ("" if plain and not place else gap))
        if named:
            yield escape(f"{visible(json.dumps(str(key), ensure_ascii=False), 400)}: ")
        yield from _text(anchors, above, name, (*path, key), one)
    if len(pairs) > most:
        yield escape(f",{gap}… {len(pairs) - most:,} more in the file")
    yield escape(("" if plain else indent) + ("}" if named else "]"))


def shown(value: Any) -> str:
    """Return a value of JSON as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if isinstance(value, float) else visible(str(value), 200)


def read(folder: Path, files: Mapping[str, str]) -> list[Document]:
    """Return the documents that are there.

    :param folder: that the files are named relative to.
    :param files: name of a document -> its file, JSON, or JSON lines with the suffix .jsonl.
    """
    found = []
    for name, file in files.items():
        path = folder / file
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            lines = path.suffix == ".jsonl"
            found.append(Document(name, file, _lines(text) if lines else json.loads(text)))
    return found


def _lines(text: str) -> list[Any]:
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # a last line that was cut short
            break
    return found
