"""The commands that put a package to work: measured on labelled images, asked about others, looked at."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hubft import rules
from hubft.base import urls
from hubft.base.bounds import check
from hubft.base.console import Console
from hubft.base.errors import Incomplete, JobError
from hubft.cli import printing
from hubft.cli.options import Json, Others, Trust, Tta
from hubft.families import plugins
from hubft.job import Columns, Job
from hubft.recipe import Recipe
from hubft.writing import Writing

if TYPE_CHECKING:
    from hubft.data.asked import Asked
    from hubft.share.averaging import Averaging
    from hubft.share.opened import Opened


Predictions = Annotated[
    Path | None,
    Parameter(
        help="New file, .csv or .jsonl, that gets a line an image: its class, what it was taken for, and how surely."
    ),
]


def evaluate(
    package: str,
    data: str,
    columns: Annotated[Columns | None, Parameter(name="*")] = None,
    *,
    matrix: bool = False,
    as_json: Json = False,
    predictions: Predictions = None,
    tta: Tta = None,
    others: Others = (),
    trust: Trust = False,
) -> None:
    """Measure PACKAGE on labelled images it was not trained on; with --tta or --with, the mean beside each alone.

    Parameters
    ----------
    package
        Folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or a file of `export`.
    data
        Folder with val/CLASS/*, test/CLASS/* or CLASS/*, taken in this order; or a table. The classes must be the
        package's.
    matrix
        Print the confusion matrix as well.
    """
    from hubft.data import reading

    if as_json and matrix:
        raise JobError("--json has the confusion matrix in it: leave out --matrix")
    with printing.lines_file(predictions, "--predictions") if predictions else nullcontext() as file:
        reading.check(data)  # what is wrong is told before seconds go into importing torch
        from hubft.deploy.export import opening
        from hubft.share import inference

        console = Console(as_json=as_json)
        found, how = opening.opened(package, trust), opening.averaging(package, others, tta or "", trust)
        task = found.manifest.task
        measured = inference.evaluate(found, data, console, columns, how)
        if file:
            printing.write_outcomes(measured.outcomes, task, measured.word, *file)
    if as_json:
        printing.print_evaluation(console, task, measured)
    else:
        printing.print_measured(console, package, task, measured, matrix)


FIRST = "Column of a table with the images or texts; found, where one column alone holds such."
SECOND = "Column of a table with the second texts, for a model of pairs."
First = Annotated[str, Parameter(help=FIRST)]
Second = Annotated[str, Parameter(help=SECOND)]
Draw = Annotated[Path | None, Parameter(help="New folder that gets each picture with the boxes found drawn on it.")]


def predict(
    package: str,
    inputs: Annotated[list[str], Parameter(negative=())],
    writing: Annotated[Writing | None, Parameter(name="*")] = None,
    *,
    top: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    as_csv: Annotated[bool, Parameter(name="--csv", negative=())] = False,
    output: Annotated[Path | None, Parameter(help="New file, .csv or .jsonl, that gets the lines.")] = None,
    input: First = "",
    pair: Second = "",
    draw: Draw = None,
    tta: Tta = None,
    others: Others = (),
    trust: Trust = False,
) -> None:
    """Name what is in INPUTS, images or texts, or write on behind prompts; exit code 1 where some could not be read.

    Parameters
    ----------
    package
        Folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or a file of `export`.
    inputs
        Files of images, folders of them, tables that name them; for a model of text: texts in quotes (of a pair with
        ||| between them), files, tables.
    top
        How many names to show for each; if it is not given, three, and in JSON all.
    as_json
        One JSON object a line, for each: its class, with the probability of it and of the others, or an error.
    as_csv
        A table for spreadsheets: a line for each with its class and probability, and those that follow.
    """
    check(not (draw and draw.exists()), "draw", str(draw), "a new folder")
    check(top is None or top >= 1, "top", top, "1 or more")  # told before seconds go into importing torch, as is this
    columns = Columns(input=input, pair=pair)
    its = _asked(package, inputs, columns)
    from hubft.deploy.export import opening

    with printing.answers_to(console := Console(), output, as_json, as_csv) as (form, write):
        found, how = opening.opened(package, trust), opening.averaging(package, others, tta or "", trust)
        its = its or _asked_of(found.manifest.inputs.kind, inputs, columns)
        failed = _answered(console, (found, how), its, writing, (form, top, write), draw)
    if failed:
        raise Incomplete(f"{failed:,} of {len(its.inputs):,} {its.word}s have no answer; the reason stands by each")


def _asked(package: str, inputs: list[str], columns: Columns) -> Asked | None:
    """Return what a package is asked about, if its kind of inputs is known without opening it."""
    from hubft import modality
    from hubft.data import asked

    return _asked_of(kind, inputs, columns) if (kind := asked.kind(package)) in modality.KINDS else None


def _asked_of(kind: str, inputs: list[str], columns: Columns) -> Asked:
    from hubft import modality

    return modality.named(kind).asked(inputs, columns)


def _answered(
    console: Console,
    asked: tuple[Opened, Averaging],
    its: Asked,
    writing: Writing | None,
    shown: tuple[str, int | None, printing.Write],
    draw: Path | None,
) -> int:
    """Print what a model answers; return how many have no answer.

    :param draw: new folder of the pictures with what was found in them.
    """
    from hubft.share import drawing, inference

    (form, top, write), (found, how), task = shown, asked, asked[0].manifest.task
    why = f"left out: {'a model that writes' if task.writes else f'a model of the kind {task.kind}'} ranks no names"
    check(top is None or task.ranks, "top", top, why)
    if task.writes and form == "text":
        tell = printing.teller(console, len(its.inputs) > 1)
        return printing.print_written(console, inference.answers(found, its.inputs, writing, tell, how), its)
    said = inference.answers(found, its.inputs, writing, averaging=how)
    said = drawing.drawn(said, its.inputs, found.manifest, draw) if draw else said
    answers = console.counted(said, len(its.inputs), its.word)
    return printing.print_answers(console, answers, task, form, top, its, write)


def show(
    source: str, *, train: str = Recipe.train, size: int = Job.size, as_json: Json = False, trust: Trust = False
) -> None:
    """Show a model's stages and head, and what of it trains and what is frozen; and what a package holds.

    Parameters
    ----------
    source
        A reference, family:name; or a package, as for `evaluate`.
    train
        What shall train, as for `finetune`; a column for every point at which that changes.
    size
        Side of the images that a reference is looked at with, pixels; 0 is the model's own.
    """
    from hubft.families import build, stages
    from hubft.families.trust import trusting
    from hubft.share import load

    console = Console(as_json=as_json)
    named = ":" in source and not urls.answer(source)
    if named:
        job = Job(source, "-", size=size)
        plugins.find(job.family, typed=True)
        pm = build.family_of(job, trust, typed=True)
        with trusting(trust):
            loaded = build.unfilled(lambda: build.load_base(pm, job, pretrained=False))
    else:
        package = load.package(source)
        job, loaded = package.manifest.job, load.architecture(package, trust)
    starts = sorted({0.0, *(rule.start for rule in rules.parse(train))})
    rows = stages.table(loaded, train, starts)
    facts = {} if named else printing.facts(package)
    if facts:
        console.table(["fact", "value"], list(facts.items()), title=str(package.folder))
    after = ["after" if start == 0 else f"from {start:.0%}" for start in starts]
    kind = type(loaded.model).__name__
    columns = ["stage", "modules", "parameters", "before", *after]
    about = {"reference": job.reference, "class": kind, "head": loaded.head, "train": train, "facts": facts}
    console.answer({**about, "stages": [dict(zip(columns, row, strict=True)) for row in rows]})
    title = f"{job.reference}: {kind}, head {loaded.head}; trainable before and after --train {train}"
    console.table(columns, rows, title=title)
    whole, *live = [int(str(cell)) for cell in rows[-1][2:]]
    for when, trains in zip(["before", *after], live, strict=True):
        console.say(f"{when}: {trains:,} parameters train, {whole - trains:,} are frozen")
