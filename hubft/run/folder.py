"""The folder of a run: data.json, job.json, plan.json, metrics.jsonl, checkpoints/, report/, package/.

job.json is written last of what a run begins with: a folder is a run from the instant at which it is there. One that
holds no more than what is written before it, or is being written, was left by a run that died then, and is as good as
an empty one.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from hubft.base.errors import CheckpointError, JobError, Option
from hubft.base.files import DATA, JOB, begun, write_json, write_text
from hubft.base.serialize import from_dict, to_dict
from hubft.data import reading
from hubft.job import Job

RESULTS_FILE, PAGE_FILE = "results.json", "index.html"  # in its report/


@dataclass(frozen=True)
class Run:
    folder: Path

    @property
    def job_file(self) -> Path:
        return self.folder / JOB

    @property
    def data_file(self) -> Path:
        return self.folder / DATA

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    @property
    def package(self) -> Path:
        return self.folder / "package"

    @classmethod
    def create(cls, job: Job, data: dict[str, Any] | None = None) -> Self:
        """Return a new run with its job.json written.

        :param data: what its images are known by, JSON types: `facts` gives it back.
        :raises JobError: `job.output` exists and holds something.
        """
        run = cls(free(job))
        there = run.folder.exists()
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            write_json(run.data_file, data or {})
            run.write_job(job)
        except OSError:
            with suppress(OSError):
                run.data_file.unlink(missing_ok=True)
                if not there:
                    run.folder.rmdir()
            raise
        return run

    def write_job(self, job: Job) -> None:
        """Write job.json, so that the run can be resumed from anywhere."""
        write_json(self.job_file, to_dict(replace(job, data=reading.absolute(str(job.data)))))

    def job(self) -> Job:
        """Return the job of a run that exists.

        :raises CheckpointError: the folder is no run.
        """
        try:
            return from_dict(Job, _renamed(json.loads(self.job_file.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            new = f"; begin it: hubft finetune REFERENCE DATA --output {shlex.quote(str(self.folder))}"
            raise CheckpointError(
                f"{str(self.folder)!r} is no run: its job.json cannot be read ({error})"
                f"{new if is_free(self.folder) else ''}"
            ) from error

    def settled(self) -> Job:
        """Return the job in which nothing is left to choose.

        :raises CheckpointError: the folder is no run, or one that has not come so far.
        """
        self.job()
        try:
            return from_dict(Job, json.loads(self.plan_file.read_text(encoding="utf-8"))["job"])
        except (OSError, ValueError, KeyError, JobError) as error:
            raise CheckpointError(
                f"{str(self.folder)!r} has not begun to train; go on with: {self.resumed_by()}"
            ) from error

    def facts(self) -> dict[str, Any]:
        """Return what the images of the run are known by; nothing, where an older hubft began it."""
        try:
            facts: dict[str, Any] = json.loads(self.data_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts

    def code(self) -> dict[str, str]:
        """Return the sha256 by name of the files of foreign code that it began with."""
        return dict(self.facts().get("code", {}))

    def resumed_by(self, *options: str) -> str:
        """Return the command that goes on with the run."""
        return f"hubft finetune --resume {shlex.join([str(self.folder), *options])}"

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; a last line that was cut short is left out."""
        lines = []
        if self.metrics_file.exists():
            for text in self.metrics_file.read_text(encoding="utf-8").splitlines():
                try:
                    lines.append(json.loads(text))
                except ValueError:
                    break
        return lines

    def rewind(self, step: int) -> None:
        """Forget the metrics of steps after `step`: a resumed run writes them again."""
        lines = [line for line in self.history() if line["step"] <= step]
        write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in lines))


def _renamed(data: Any) -> Any:
    """Return a job as it is written today: before version 0.3 what a head must give was called its task."""
    if isinstance(data, dict) and "task" in data and "head" not in data:
        return {"head" if key == "task" else key: value for key, value in data.items()}
    return data


def free(job: Job) -> Path:
    """Return the folder that a job's output may take.

    :raises JobError: `job.output` exists and holds something.
    """
    return required(Path(job.output) if job.output else _unused(job))


def required(folder: Path) -> Path:
    """Return a folder that may be taken.

    :raises JobError: it exists and holds something.
    """
    if not is_free(folder):
        run = Run(folder)
        go_on = f", or go on with: {run.resumed_by()}" if run.job_file.exists() else ""
        raise JobError(f"{str(folder)!r} exists: give another ", Option("output"), go_on)
    return folder


def _unused(job: Job) -> Path:
    model, _, arguments = job.name.partition("?")
    return unused(model.rstrip("/").split("/")[-1], arguments, Path(job.data).resolve().name)


def unused(*parts: str) -> Path:
    """Return a folder below runs/ that is free and called by these parts, numbered where it must be."""
    # a name has 255 bytes at most
    name = re.sub(r"[^\w.-]+", "-", "-".join(part for part in parts if part))[:60].strip("-.") or "run"
    folder, number = Path("runs") / name, 1
    while not is_free(folder):
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def is_free(folder: Path) -> bool:
    """Tell whether a new run may take the folder: it is not there, or holds no more than one that died at its birth."""
    if not folder.exists():
        return not folder.is_symlink()
    return folder.is_dir() and begun(folder)


class StopRequest:
    """Turns SIGTERM and the first Ctrl-C into a request that the loop answers between two steps."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._before = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        except ValueError:  # not the main thread: signals are the caller's
            self._before = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[number])  # a second one is not held back
