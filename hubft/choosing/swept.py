"""What a sweep leaves: sweep.json, the page index.html, two pictures, and what it says on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hubft.base.console import Console
from hubft.base.display import visible
from hubft.base.files import write_json, write_text
from hubft.choosing import axes
from hubft.choosing.luck import Luck
from hubft.choosing.rows import worth
from hubft.choosing.space import Space
from hubft.choosing.trial import Done
from hubft.report import charts, figures, page
from hubft.report.documents import Document, Documents
from hubft.report.tables import Cell, Sortable
from hubft.tasks.metrics import Metrics, title

TABLE, PAGE = "sweep.json", "index.html"
PICTURES = {"parallel.png": "parallel coordinates", "importance.png": "importance"}
RECIPE = "recipe"  # the name of the trial of no other options
SHOWN = 12  # trials whose intervals are drawn


@dataclass(frozen=True)
class Row:
    """A trial: what was tried, and what became of it."""

    number: int | None
    """None of the recipe as it is."""
    options: Mapping[str, str]
    """By name, as they are typed."""
    state: str
    """complete, given up, failed or running."""
    done: Done

    @property
    def name(self) -> str:
        return RECIPE if self.number is None else f"{self.number:04d}"

    @property
    def title(self) -> str:
        return "the recipe as it is" if self.number is None else f"trial {self.number}"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        done = asdict(self.done)
        kept = {name: done[name] for name in ("score", "epochs", "seconds", "why")}
        return {"trial": self.number, "options": dict(self.options), "state": self.state, **kept}


@dataclass(frozen=True)
class Swept:
    """What the trials of a sweep came to."""

    rows: tuple[Row, ...]
    """From the best down, the recipe as it is among them; then those that did not come to their end."""
    importance: Mapping[str, float]
    """How much of the differences between trials each option explains, shares of 1, the largest first."""
    luck: Luck
    facts: Mapping[str, Any]
    """What the figures are of."""
    space: Space
    asked: Mapping[str, Any]
    """Of which data and options the folder is, JSON types."""
    folder: Path
    """With sweep.json, index.html, the study, and the run of the best."""
    next: str
    """The line of the run that won."""
    package: Path | None = None
    """Of that run; None while other processes are at their trials."""
    validation: Metrics | None = None
    """What it reached on the validation part, which no trial has seen."""

    @property
    def best(self) -> Row:
        return self.rows[0]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        found = {
            "asked": self.asked,
            "facts": dict(self.facts),
            "trials": [row.plain() for row in self.rows],
            "importance": dict(self.importance),
            "luck": self.luck.plain(),
            "best": self.best.number,
            "next": self.next,
            "package": self.package and str(self.package),
            "validation": self.validation and self.validation.public(),
        }
        plain: dict[str, Any] = json.loads(json.dumps(found))
        return plain


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Return the rows from the best down, the earlier of equal ones first; then those without a score."""

    def behind(row: Row) -> tuple[bool, float, int]:
        score = row.done.score
        return (score is None, -worth(score) if score else 0.0, -1 if row.number is None else row.number)

    return sorted(rows, key=behind)


def show(console: Console, found: Swept) -> None:
    """Print the table, what explains it, what is luck, and the line to type."""
    names = [axis.name for axis in found.space]
    facts, many = found.facts, f"{found.facts['word']}s"
    lines = [[row.title, *(row.options.get(name, "-") for name in names), *_became(row)] for row in found.rows]
    where = f"trials on {facts['held out']:,} training {many} held out"
    columns = ["trial", *(name.replace("_", "-") for name in names), title(facts["headline"]), "epochs", "s"]
    console.table(columns, lines, title=where)
    for row in found.rows:
        if row.done.why:
            console.say(f"{row.title}: {row.done.why}")
    shares = ", ".join(f"{name.replace('_', '-')} {share:.0%}" for name, share in found.importance.items())
    console.say(f"explains {shares or 'nothing: too few trials came to their end, or all of them to one score'}")
    console.say(f"luck     {found.luck.words(facts['headline'], many)}")
    if found.validation:
        console.say(f"best     {found.best.title}: {found.validation} on the validation part, which no trial has seen")
        console.say(f"package  {found.package}")
    console.say(f"written  {found.folder / PAGE}")
    console.say(f"winner   {found.next}")


def _became(row: Row) -> list[object]:
    return [str(row.done.score or row.state), row.done.epochs, f"{row.done.seconds:.1f}"]


def write(found: Swept) -> None:
    """Write the table, the pictures and the page of a sweep."""
    plain = found.plain()
    write_json(found.folder / TABLE, plain)
    drawn = [axes.parallel(found), axes.importance(found.importance)]
    for figure, name in zip(drawn, PICTURES, strict=True):
        figures.draw(figure, found.folder / name)
    known = Documents([Document("sweep", TABLE, plain)])
    headline, word = found.facts["headline"], found.facts["word"]
    scores = {row.title: row.done.score for row in found.rows[:SHOWN] if row.done.score}
    charted = [charts.svg(figure, label) for figure, label in zip(drawn, PICTURES.values(), strict=True)]
    validation = known.number("sweep", "validation", headline) if found.validation else None
    made = page.environment().get_template("sweep.html").render(
        **page.common(), title=f"Sweep of {visible(found.facts['reference'], 80)}",
        data=visible(found.facts["data"], 200), headline=title(headline), table=_table(found, known),
        charts=[*charted, charts.compared(scores, headline)],
        luck=found.luck.words(headline, f"{word}s"), facts=found.facts, known=known, line=found.next,
        best=found.best.title, validation=validation,
        gain=known.number("sweep", "luck", "gain"), corrected=known.number("sweep", "luck", "corrected"),
        importance=[(name.replace("_", "-"), known.number("sweep", "importance", name)) for name in found.importance],
    )  # fmt: skip
    write_text(found.folder / PAGE, made)


def _table(found: Swept, known: Documents) -> Sortable:
    """Return the trials, as the page shows them."""
    names = [axis.name for axis in found.space]
    rows = []
    for place, row in enumerate(found.rows):
        at = ("trials", place)
        first = [Cell(-1 if row.number is None else row.number, row.title)]
        tried = [_option(row.options.get(name, "-")) for name in names]
        score = Cell(worth(row.done.score) if row.done.score else "-inf", known.number("sweep", *at, "score"))
        ends = [Cell(getattr(row.done, name), known.number("sweep", *at, name)) for name in ("epochs", "seconds")]
        rows.append([*first, *tried, score, *ends, _option(row.done.why or row.state)])
    columns = ["trial", *(name.replace("_", "-") for name in names), title(found.facts["headline"])]
    note = "The score of a trial is that of its last epoch, on training samples held out, with a 95 % interval."
    return Sortable([*columns, "epochs", "seconds", "became"], rows, note)


def _option(text: str) -> Cell:
    return Cell(_number(text), visible(text, 200))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


__all__: Sequence[str] = ["PAGE", "RECIPE", "TABLE", "Row", "Swept", "ordered", "show", "write"]
