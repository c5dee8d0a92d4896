"""What runs have come to: the page of one, several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hubft.base.console import Console
from hubft.job import Tracker
from hubft.report import again, comparison
from hubft.report.again import Page
from hubft.report.compare import Side
from hubft.run import journal, tracked
from hubft.run.folder import Run
from hubft.tracking.delivery import Tracked


def write_report(run: str | Path, *, data: str | Path | None = None, trust: bool = False) -> Page:
    """Return the page of a run, report/index.html, written again as `hubft report` does.

    :param run: folder of the run.
    :param data: where its data is now, if it was moved; where it is gone, samples are shown as they were then, and
        `Page.note` says so.
    :param trust: also ask a model that is built by code of a repository, which runs that code.
    :raises CheckpointError: the folder is no run, or one that has measured nothing yet.
    """
    return again.write(Run(Path(run)), data, trust)


def compare(runs: Sequence[str | Path], *, output: str | Path | None = None) -> list[Side]:
    """Return runs side by side, in their order: what each reached, and its paired difference to the first.

    :param runs: folders of two or more runs of one task.
    :param output: new file, .html, that gets the same as a page.
    :raises CheckpointError: a folder that is no run, or a run that is not finished.
    :raises JobError: fewer than two, runs of different tasks, or an output that cannot be written anew.
    """
    return comparison.compared([Path(run) for run in runs], Path(output) if output is not None else None)


def track(run: str | Path, *, to: Tracker | Sequence[Tracker] = (), quiet: bool = False) -> dict[str, Tracked]:
    """Return what became of a run in each tracker, told after it all that they do not have yet.

    :param run: folder of the run.
    :param to: names of trackers; without them, those of the run's own `track`.
    :param quiet: print nothing.
    :raises CheckpointError: the folder is no run, or one that has not begun to train.
    :raises JobError: no tracker, an unknown one, or one whose library is missing.
    """
    job = tracked.asked(Run(Path(run)), (to,) if isinstance(to, str) else to)
    return journal.told(Run(Path(run)), job, Console(quiet=quiet))
