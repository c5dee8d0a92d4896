"""`hubft benchmark`, as a table of contents: candidates made, measured side by side, judged, shown.

All of them answer the same validation samples and the same batches, in this process, in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hubft.base import bounds
from hubft.base.console import Console
from hubft.base.errors import JobError, Option
from hubft.base.files import write_bytes, write_json, writing
from hubft.base.serialize import to_dict
from hubft.deploy import candidates, footprint, latency, verdict
from hubft.deploy.candidates import Candidate, Made, Maker
from hubft.deploy.export import exportable, opening, samples
from hubft.deploy.export.samples import Samples
from hubft.deploy.verdict import BATCHES, Row
from hubft.job import Compute
from hubft.machine import processor
from hubft.machine.runtime import Runtime
from hubft.report import figures
from hubft.run.folder import Run
from hubft.share import load
from hubft.share.opened import Opened
from hubft.tasks.paired import difference

AS_IT_IS = "as it is"
TABLE, PICTURE = "benchmark.json", "benchmark.png"


@dataclass(frozen=True)
class Asked:
    """What shall be compared, and how."""

    against: tuple[str, ...] = ()
    """Candidates as they are typed; without any, those that fit the model and this machine."""
    max_drop: float = 0.5
    """Points of the task's headline that a candidate may lose."""
    output: str = ""
    """Folder of what is made; empty for `benchmark` in the folder of the run."""
    threads: int = 0
    """That all of them compute with; 0 is PyTorch's number."""
    seconds: float = 20.0
    """That the timing of a batch size may take."""

    def __post_init__(self) -> None:
        bounds.check(self.max_drop >= 0, "max_drop", self.max_drop, "0 or more")
        bounds.check_bounds("threads", self.threads, 0, 1024)
        bounds.check(self.seconds > 0, "seconds", self.seconds, "more than 0")


@dataclass(frozen=True)
class Comparison:
    """What was found."""

    rows: tuple[Row, ...]
    """The package as it is, then the candidates."""
    facts: Mapping[str, Any]
    """Machine, libraries and data that the figures are of."""
    folder: Path
    """With benchmark.json, benchmark.png and the files of the candidates."""
    report: Path | None = None
    """Of the run that the package is of, where table and picture stand too."""

    @property
    def picture(self) -> Path:
        """Where somebody looks for it: in the report of the run, if there is one."""
        return (self.report or self.folder) / PICTURE


def compare(source: str, data: str, asked: Asked, trust: bool = False, console: Console | None = None) -> Comparison:
    """Return what a package is worth as it is, and as each of the candidates.

    :param source: of a package, as `share.load.load` takes it; or an exported file, to be compared with others.
    :param data: labelled samples, as for training: their validation part is what the candidates are measured on.
    :raises HubftError: bad input, before anything is made.
    """
    console = console or Console(quiet=True)
    path, opened = _opened(source, trust)
    exportable.require_answers(opened.manifest)
    task = opened.manifest.task
    wanted = candidates.parse(asked.against, opened.family)
    candidates.check(wanted, task, trust)
    inside = path.parent if path.name == "package" and Path(source).exists() else None
    folder = _folder(inside, source, asked.output)
    found = samples.read(opened.manifest, data, False, asked.max_drop, console.counting)
    console.say(f"judged   on {len(found.data.val):,} validation {found.word}s of {data}")
    with writing(folder, "make room, or name another --output"):
        made = _made(wanted, Maker(source, data, folder, asked.max_drop, trust, console))
        first = Made(AS_IT_IS, path, opened)
        with Runtime(Compute(device="cpu", threads=asked.threads)).using_threads():
            rows = _rows([first, *made], found, asked, trust, console)
            facts = _facts(found, data, asked, source)
        run = Run(inside) if inside else None
        shown = run.report if run and run.job_file.is_file() else None
        comparison = Comparison(tuple(verdict.judged(rows, asked.max_drop)), facts, folder, shown)
        _write(comparison, task.headline)
    return comparison


def _opened(source: str, trust: bool) -> tuple[Path, Opened]:
    """Return where a package, or an exported file, lies, and its model."""
    if opening.is_file(Path(source)):
        return Path(source), opening.opened(source, trust)
    package = load.package(source)
    return package.folder, load.opened(package, trust)


