"""What a run leaves for its report: figures, what became of each validation sample, and facts for the page."""

from __future__ import annotations

import platform
from collections import Counter
from pathlib import Path
from typing import Any

from hubft.base.console import Console
from hubft.base.errors import HubftError
from hubft.base.files import write_json
from hubft.machine.runtime import cores
from hubft.machine.timings import name_of
from hubft.report import examples, figures, outcomes, page, samples
from hubft.report.samples import Seen
from hubft.run.data import Data
from hubft.run.folder import Run
from hubft.run.prepare import Prepared
from hubft.run.remarks import TITLES
from hubft.run.training import Outcome
from hubft.tasks import blind, kinds
from hubft.tasks.metrics import Metrics

FACTS = page.FACTS


def keep(
    prepared: Prepared, outcome: Outcome, run: Run, results: dict[str, Any], metrics: Metrics, console: Console
) -> list[Path]:
    """Write all of it into the folder of a run's report; return the task's pictures, of which the first stands on the
    card.

    :param prepared: with the model as it is packaged.
    :param outcome: what that gave for the validation samples, which the metrics are of.
    :param results: what results.json holds.
    """
    data, task, folder = prepared.data, prepared.data.task, run.report
    with prepared.counting("pictures of the report", None):
        pictures = figures.write(folder, run.history(), task, results, metrics)
        examples.draw(prepared, outcome, folder)
    try:
        outputs, targets = outcome
        outcomes.write(folder, outcomes.of(task, data.val, outputs, targets))
        found = facts(prepared, outcome)
        write_json(folder / FACTS, found)
        loaded = prepared.loaded
        seen = Seen(data, task, loaded.inputs, prepared.job.recipe, outputs, targets, loaded)
        with prepared.counting("samples of the report", None):
            write_json(folder / FACTS, found | samples.shown(seen, folder))
    except OSError:  # a disk that is full: the run goes on when there is room
        raise
    except Exception as error:  # all of this is for people to look at: no run is lost for it
        console.say(f"note: samples are not shown in the report: {' '.join(f'{error!r}'.split())[:300]}")
    return pictures


def facts(prepared: Prepared, outcome: Outcome) -> dict[str, Any]:
    """Return what a page says of data and machine, JSON types."""
    data, (outputs, targets) = prepared.data, outcome
    base = blind.score(data.task, targets, len(outputs))
    return {
        "task": kinds.plain(data.task),
        "kind": data.kind,
        "base_rate": base and base.plain(),
        "data": of_data(data),
        "machine": {
            "device": name_of(prepared.runtime.device),
            "cores": cores(),
            "system": platform.platform(),
            "versions": dict(prepared.versions),
        },
    }


def of_data(data: Data) -> dict[str, Any]:
    """Return how many samples each part has, and of each class, where samples are of classes; and what is noted."""
    names = data.task.names
    counted = len(getattr(data.task, "counts", ())) == len(names) > 0
    parts: dict[str, dict[str, Any]] = {}
    for part, its in data.parts.items():
        parts[TITLES[part]] = {"samples": len(its)}
        if counted:
            counts = Counter(key for sample in its for key in data.task.strata(sample.target))
            parts[TITLES[part]]["counts"] = [counts[place] for place in range(len(names))]
    return {"parts": parts, "notes": list(data.notes)}


def written(run: Run, console: Console) -> None:
    """Write the page of a run that is whole without it: what is in its way is told in a line."""
    try:
        page.write(run)
    except Exception as error:
        why = error.typed() if isinstance(error, HubftError) else " ".join(f"{error!r}".split())[:300]
        console.say(f"note: {run.report / page.FILE} is not written: {why}; again: hubft report {run.folder}")
