"""The commands on what runs have come to: the page of one, several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hubft.base.bounds import check_new
from hubft.base.console import Console
from hubft.base.errors import Incomplete
from hubft.cli.options import Json, Trust
from hubft.job import Tracker
from hubft.tasks.metrics import number, title

if TYPE_CHECKING:
    from hubft.report.compare import Side


def report(run: Path, *, data: str | None = None, trust: Trust = False) -> None:
    """Write the page of RUN again: report/index.html, one file that opens anywhere.

    Parameters
    ----------
    run
        Folder of the run.
    data
        Where its data is now, if it was moved; without it, samples are shown as they were then.
    """
    from hubft.run.folder import Run

    Run(run).job()  # what is wrong is told before seconds go into importing torch
    from hubft.report import again

    console = Console()
    page = again.write(Run(run), data, trust, console.counting)
    if page.note:
        console.say(f"note: {page.note}")
    console.say(f"report   {page.path}")


def compare(
    runs: Annotated[list[Path], Parameter(negative=())],
    *,
    as_json: Json = False,
    output: Annotated[Path | None, Parameter(help="New file, .html, that gets the same as a page.")] = None,
) -> None:
    """Put RUNS side by side: what each reached, and its paired difference to the first on the same samples.

    Parameters
    ----------
    runs
        Two or more folders of runs of one task.
    """
    from hubft.run.folder import Run

    for folder in runs:
        Run(folder).job()  # as above
    if output:
        check_new(output, ".html")
    from hubft.report import compare as comparing
    from hubft.report import comparison

    sides = comparison.compared(runs, output)
    console = Console(as_json=as_json)
    console.answer({"runs": [side.plain() for side in sides]})
    _print(console, sides)
    if differing := comparing.differing(sides):
        console.table(["option", *(side.name for side in sides)], [[name, *row] for name, row in differing])
    if output:
        console.say(f"page     {output}")


def track(run: Path, *, to: Annotated[tuple[Tracker, ...], Parameter(negative=())] = ()) -> None:
    """Tell trackers of RUN after it: all that they do not have yet.

    Parameters
    ----------
    run
        Folder of the run.
    to
        Tools to tell; without it, those of the run's own --track.
    """
    from hubft.run import tracked
    from hubft.run.folder import Run

    job = tracked.asked(Run(run), to)  # what is wrong is told before seconds go into importing torch
    from hubft.run.journal import told

    if missing := [name for name, its in told(Run(run), job, Console()).items() if not its.complete]:
        raise Incomplete(f"{' and '.join(missing)}: not all of the run arrived")


def _print(console: Console, sides: list[Side]) -> None:
    """Print what runs reached, for people."""
    name = title(sides[0].metrics.headline)
    rows = [
        [side.name, side.metrics.head, side.difference or "-", number(side.metrics.loss), number(side.seconds)]
        for side in sides
    ]
    console.table(["run", name, "difference to the first", "loss", "seconds"], rows, title="95 % intervals")
    for side in sides:
        if side.note:
            console.say(f"note: {side.name}: {side.note}")