def _folder(inside: Path | None, source: str, output: str) -> Path:
    """Return where the candidates shall lie: a folder that is not there yet, or one of an earlier benchmark."""
    if not output and inside is None:
        raise JobError(f"{source} is no folder of a run, where the files could lie: name one with ", Option("output"))
    folder = Path(output) if output else inside / "benchmark"  # type: ignore[operator]
    mine = not folder.exists() or (folder.is_dir() and ((folder / TABLE).is_file() or not any(folder.iterdir())))
    if not mine:
        raise JobError(f"{str(folder)!r} holds something else than a benchmark: name another ", Option("output"))
    return folder


def _made(wanted: Sequence[Candidate], maker: Maker) -> list[Made]:
    maker.folder.mkdir(parents=True, exist_ok=True)
    write_json(maker.folder / TABLE, {})  # so that the folder of a benchmark that was broken off is known again
    made = []
    for one in maker.console.counted(wanted, len(wanted), "candidates made"):
        maker.console.say(f"making   {one.name}")
        made.append(maker.make(one))
    return made


def _rows(made: Sequence[Made], found: Samples, asked: Asked, trust: bool, console: Console) -> list[Row]:
    """Return a row for each candidate, without its verdict."""
    task = found.manifest.task
    outputs, targets = {}, None
    for one in made:
        if one.opened is not None:
            console.say(f"asking   {one.name}")
            outputs[one.name], targets = found.told(one.opened)
    console.say(f"timing   {len(outputs)} in turn")
    sizes = console.counted(BATCHES, len(BATCHES), "batch sizes timed")
    took = {batch: latency.measure(_calls(made, batch), asked.seconds) for batch in sizes}
    rows = []
    for one in console.counted(made, len(made), "memory measured"):
        if one.path is None:
            rows.append(Row(one.name, failure=one.failure))
            continue
        its = outputs[one.name]
        row = Row(one.name, str(one.path), task.measure(its, targets).head, size=_size(one),
                  memory=_memory(one, asked.threads, trust),
                  latency={batch: took[batch][one.name] for batch in BATCHES})  # fmt: skip
        if one.name != AS_IT_IS:
            first = outputs[AS_IT_IS]
            apart, agreement = difference(task, its, first, targets), float(task.agreement(first, its).mean())
            row = replace(row, difference=apart, agreement=agreement)
        rows.append(row)
    return rows


def _calls(made: Sequence[Made], batch: int) -> dict[str, Callable[[], object]]:
    """Return what answers one batch, of each candidate that is there."""
    return {one.name: latency.answering(one.opened.loaded, batch) for one in made if one.opened is not None}


def _size(one: Made) -> int:
    """Return the bytes of a package's weights, or of a file and of those that belong to it."""
    assert one.path is not None and one.opened is not None
    if opening.is_file(one.path):
        return opening.size(one.path)
    return sum(file.size for file in one.opened.manifest.files.values() if file.role == "weights")


def _memory(one: Made, threads: int, trust: bool) -> int:
    """Return the most bytes that a fresh process holds which loads a candidate and answers a batch of each size."""
    assert one.path is not None
    if opening.is_file(one.path):
        return footprint.of_file(one.path, BATCHES, threads)
    return footprint.of_package(str(one.path), BATCHES, trust)


def _facts(found: Samples, data: str, asked: Asked, source: str) -> dict[str, Any]:
    return {
        "package": source,
        "data": data,
        "samples": len(found.data.val),
        "word": found.word,
        "timed": f"{found.inputs}",
        "headline": found.manifest.task.headline,
        "difference": "to the package as it is, on the same samples, with a 95 % paired bootstrap interval",
        "max_drop": asked.max_drop,
        "processor": processor.name(),
        "instruction_sets": list(processor.instruction_sets()),
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
    }


def _write(comparison: Comparison, headline: str) -> None:
    """Write table and picture beside the candidates, and into the report of the run: in place of earlier ones."""
    table = {**comparison.facts, "rows": [to_dict(row) for row in comparison.rows]}
    write_json(comparison.folder / TABLE, table)
    figures.draw(verdict.picture(comparison.rows, headline), comparison.folder / PICTURE)
    if comparison.report:
        comparison.report.mkdir(exist_ok=True)
        for name in (TABLE, PICTURE):
            write_bytes(comparison.report / name, (comparison.folder / name).read_bytes())
