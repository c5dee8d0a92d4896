"""Pooled features of labelled data as files: a matrix, and a table of what each of its rows is; and what classifiers
reach on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft.base.console import Console
from hubft.base.errors import JobError
from hubft.base.files import save_file, temporary_file, writing
from hubft.job import Job
from hubft.run import classifiers
from hubft.run.classifiers import Fitted
from hubft.run.data import Data
from hubft.run.plan import computing
from hubft.run.pooled import pooled, unpooled
from hubft.run.prepare import Prepared, prepare

NAME = "features"  # of the tensor, and of the model's data in the metadata of its file


@dataclass(frozen=True)
class Vectors:
    """Features of all samples of a job, by their parts."""

    prepared: Prepared
    parts: Mapping[str, Tensor]
    """Float32 `[n, width]`."""

    @property
    def width(self) -> int:
        return next(iter(self.parts.values())).shape[1]


@dataclass(frozen=True)
class Features:
    """What was written, and what classifiers reach on it."""

    matrix: Path
    """The file .safetensors with the tensor `features`, float32 `[rows, width]`."""
    table: Path
    """The file .parquet with the path, the part and the target of each row."""
    rows: int
    """Number of samples."""
    width: int
    """Number of features of a sample."""
    classifiers: tuple[Fitted, ...] = ()
    """What each reaches on the validation part, the probe first; empty where none was asked for."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        fitted = [one.plain() for one in self.classifiers]
        places = {"matrix": str(self.matrix), "table": str(self.table)}
        return {**places, "rows": self.rows, "width": self.width, "classifiers": fitted}


def features(job: Job, data: Data, classifier: str, console: Console, trust: bool = False) -> Features:
    """Return what was written of the features of a job's samples, and what classifiers reach on them.

    :param job: of a probe alone; its output is the file of the matrix (`hubft.run.inspecting.of_features`).
    :param classifier: names of those to fit, by commas; none where it is empty.
    :raises JobError: a model of which there are no features for these labels; a classifier that there is none of, or
        that has no meaning for them.
    """
    names, output = classifiers.asked(classifier, data.task), Path(job.output)
    made = compute(job, data, console, trust)
    with writing(output, "make room, or name another --output"):
        table = write(made, output)
    fitted = classifiers.compared(made.prepared, made.parts, names) if names else ()
    return Features(output, table, sum(map(len, made.parts.values())), made.width, tuple(fitted))


def compute(job: Job, data: Data, console: Console, trust: bool = False) -> Vectors:
    """Return the features of a job's samples, from the cache where they are in it.

    :param job: of a probe alone.
    :raises JobError: a model of which there are none for these labels.
    """
    if why := unpooled(job, data):
        raise JobError(f"{job.reference} has no pooled features for {str(job.data)!r}: {why}")
    prepared, _ = computing(prepare(job, data, trust, console.counting), console)
    with prepared.runtime.using_threads():
        found = pooled(prepared)
    if isinstance(found, str):
        raise JobError(f"{job.reference} has no pooled features that could be kept: {found}")
    return Vectors(prepared, found)


def write(vectors: Vectors, path: Path) -> Path:
    """Write features and table, both or none; return the table's path.

    The matrix is `features`, float32 `[n, width]`; row i of the table is of its row i.

    :param path: of the matrix, .safetensors; the table lies beside it, .parquet.
    """
    import pyarrow  # not at the top: it takes a while to import
    from pyarrow import parquet

    prepared, table = vectors.prepared, path.with_suffix(".parquet")
    base = prepared.loaded.base
    facts = {"reference": base.reference, "revision": base.revision, "sha256": base.sha256, "format": "pt"}
    with ExitStack() as stack:
        matrix, rows = (stack.enter_context(temporary_file(one)) for one in (path, table))
        save_file({NAME: torch.cat(list(vectors.parts.values()))}, matrix, {k: str(v) for k, v in facts.items()})
        parquet.write_table(pyarrow.Table.from_pylist(list(_rows(prepared.data, vectors.parts))), rows)
    return table


def _rows(data: Data, parts: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Yield what each row is: where its sample lies, its part, and its target as predictions state it."""
    for part in parts:
        for sample in data.parts[part]:
            stated = data.task.state(sample.target)
            target = next(iter(stated.values())) if len(stated) == 1 else stated
            yield {"path": sample.place, "part": part, "target": target}
