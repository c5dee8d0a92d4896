"""The folder of a run: job.json, metrics.jsonl, checkpoints/, report/, package/."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from hubft.errors import CheckpointError, JobError, Option
from hubft.files import JOB, write_json, write_text
from hubft.job import Job
from hubft.plain import from_dict, to_dict


@dataclass(frozen=True)
class Run:
    folder: Path

    @property
    def job_file(self) -> Path:
        return self.folder / JOB

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
    def create(cls, job: Job) -> Self:
        """Return a new run with its job.json written.

        :raises JobError: `job.output` exists and holds something.
        """
        folder = Path(job.output) if job.output else _unused(job)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise JobError(
                f"{str(folder)!r} exists: give another ",
                Option("output"),
                f", or go on with: hubft finetune --resume {folder}",
            )
        run = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        here = replace(job, data=str(Path(job.data).resolve()))  # a run is resumed from anywhere
        write_json(run.job_file, to_dict(here))
        return run

    def job(self) -> Job:
        """Return the job of a run that exists.

        :raises CheckpointError: the folder is no run.
        """
        try:
            return from_dict(Job, json.loads(self.job_file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{str(self.folder)!r} is no run: its job.json cannot be read ({error})") from error

    def log(self, line: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

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


def _unused(job: Job) -> Path:
    model, _, arguments = job.name.partition("?")
    parts = (model.rstrip("/").split("/")[-1], arguments, Path(job.data).resolve().name)
    # a name has 255 bytes at most
    name = re.sub(r"[^\w.-]+", "-", "-".join(part for part in parts if part))[:60].strip("-.") or "run"
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


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
