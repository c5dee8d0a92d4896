"""What the commands print and write of a package at work: answers, outcomes, metrics, facts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hubft.base.console import Console
from hubft.base.display import csv_line, listed, visible
from hubft.base.errors import JobError
from hubft.base.files import new_file
from hubft.base.serialize import finite
from hubft.tasks.metrics import number, title

if TYPE_CHECKING:
    from hubft.data.asked import Asked
    from hubft.publish.package import Package
    from hubft.run.beside import Beside
    from hubft.share.inference import Evaluation, Outcome
    from hubft.share.opened import Answer
    from hubft.tasks.metrics import Metrics
    from hubft.tasks.task import Task


# ---- predict -----------------------------------------------------------------------------------------

Write = Callable[[str], object]
TOP = 3  # names that are shown


@contextmanager
def answers_to(console: Console, file: Path | None, as_json: bool, as_csv: bool) -> Iterator[tuple[str, Write]]:
    """Give the form of answers, `text`, `json` or `csv`, and what writes a line of them: printed, or to a new file.

    :raises JobError: more than one way was asked for, or a file that cannot be.
    """
    if sum((as_json, as_csv, file is not None)) > 1:
        raise JobError("--json, --csv and --output: give one of them")
    if file is None:
        yield "json" if as_json else "csv" if as_csv else "text", console.raw
    else:
        with lines_file(file, "--output") as made:
            yield made


def print_answers(
    console: Console, answers: Iterable[Answer], task: Task, form: str, top: int | None, asked: Asked,
    write: Write,
) -> int:  # fmt: skip
    """Print a line an image as it comes; in `text`, for people, errors on stderr. Return how many have no answer.

    :param form: `text`, `json` or `csv`.
    :param top: how many names of each; without it TOP, and in JSON all.
    :param write: gets each line.
    """
    failed, every = 0, len(task.names)
    top = min(top or (every if form == "json" else TOP), every)
    heads = _heads(task, top) if form == "csv" else []
    if heads:
        write(csv_line([asked.word, *heads, "error"]))
    for answer in answers:
        failed += bool(answer.error)
        if form == "text" and answer.error:
            console.warn(f"{answer.image}: {answer.error}")
        elif form == "text":
            write(visible(f"{answer.image}: {task.words(answer.said, top)}", 4000))
        elif form == "csv":
            cells = task.cells(answer.said, top) if answer.said else {}
            write(csv_line([answer.image, *(_cell(cells.get(head, "")) for head in heads), answer.error]))
        else:
            found = {"error": answer.error} if answer.error else task.shortened(answer.said, top)
            write(json.dumps({asked.word: answer.image, **found}, allow_nan=False))
    for note in asked.notes:
        console.warn(f"hubft: {note}")
    return failed


def print_written(console: Console, answers: Iterable[Answer], asked: Asked) -> int:
    """End the text behind each prompt, which was printed as it was written. Return how many have none."""
    failed = 0
    for answer in answers:
        failed += bool(answer.error)
        if answer.error:
            console.warn(f"{answer.image}: {answer.error}")
        else:
            console.piece("\n")
    for note in asked.notes:
        console.warn(f"hubft: {note}")
    return failed


def teller(console: Console, several: bool) -> Callable[[str, str], None]:
    """Return what prints pieces of what is written.

    :param several: whether there is more than one prompt: then each is named first.
    """
    last = ""

    def tell(name: str, piece: str) -> None:
        nonlocal last
        if several and name != last:
            console.piece(visible(name, 4000) + "\n")
        last = name
        console.piece(piece)

    return tell


def _heads(task: Task, top: int) -> list[str]:
    """Return the columns of a table of answers."""
    if task.writes:
        return ["written", "tokens", "ended"]
    import torch

    return list(task.cells(task.decode(torch.zeros(1, *(max(0, number) for number in task.shape)))[0], top))


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value)
    return f"{value:.6f}" if isinstance(value, float) and abs(value) < 1e6 else value


# ---- evaluate ----------------------------------------------------------------------------------------


@contextmanager
def lines_file(path: Path, option: str) -> Iterator[tuple[str, Write]]:
    """Give the form of a new file by its suffix, `csv` or `json`, and what writes a line to it.

    :param option: that names it, for messages.
    :raises JobError: another suffix than .csv or .jsonl, a file that exists, or a place that cannot be written.
    """
    forms = {".csv": "csv", ".jsonl": "json"}
    if path.suffix.lower() not in forms:
        raise JobError(f"{option} {str(path)!r}: its suffix must be .csv or .jsonl")
    with new_file(path) as file:
        yield forms[path.suffix.lower()], lambda line: file.write(f"{line}\n")


def write_outcomes(outcomes: Iterable[Outcome], task: Task, word: str, form: str, write: Write) -> None:
    """Write the file of `evaluate --predictions`: a line a sample, called `word`, with its label and verdict."""
    for place, one in enumerate(outcomes):
        found = task.verdict(one.true, one.said, one.error)
        if form == "json":
            write(json.dumps(finite({word: one.image, **found}), allow_nan=False))
            continue
        if not place:
            write(csv_line([word, *found]))
        write(csv_line([one.image, *map(_cell, found.values())]))


def print_evaluation(console: Console, task: Task, measured: Evaluation) -> None:
    """Print one JSON object: the metrics, `classes` in the order of their lists, and facts of the images."""
    about = {"classes": list(task.names), "trained_on": measured.trained_on, "left_out": dict(measured.left_out)}
    about |= {"beside": measured.beside.plain()} if measured.beside else {}
    console.answer({**measured.metrics.plain(), **about})


def trained_on(measured: Evaluation) -> str:
    """Return the line that says how many of the samples the package was trained on."""
    number, total, word = measured.trained_on, len(measured.outcomes), measured.word
    if number is None:
        return f"note: whether these {total:,} {word}s were trained on is not known: the package does not say"
    if number:
        return f"note: {number:,} of {total:,} {word}s were trained on: the score is too good"
    return f"none of the {total:,} {word}s was trained on"


def print_measured(console: Console, package: str, task: Task, measured: Evaluation, matrix: bool) -> None:
    """Print for people what a package reached on samples, and what is to be known of these."""
    left_out = [f"left out {path!r}: {reason}" for path, reason in measured.left_out.items()]
    for line in (*(f"note: {note}" for note in measured.notes), *left_out, trained_on(measured)):
        console.say(line)
    mean = "the mean of the packages" if measured.beside and len(measured.beside.alone) > 1 else package
    mean = f"{package}, the mean over views" if measured.beside and mean == package else mean
    print_metrics(console, measured.metrics, f"{mean} on {measured.title}", measured.word)
    if measured.beside:
        rows = [[name, found.head] for name, found in (*measured.beside.alone.items(), ("the mean", measured.metrics))]
        console.table(["answers of", f"{title(measured.metrics.headline)}, 95 % interval"], rows)
        console.say(str(measured.beside))
    print_details(console, task, measured.metrics, matrix)


def print_metrics(console: Console, metrics: Metrics, what: str, word: str) -> None:
    """Print what a model reached on samples, each called `word`, with intervals."""
    rows = [[title(name), measured] for name, measured in metrics.values.items()]
    of = f"{what}: {metrics.head.n} {word}s"
    console.table(["metric", "value, 95 % interval"], [*rows, ["loss", number(metrics.loss)]], title=of)


def print_beside(console: Console, metrics: Metrics, beside: Beside) -> None:
    """Print what a model reached beside its teacher and the same model without it."""
    models = {"the teacher": beside.teacher, "the model without it": beside.without, "the model, taught": metrics}
    rows = [[name, found.head] for name, found in models.items() if found]
    console.table(["model", f"{title(metrics.headline)}, 95 % interval"], rows, title="on the validation part")
    console.say(f"beside   {beside}")


def print_details(console: Console, task: Task, metrics: Metrics, matrix: bool) -> None:
    """Print the tables of a task, and where asked for, which classes were taken for which."""
    for table in task.tables(metrics):
        console.table([title(column) for column in table.columns], table.rows)
    if matrix:
        if "confusion" not in metrics.details:
            raise JobError(f"--matrix: a task of the kind {task.kind} has no confusion matrix: leave it out")
        confusion = metrics.details["confusion"]
        names = [*task.names, *["nothing"] * (len(confusion) - len(task.names))]
        console.table(["true \\ predicted", *names], [[c, *r] for c, r in zip(names, confusion, strict=True)])


# ---- show --------------------------------------------------------------------------------------------


def facts(package: Package) -> dict[str, str]:
    """Return what a package is, from its manifest: its own head and classes, its score and size, and its base."""
    from hubft.compress import structure
    from hubft.publish import measured
    from hubft.publish.package import MANIFEST

    manifest = package.manifest
    job, base, delta, names = manifest.job, manifest.base, manifest.delta, manifest.task.names
    size = sum(file.size for file in manifest.files.values()) + (package.folder / MANIFEST).stat().st_size
    hidden = "".join(f"{width} hidden, " for width in job.head.hidden)
    part = "an adapter" if job.adapting.apart else "delta"
    kind = "full" if delta is None else f"{part}: {len(delta):,} tensors are those of the base"
    merged = {"merged": manifest.settled["adapter"]} if job.adapting.merge and "adapter" in manifest.settled else {}
    found = {
        "head": f"{hidden}{job.head.outputs:,} outputs" if job.head.outputs else "the model's own",
        "task": manifest.task.kind,
        **({f"{manifest.task.word} names": f"{len(names):,}: {listed(names)}"} if names else {}),
        "measured": measured.headline(manifest) or "not measured",
        "size": f"{size / 1e6:,.2f} MB",
        "weights": f"{kind}; compress {job.compress}",
        **({"changed": "; ".join(done)} if (done := structure.words(manifest.structure)) else {}),
        **merged,
        "base": base.reference + (f", revision {base.revision}" if base.revision else ""),
    }
    if done := structure.words(manifest.structure):
        found["structure"] = "; ".join(done)
    return found
