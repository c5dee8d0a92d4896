"""What a rank found out so far: rank.json, and what each model gave for the validation samples.

A rank that was killed goes on from it; what was done is not done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubft.base.errors import CheckpointError, JobError, Option
from hubft.base.files import marked, write_json
from hubft.base.serialize import from_dict, to_dict
from hubft.choosing.rows import Outcome, Row
from hubft.job import Job
from hubft.reference import ANY
from hubft.tasks import stored

TABLE, PICTURE = "rank.json", "rank.png"
PROBE = "probe"  # the stage before the rounds


class Kept:
    """The folder of a rank; it is made when there is something to keep."""

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        """Read what is there.

        :param asked: of which data and options the rank is, JSON types.
        :raises JobError: the folder holds something else, or a rank of something else.
        """
        self.folder, self.rows = folder, dict[str, Row]()
        self.asked = json.loads(json.dumps(asked))  # a tuple as it is read back
        self.more: dict[str, Any] = {}
        """What rank.json says besides."""
        if (known := found(folder, TABLE, "rank", self.asked)) is None:
            return
        rows = _rows(known, folder)
        self.rows = {row.reference: row for row in rows if not row.failure}  # what failed may be mended

    def put(self, *rows: Row) -> None:
        """Keep these rows, in place of earlier ones of the same backbones."""
        self.rows |= {row.reference: row for row in rows}
        marked(self.folder)
        lines = [to_dict(row) for row in self.rows.values()]
        write_json(self.folder / TABLE, {"asked": self.asked, **self.more, "rows": lines})

    def put_outcome(self, reference: str, stage: str, outcome: Outcome) -> None:
        """Keep what a backbone gave at a stage: `PROBE`, or that of a round."""
        path = self._file(reference, stage)
        if not (self.folder / TABLE).exists():
            self.put()  # so that the folder of a rank that was killed now is known again
        path.parent.mkdir(exist_ok=True)
        write_outcome(path, outcome)

    def outcome(self, reference: str, stage: str) -> Outcome | None:
        """Return what was kept of it, if it was."""
        return read_outcome(self._file(reference, stage))

    def _file(self, reference: str, stage: str) -> Path:
        return self.folder / "outputs" / f"{hashlib.sha256(reference.encode()).hexdigest()[:16]}-{stage}.safetensors"


def found(folder: Path, file: str, what: str, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a file of a folder says, JSON types; None where the folder is new.

    :param what: the folder is of, as a word.
    :param asked: of which data and options that must be, as the file says it.
    :raises JobError: the folder holds something else, or is of something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        known: dict[str, Any] = json.loads((folder / file).read_text(encoding="utf-8"))
        its = dict(known["asked"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _other(folder, what) from error
    if differing := sorted(key for key in {*its, *asked} if its.get(key) != asked.get(key)):
        why = f"{str(folder)!r} holds a {what} with other {', '.join(differing)}: name another "
        raise JobError(why, Option("output"))
    return known


def _rows(known: Mapping[str, Any], folder: Path) -> list[Row]:
    try:
        return [from_dict(Row, one, "row") for one in known["rows"]]
    except (TypeError, KeyError, JobError) as error:
        raise _other(folder, "rank") from error


def _other(folder: Path, what: str) -> JobError:
    return JobError(f"{str(folder)!r} holds something else than a {what}: name another ", Option("output"))


def options(job: Job) -> dict[str, Any]:
    """Return what else the figures of runs depend on, beside their reference and data, JSON types."""
    plain = to_dict(replace(job, reference=ANY, data="-", output="", recipe=replace(job.recipe, budget="")))
    return {name: value for name, value in plain.items() if name not in ("reference", "data", "output")}


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Keep what a model gave, whole or not at all."""
    stored.write(path, outcome.task, {"outputs": outcome.outputs.contiguous()})


def read_outcome(path: Path) -> Outcome | None:
    """Return what was kept, if it was."""
    try:
        task, tensors = stored.read(path)
        return Outcome(tensors["outputs"], task)
    except (CheckpointError, KeyError):
        return None
