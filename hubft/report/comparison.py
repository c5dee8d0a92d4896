"""The page of runs side by side: one file without a request, as the page of one run is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from hubft.base.bounds import check_new
from hubft.base.display import visible
from hubft.base.files import write_text, writing
from hubft.report import charts, page
from hubft.report.compare import Side, compare, differing
from hubft.report.documents import Document, Documents
from hubft.tasks.metrics import title

NAME = "comparison"


def compared(folders: Sequence[Path], output: Path | None = None) -> list[Side]:
    """Return runs beside one another, in their order; with an output their page is written.

    :param output: new file, .html.
    :raises JobError: as `compare`; a file that cannot be written anew.
    :raises CheckpointError: as `compare`.
    """
    if output:
        check_new(output, ".html")
    sides = compare(folders)
    if output:
        with writing(output, "make room, or name another --output"):
            write(output, sides)
    return sides


def write(path: Path, sides: Sequence[Side]) -> None:
    """Write the page of runs, the first of which the others are held against."""
    plain = {"runs": [side.plain() for side in sides]}
    known = Documents([Document(NAME, f"{NAME}.json", json.loads(json.dumps(plain)))])
    headline = sides[0].metrics.headline
    names = [visible(side.name, 40) for side in sides]
    reached = {name: side.metrics.head for name, side in zip(names, sides, strict=True)}
    apart = {name: side.difference for name, side in zip(names, sides, strict=True) if side.difference}
    rows = [
        (name, *(known.number(NAME, "runs", place, *where) for where in (("metrics", headline), ("difference",),
         ("metrics", "loss"), ("seconds",))), visible(side.note, 300))
        for place, (name, side) in enumerate(zip(names, sides, strict=True))
    ]  # fmt: skip
    metrics = [(title(name), [known.number(NAME, "runs", place, "metrics", name) for place in range(len(sides))])
               for name in sides[0].metrics.values]  # fmt: skip
    charted: list[Markup] = [charts.compared(reached, headline)] if len(reached) > 1 else []
    charted += [charts.apart(apart, headline)] if apart else []
    made = page.environment().get_template("compare.html").render(
        **page.common(), title=f"{len(sides)} runs side by side", headline=title(headline), names=names, rows=rows,
        metrics=metrics, options=differing(sides), charts=charted, known=known,
    )  # fmt: skip
    write_text(path, made)
