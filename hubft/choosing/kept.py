"""What a rank found out so far: rank.json, and what each model gave for the validation samples.

A rank that was killed goes on from it; what was done is not done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hubft.base.errors import JobError, Option
from hubft.base.files import marked, save_file, temporary_file, write_json
from hubft.base.serialize import from_dict, to_dict
from hubft.choosing.rows import Outcome, Row
from hubft.tasks import kinds

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
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        try:
            known = json.loads((folder / TABLE).read_text(encoding="utf-8"))
            its, rows = known["asked"], [from_dict(Row, one, "row") for one in known["rows"]]
        except (OSError, ValueError, TypeError, KeyError) as error:
            why = f"{str(folder)!r} holds something else than a rank: name another "
            raise JobError(why, Option("output")) from error
        if differing := sorted(key for key in {*its, *self.asked} if its.get(key) != self.asked.get(key)):
            why = f"{str(folder)!r} holds a rank with other {', '.join(differing)}: name another "
            raise JobError(why, Option("output"))
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
        said = {"task": json.dumps(kinds.plain(outcome.task))}
        with temporary_file(path) as temporary:
            save_file({"outputs": outcome.outputs.contiguous()}, temporary, said)

    def outcome(self, reference: str, stage: str) -> Outcome | None:
        """Return what was kept of it, if it was."""
        try:
            with safe_open(self._file(reference, stage), framework="pt") as file:
                said = file.metadata()["task"]
                return Outcome(file.get_tensor("outputs"), kinds.read(json.loads(said)))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def _file(self, reference: str, stage: str) -> Path:
        return self.folder / "outputs" / f"{hashlib.sha256(reference.encode()).hexdigest()[:16]}-{stage}.safetensors"
