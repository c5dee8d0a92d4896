"""The commands. Flags, defaults and help are made from `Job`; what needs torch is imported when it is used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import cyclopts
from cyclopts import App, Group, Parameter

import hubft
from hubft import cli_catalogue, cli_families, cli_share, distributions, files, plugins, process
from hubft.cli_options import Trust
from hubft.console import Console, give_up_output, percent
from hubft.errors import Diverged, HubftError, JobError, Stopped
from hubft.job import Compute, Job, Recipe, Task
from hubft.text import visible

if TYPE_CHECKING:
    from hubft.engine import Result

# The parts of a job are flags of their own, without a prefix, each part a group of the help.
for part, title in ((Task, "Head"), (Recipe, "Recipe"), (Compute, "Machine")):
    Parameter(name="*", group=Group(title, sort_key=len(title)), parse=r"^(?!outputs$)")(part)

ALONE = "--resume takes everything from the run's job.json, and no other option than --data and --keep-anyway"

app = App(
    name="hubft",
    help="Fine-tune a pretrained model on your own images and make it a torch.hub entry again.",
    version=hubft.__version__,
    help_flags=["--help", "-h"],
    help_format="plaintext",  # Markdown costs a third of the time that --help takes
)
resuming = App(name="hubft finetune", help_flags=["--help", "-h"], help_format="plaintext")  # what is left of it then


def main() -> NoReturn:
    """Run a command and exit.

    The codes: 0; 1 for a training that diverged and left no package; 2 for what the user can mend; 128 + signal for a
    run that was stopped.
    """
    process.set_up()
    words = sys.argv[1:]
    command, words = (resuming, words[1:]) if _resumes(words) else (app, words)
    try:
        command(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (HubftError, cyclopts.CycloptsError) as error:
        print(f"hubft: {_line(error)}", file=sys.stderr)
        sys.exit(1 if isinstance(error, Diverged) else 2)
    except Stopped as stopped:
        print(f"hubft: {visible(str(stopped), 4000)}", file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except Exception as error:
        problem = files.refusal(error, "what is printed here") or distributions.culprit(error)
        if not problem:
            raise
        give_up_output()
        print(f"hubft: {visible(problem, 4000)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _resumes(words: list[str]) -> bool:
    return words[:1] == ["finetune"] and any(word.partition("=")[0] == "--resume" for word in words)


def _line(error: Exception) -> str:
    """Return an error's message as one line, whatever a name in it holds."""
    if isinstance(error, cyclopts.UnknownOptionError | cyclopts.UnusedCliTokensError) and _resumes(sys.argv[1:]):
        return ALONE
    return visible(" ".join(str(error).split()), 4000)


@app.command
def finetune(
    job: Annotated[Job | None, Parameter(name="*")] = None, *, resume: Path | None = None, trust: Trust = False
) -> None:
    """Fine-tune REFERENCE on the images in DATA, measure it, and write a package.

    Parameters
    ----------
    resume
        Run folder to go on with, from its newest intact checkpoint; takes no other option than --data, where its
        images were moved to, and --keep-anyway.
    """
    if resume is not None:
        raise JobError(ALONE)  # alone it is the command below
    if job is None:
        raise JobError("finetune needs REFERENCE and DATA: hubft finetune timm:resnet18.a1_in1k flowers/")
    plugins.find(job.family)  # told at once, before seconds go into importing torch
    from hubft import engine

    console = Console()
    _conclude(engine.finetune(job, console, trust=trust), console)


@resuming.default
def go_on(
    *,
    resume: Path,
    data: Path | None = None,
    keep_anyway: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Go on with a run, from its newest intact checkpoint.

    Parameters
    ----------
    resume
        Folder of the run.
    data
        Where its images are now, if they were moved.
    keep_anyway
        Make the package although training diverged.
    """
    from hubft import engine

    console = Console()
    _conclude(engine.resume(resume, console, data=data, keep_anyway=keep_anyway), console)


def _conclude(result: Result, console: Console) -> None:
    if result.uncompressed:
        _measured(console, result.uncompressed, "before compression")
    _measured(console, result.metrics, "the last state, as packaged")
    console.say(f"report   {result.run.report}")
    console.say(f"package  {result.run.package}")
    console.say(f"try      hubft predict {result.run.folder} IMAGE")


def _measured(console: Console, metrics: dict[str, Any], title: str) -> None:
    rows = [["accuracy", percent(metrics["accuracy"])], ["cross entropy", f"{metrics['loss']:.4f}"]]
    console.table(["metric", "value, 95 % interval"], rows, title=f"{title}: {metrics['accuracy']['n']} images")


@app.command
def evaluate(package: str, data: Path, *, matrix: bool = False, trust: Trust = False) -> None:
    """Measure PACKAGE on labelled images it was not trained on.

    Parameters
    ----------
    package
        Folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    data
        Folder with val/CLASS/* or CLASS/*; the classes must be the package's.
    matrix
        Print the confusion matrix as well.
    """
    from hubft import inference, load

    console = Console()
    found = load.package(package)
    metrics, left_out = inference.evaluate(found, data, trust)
    for path, reason in left_out.items():
        console.say(f"left out {path}: {reason}")
    _measured(console, metrics, f"{package} on {data}")
    classes = found.manifest.classes
    rows = zip(classes, metrics["recall"], strict=True)
    console.table(["class", "recall, 95 % interval", "images"], [[c, percent(r), r["n"]] for c, r in rows if r])
    if matrix:
        console.table(
            ["true \\ predicted", *classes], [[c, *r] for c, r in zip(classes, metrics["confusion"], strict=True)]
        )


@app.command
def predict(
    package: str,
    images: Annotated[list[Path], Parameter(negative=())],
    *,
    top: int = 3,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    trust: Trust = False,
) -> None:
    """Name what is in IMAGES.

    Parameters
    ----------
    package
        Folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    images
        Files, or folders of them.
    top
        How many classes to show for an image.
    as_json
        One JSON object an image and line, with the probability of every class.
    """
    from hubft import inference, load

    console = Console()
    found = load.package(package)
    for path, shares in inference.predict(found, inference.pictures(images), trust):
        if as_json:
            print(json.dumps({"image": str(path), "probabilities": shares}))
        else:
            best = ", ".join(f"{visible(name, 24)} {share:.3f}" for name, share in list(shares.items())[:top])
            console.say(f"{path}: {best}")


@app.command
def show(source: str, *, train: str = Recipe.train, trust: Trust = False) -> None:
    """Show a model's stages and head, and what of it trains and what is frozen.

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
    named = ":" in source  # a reference that the user typed is trusted, one in a package is not
    job = Job(source, "-") if named else load.package(source).manifest.built
    pm = load.family_of(job, trust, typed=named)
    loaded = load.unfilled(lambda: load_base(pm, job, pretrained=False))
    starts = sorted({0.0, *(rule.start for rule in stages.parse(train))})
    rows = stages.table(loaded, train, starts)
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
