"""The one place that a run's numbers go through: into metrics.jsonl, and to the trackers of its job.

A tracker cannot stop a run or slow it (`hubft.tracking.feed`); what became of it is said when the run is over.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch

from hubft.base import digest
from hubft.base.console import Console
from hubft.base.errors import Stopped
from hubft.base.files import MANIFEST
from hubft.base.serialize import to_dict
from hubft.job import Job
from hubft.run.folder import PAGE_FILE, RESULTS_FILE, Run
from hubft.tasks import metrics
from hubft.tracking.delivery import Tracked
from hubft.tracking.feed import Feed, folder_of
from hubft.tracking.redaction import line as in_a_line
from hubft.tracking.tracker import Begin, State, Value
from hubft.train.loop import Step

EVERY = 5.0  # seconds between two readings of the steps' losses: it waits for a device
PATIENCE = 30.0  # seconds for trackers to take what is left when a run is over, its checkpoint or package written


class Journal:
    """The numbers of a run on their way. As a `with`, it ends the trackers when the run ends, however that is."""

    def __init__(self, run: Run, console: Console) -> None:
        self.run, self.console = run, console
        self.feeds: list[Feed] = []
        self.tracked: dict[str, Tracked] = {}
        """What became of the run in each tracker, when it is over."""
        self.pending: list[Step] = []
        self.last = time.monotonic()  # reading of them

    def begin(self, job: Job) -> None:
        """Start the trackers of a job in which nothing is left to choose, and tell them the epochs that are over."""
        config = _flat(to_dict(job))
        for name in job.track:
            begin = Begin(folder_of(name, self.run.folder), self.run.folder.resolve().name, config)
            try:
                self.feeds.append(Feed(name, begin))
            except OSError as error:  # no room for a process or a folder
                self.console.say(f"note: {name} has nothing of the run: {in_a_line(error)}; {self._again(name)}")
        for line in self.run.history() if self.feeds else ():
            self._tell("epoch", line["step"], line)

    def step(self, step: Step) -> None:
        """Have trackers told of a training step, soon."""
        if self.feeds:
            self.pending.append(step)
            if time.monotonic() - self.last >= EVERY:
                self._read()

    def epoch(self, line: dict[str, Any]) -> None:
        """Append an epoch's line to metrics.jsonl, and have trackers told of it."""
        with self.run.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._read()
        self._tell("epoch", line["step"], line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if not self.feeds:
            return
        state: State = "finished" if self.run.package.exists() else "stopped"
        if error and not isinstance(error, Stopped):
            state = "failed"
        try:
            self._read()
            self._hand_over()
        except Exception as trouble:  # of what only trackers see, no run is lost
            self.console.say(f"note: not all of the run was told to its trackers: {in_a_line(trouble)}")
        for feed in self.feeds:
            feed.close(state)
        deadline = time.monotonic() + PATIENCE
        for feed in self.feeds:
            self.tracked[feed.name] = its = feed.wait(deadline)
            for line in self._ended(feed, its):
                self.console.say(line)

    def _ended(self, feed: Feed, its: Tracked) -> list[str]:
        """Return what to say of a tracker that came to its end: where the run is in it, or what is missing there."""
        there = f"tracked  {feed.name}: {its.where}{f' ({its.note})' if its.note else ''}"
        lacking = f"note: {feed.name} has not all of the run: {its.trouble}; {self._again(feed.name)}"
        lines = [there if its.complete else lacking]
        if feed.left_out:
            lines.append(f"note: {feed.name} was slower than the run: {feed.left_out:,} steps were left out")
        return lines

    def _again(self, name: str) -> str:
        return f"again: hubft track {shlex.quote(str(self.run.folder))} --to {name}"

    def _read(self) -> None:
        """Read the steps that are pending, all at once, and tell them."""
        self.last = time.monotonic()
        if not self.pending:
            return
        losses = torch.stack([step.loss for step in self.pending]).tolist()
        norms = torch.stack([torch.linalg.vector_norm(step.norms) for step in self.pending]).tolist()
        for step, loss, norm in zip(self.pending, losses, norms, strict=True):
            self._tell("step", step.number, {"step/loss": loss, "step/lr": step.lr, "step/gradient_norm": norm})
        self.pending.clear()

    def _tell(self, series: str, step: int, numbers: Mapping[str, Any]) -> None:
        if self.feeds:
            values = {name: value for name, value in _numbers(numbers).items() if name != "step"}
            for feed in self.feeds:
                feed.put({"series": series, "step": step, "values": values})

    def _hand_over(self) -> None:
        """Have trackers given what a run leaves: its results, pictures, page and package, as far as they are there."""
        step = max((line["step"] for line in self.run.history()), default=0)
        files: list[dict[str, Any]] = []
        if (results := self.run.report / RESULTS_FILE).is_file():
            known = json.loads(results.read_text(encoding="utf-8"))
            parts = {"final": "metrics", "test": "test", "uncompressed": "uncompressed"}
            its = {part: metrics.read(known[key]) for part, key in parts.items() if known.get(key)}
            values = {
                part: {name: to_dict(number) for name, number in one.values.items()} | {"loss": one.loss}
                for part, one in its.items()
            }
            self._tell("final", step, values)
        for path in sorted(self.run.report.glob("*.png")):
            files.append({"file": "picture", "name": path.stem, "path": str(path), "step": step})
        if (page := self.run.report / PAGE_FILE).is_file():
            files.append({"file": "report", "path": str(page)})
        if (manifest := self.run.package / MANIFEST).is_file():
            files.append({"file": "package", "path": str(manifest), "sha256": digest.of_file(manifest)})
        for feed in self.feeds:
            for message in files:
                feed.put(message)


def told(run: Run, job: Job, console: Console) -> dict[str, Tracked]:
    """Return what became of a run in the trackers of a job, told all that they do not have yet.

    :param job: of `tracked.asked`.
    """
    with Journal(run, console) as journal:
        journal.begin(job)
    return journal.tracked


def _flat(values: Mapping[str, Any]) -> dict[str, Value]:
    """Return nested values under dotted names; lists as JSON, None as nothing."""
    found: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": its for inner, its in _flat(value).items()}
        elif value is None or isinstance(value, str | int | float):
            found[name] = "" if value is None else value
        elif isinstance(value, Sequence):
            found[name] = json.dumps(value)
    return found


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a line, under names that every tracker takes: a metric under its own, its interval
    below that."""
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, Mapping) and "value" in value:
            parts = {name: value["value"], f"{name}/low": value.get("low"), f"{name}/high": value.get("high")}
            found |= _numbers(parts)
        elif isinstance(value, Mapping):
            found |= _numbers({f"{name}/{inner}": its for inner, its in value.items()})
        elif isinstance(value, int | float) and math.isfinite(value):
            found[re.sub(r"[^\w./ -]", "_", name.replace(": ", "/"))] = float(value)
    return found
