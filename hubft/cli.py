"""The commands. Flags, defaults and help are made from `Job`; what needs torch is imported when it is used."""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import cyclopts
from cyclopts import App, Group, Parameter

import hubft
from hubft import cli_catalogue, cli_families, cli_package, cli_share, distributions, plugins, process, urls
from hubft.cli_options import Trust
from hubft.console import Console, percent
from hubft.errors import HubftError, Incomplete, JobError, Stopped, suggest
from hubft.job import Compute, Job, Recipe, Task, check
from hubft.text import visible

if TYPE_CHECKING:
    from hubft.engine import Result

# The parts of a job are flags of their own, without a prefix, each part a group of the help.
for part, title in ((Task, "Head"), (Recipe, "Recipe"), (Compute, "Machine")):
    Parameter(name="*", group=Group(title, sort_key=len(title)), parse=r"^(?!outputs$)")(part)

ALONE = "--resume takes everything from the run's job.json, and no other option"

TOP = 3  # classes that `predict` shows

app = App(
    name="hubft",
    help="Fine-tune a pretrained model on your own images and make it a torch.hub entry again.",
    version=hubft.__version__,
    help_flags=["--help", "-h"],
    help_format="plaintext",  # Markdown costs a third of the time that --help takes
)


def main() -> NoReturn:
    """Run a command and exit: 0; 1 where a part could not be done, which was named; 2 for what the user can mend;
    128 + signal for a run that was stopped, and for output that nobody reads any more."""
    process.set_up()
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
        sys.stdout.flush()  # here it can still be told that nobody reads
    except (HubftError, cyclopts.CycloptsError) as error:
        print(f"hubft: {_line(error)}", file=sys.stderr)
        sys.exit(2)
    except Incomplete as incomplete:
        print(f"hubft: {visible(str(incomplete), 4000)}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes
        sys.exit(128 + 13)  # SIGPIPE, which Windows does not name
    except Stopped as stopped:
        print(f"hubft: {visible(str(stopped), 4000)}", file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except Exception as error:
        if not (problem := distributions.culprit(error)):
            raise
        print(f"hubft: {visible(problem, 4000)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _line(error: Exception) -> str:
    """Return an error's message as one line, whatever a name in it holds."""
    missing = isinstance(error, cyclopts.MissingArgumentError) and error.argument and error.argument.name
    if missing in ("--reference", "--data") and any(token.startswith("--resume") for token in sys.argv):
        return ALONE
    said = error.typed() if isinstance(error, HubftError) else _without_far_hint(error)
    return visible(" ".join(said.split()), 4000)


def _without_far_hint(error: Exception) -> str:
    """Return what cyclopts says, without its hint where `suggest` finds the hinted word too far from what was typed."""
    token = getattr(error, "token", None)
    typed = token and ((isinstance(error, cyclopts.UnknownOptionError) and token.keyword) or token.value)
    if isinstance(error, cyclopts.UnknownCommandError) and error.unused_tokens:
        typed = error.unused_tokens[0]

    def kept(hint: re.Match[str]) -> str:
        return hint[0] if not typed or suggest(typed, [hint[1]]) else ""

    return re.sub(r' Did you mean "?([^"?]+)"?\?', kept, str(error))


@app.command
def finetune(job: Annotated[Job | None, Parameter(name="*")] = None, *, resume: Path | None = None) -> None:
    """Fine-tune REFERENCE on the images in DATA, measure it, and write a package.

    Parameters
    ----------
    resume
        Run folder to go on with, from its newest intact checkpoint; takes no other option.
    """
    if job is not None and resume is not None:
        raise JobError(ALONE)
    if job is None and resume is None:
        raise JobError("finetune needs REFERENCE and DATA: hubft finetune timm:resnet18.a1_in1k flowers/")
    if job is not None:
        # told at once, before seconds go into importing torch
        plugins.find(job.family, typed=True)
        from hubft.train import data

        images = data.read(Path(job.data), job.holdout, job.recipe.seed)
    from hubft import engine

    console = Console()
    if resume is not None:
        _conclude(engine.resume(resume, console), console)
    elif job is not None:
        _conclude(engine.finetune(job, console, images), console)


def _conclude(result: Result, console: Console) -> None:
    from hubft.publish import lines
    from hubft.publish import package as packages

    if result.uncompressed:
        _measured(console, result.uncompressed, "before compression")
    _measured(console, result.metrics, "the last state, as packaged")
    if result.test:
        _measured(console, result.test, "the same on the test part, measured once")
    console.say(f"report   {result.run.report}")
    console.say(f"package  {result.run.package}")
    foreign = lines.foreign(packages.read(result.run.package, verify=False).manifest)
    console.say(f"try      {lines.predict(str(result.run.folder), 'IMAGE', foreign)}")


def _measured(console: Console, metrics: dict[str, Any], title: str) -> None:
    rows = [["accuracy", percent(metrics["accuracy"])], ["cross entropy", f"{metrics['loss']:.4f}"]]
    console.table(["metric", "value, 95 % interval"], rows, title=f"{title}: {metrics['accuracy']['n']} images")


@app.command
def evaluate(
    package: str,
    data: Path,
    *,
    matrix: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    predictions: Path | None = None,
    trust: Trust = False,
) -> None:
    """Measure PACKAGE on labelled images it was not trained on.

    Parameters
    ----------
    package
        Folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    data
        Folder with val/CLASS/*, test/CLASS/* or CLASS/*, taken in this order; the classes must be the package's.
    matrix
        Print the confusion matrix as well.
    as_json
        One JSON object with all metrics on stdout, and nothing else there.
    predictions
        New file, .csv or .jsonl, that gets a line an image: its class, what it was taken for, and how surely.
    """
    from hubft.train import layout

    if as_json and matrix:
        raise JobError("--json has the confusion matrix in it: leave out --matrix")
    with cli_package.outcomes_file(predictions) if predictions else nullcontext() as write:
        part, laid_out = layout.to_measure(data)  # what is wrong is told before seconds go into importing torch
        from hubft import inference, load

        console = Console()
        found = load.package(package)
        measured = inference.evaluate(found, data, trust, console)
        if write:
            write(measured.outcomes)
    if as_json:
        cli_package.print_evaluation(console, found.manifest.classes, measured)
        return
    for note in laid_out.notes():
        console.say(f"note: {note}")
    for path, reason in measured.left_out.items():
        console.say(f"left out {path!r}: {reason}")
    console.say(cli_package.trained_on(measured))
    _measured(console, measured.metrics, f"{package} on {part.root}")
    cli_package.print_classes(console, found.manifest.classes, measured.metrics, matrix)


@app.command
def predict(
    package: str,
    images: Annotated[list[Path], Parameter(negative=())],
    *,
    top: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    as_csv: Annotated[bool, Parameter(name="--csv", negative=())] = False,
    trust: Trust = False,
) -> None:
    """Name what is in IMAGES; exit code 1 where some of them could not be read.

    Parameters
    ----------
    package
        Folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    images
        Files, or folders of them.
    top
        How many classes to show for an image; if it is not given, three, and in JSON all.
    as_json
        One JSON object an image and line: its class, with the probability of it and of the others, or an error.
    as_csv
        A table for spreadsheets: a line an image with its class and probability, and those that follow.
    """
    from hubft.train import data

    if as_json and as_csv:
        raise JobError("--json and --csv: give one of them")
    check(top is None or top >= 1, "top", top, "1 or more")
    pictures = data.pictures(images)  # what is wrong is told before seconds go into importing torch
    from hubft import inference, load

    console = Console()
    form = "json" if as_json else "csv" if as_csv else "text"
    found = load.package(package)
    every = len(found.manifest.classes)
    top = min(top or (every if as_json else TOP), every)
    answers = console.counted(inference.predict(found, pictures.files, trust), len(pictures.files), "image")
    cli_package.print_answers(console, answers, form, top, pictures)


@app.command
def show(source: str, *, train: str = Recipe.train, trust: Trust = False) -> None:
    """Show a model's stages and head, and what of it trains and what is frozen; and what a package holds.

    Parameters
    ----------
    source
        A reference, family:name; or a package, as for `evaluate`.
    train
        What shall train, as for `finetune`; a column for every point at which that changes.
    """
    from hubft import load
    from hubft.build import load_base
    from hubft.train import stages

    console = Console()
    named = ":" in source and not urls.answer(source)
    if named:
        job = Job(source, "-")
        plugins.find(job.family, typed=True)
        pm = load.family_of(job, trust=True)  # a reference that the user typed is trusted, one in a package is not
        loaded = load.unfilled(lambda: load_base(pm, job, pretrained=False))
    else:
        package = load.package(source)
        job, loaded = package.manifest.job, load.architecture(package, trust)
    starts = sorted({0.0, *(rule.start for rule in stages.parse(train))})
    rows = stages.table(loaded, train, starts)
    if not named:
        cli_package.print_facts(console, package)
    after = ["after" if start == 0 else f"from {start:.0%}" for start in starts]
    kind = type(loaded.model).__name__
    title = f"{job.reference}: {kind}, head {loaded.head}; trainable before and after --train {train}"
    console.table(["stage", "modules", "parameters", "before", *after], rows, title=title)
    whole, *live = [int(str(cell)) for cell in rows[-1][2:]]
    for when, trains in zip(["before", *after], live, strict=True):
        console.say(f"{when}: {trains:,} parameters train, {whole - trains:,} are frozen")


@app.command
def demo(*, output: Path = Path("runs/demo")) -> None:
    """Run the whole path on handwritten digits: fine-tune, measure, package, load it back with torch.hub.

    Parameters
    ----------
    output
        Folder for the images and the run.
    """
    from hubft import demo

    demo.run(output, Console())


app.command(cli_share.push)
app.command(cli_share.pull)
app.command(cli_families.app)
app.command(cli_catalogue.publish)
app.command(cli_catalogue.app)
app.command(cli_catalogue.init_hub)
