"""The commands. Flags, defaults and help are made from `Job`; what needs torch is imported when it is used."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import cyclopts
from cyclopts import App, Group, Parameter

import hubft
from hubft.base import distributions, files
from hubft.base.console import Console, give_up_output
from hubft.base.display import visible
from hubft.base.errors import Diverged, HubftError, Incomplete, JobError, Silent, Stopped, suggest
from hubft.cli import catalogue, choosing, completion, data, deploy, families, package, reports, share, soup, trial
from hubft.cli.concluding import conclude, tell
from hubft.cli.options import Json, Trust
from hubft.cli.together import together
from hubft.families import plugins
from hubft.job import Adapting, Compute, Head, Job, Labels, Recipe, Teaching
from hubft.machine import process_setup

# The parts of a job are flags of their own, without a prefix, each part a group of the help.
for part, title in (
    (Labels, "Labels"),
    (Head, "Head"),
    (Recipe, "Recipe"),
    (Adapting, "Adapter"),
    (Compute, "Machine"),
    (Teaching, "Teacher"),
):
    Parameter(name="*", group=Group(title, sort_key=len(title)), parse=r"^(?!outputs$)")(part)

ALONE = "--resume takes everything from the run's job.json; only --data, --keep-anyway, --devices, --json go with it"

app = App(
    name="hubft",
    help="Fine-tune a pretrained model on your own data and make it a torch.hub entry again.",
    version=hubft.__version__,
    help_flags=["--help", "-h"],
    help_format="plaintext",  # Markdown costs a third of the time that --help takes
    default_parameter=Parameter(negative_iterable=()),  # no --empty-target: leaving it out says the same
)
on_resume = App(name="hubft finetune", help_flags=["--help", "-h"], help_format="plaintext")  # what is left of it then


def main() -> NoReturn:
    """Run a command and exit.

    The codes: 0; 1 where a part could not be done, which was named, and for a training that diverged and left no
    package; 2 for what the user can mend; 128 + signal for a run that was stopped, and for output that nobody reads.
    """
    process_setup.set_up()
    words = sys.argv[1:]
    command, words = (on_resume, words[1:]) if _resumes(words) else (app, words)
    try:
        command(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()  # here it can still be told that nobody reads
    except (HubftError, cyclopts.CycloptsError) as error:
        print(f"hubft: {_line(error)}", file=sys.stderr)
        sys.exit(1 if isinstance(error, Diverged) else 2)
    except Incomplete as incomplete:
        print(f"hubft: {visible(str(incomplete), 4000)}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        give_up_output()
        sys.exit(128 + 13)  # SIGPIPE, which Windows does not name
    except Silent as silent:
        sys.exit(silent.code)
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
    return words[:1] in (["finetune"], ["distill"]) and any(word.partition("=")[0] == "--resume" for word in words)


def _line(error: Exception) -> str:
    """Return an error's message as one line, whatever a name in it holds."""
    if isinstance(error, cyclopts.UnknownOptionError | cyclopts.UnusedCliTokensError) and _resumes(sys.argv[1:]):
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
def finetune(
    job: Annotated[Job | None, Parameter(name="*")] = None,
    *,
    resume: Path | None = None,
    overfit_one_batch: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Fine-tune REFERENCE on the images in DATA, measure it, and write a package.

    Parameters
    ----------
    resume
        Run folder to go on with, from its newest intact checkpoint; takes no other option than --data, where its
        images were moved to, --keep-anyway, --json, and --devices, of which there may be others than before.
    overfit_one_batch
        Train on the first batch alone, to see whether model and loss can learn at all; nothing is written.
    """
    if resume is not None:
        raise JobError(ALONE)  # alone it is the command below
    if job is None:
        raise JobError("finetune needs REFERENCE and DATA: hubft finetune timm:resnet18.a1_in1k flowers/")
    # told at once, before seconds go into importing torch
    plugins.find(job.family, typed=True)
    from hubft.run import data

    if job.teaching != Teaching():  # told before the images are read
        from hubft.run import teacher

        teacher.named(job)
    with together(1 if overfit_one_batch else job.compute.devices) as own:
        console = Console(quiet=not own.first, as_json=as_json)
        found = data.read(job, counting=console.counting)
        from hubft import engine

        if overfit_one_batch:
            tell(engine.overfit(job, console, found, trust=trust), console)
        else:
            conclude(engine.finetune(job, console, found, trust=trust, ranks=own), console)


@app.command
def distill(
    teacher: str,
    /,
    job: Annotated[Job | None, Parameter(name="*")] = None,
    *,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Fine-tune REFERENCE on the images in DATA and on what the package TEACHER says of them.

    It is a run of `finetune` with --teacher: the same options, report and package. Beside it stands the same model
    fine-tuned without the teacher.

    Parameters
    ----------
    teacher
        Folder of a run or of a package, or owner/name on the Hugging Face Hub; it knows the classes of DATA.
    """
    if job is None:
        raise JobError(
            "distill needs TEACHER, REFERENCE and DATA: hubft distill runs/big timm:resnet18.a1_in1k flowers/"
        )
    finetune(job.taught_by(teacher), as_json=as_json, trust=trust)


@on_resume.default
def go_on(
    *,
    resume: Path,
    data: str | None = None,
    keep_anyway: Annotated[bool, Parameter(negative=())] = False,
    devices: int | None = None,
    as_json: Json = False,
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
    devices
        How many processes go on with it, if others than began it.
    """
    from hubft.run import resuming
    from hubft.run.folder import Run

    run = Run(resume)  # what is wrong is told before seconds go into importing torch
    job = resuming.job(run, data, keep_anyway, devices)
    with together(job.compute.devices) as own:
        console = Console(quiet=not own.first, as_json=as_json)
        found = resuming.data(run, job, console.counting)
        from hubft import engine

        result = engine.resume(
            resume, console, found, moved_to=data, keep_anyway=keep_anyway, devices=devices, ranks=own
        )
        conclude(result, console)


@app.command
def demo(*, output: Path = Path("runs/demo"), text: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Run the whole path on handwritten digits: fine-tune, measure, package, load it back with torch.hub.

    Parameters
    ----------
    output
        Folder for the data and the run.
    text
        On sentences about films in place of digits.
    """
    if text:
        from hubft.cli import demo_text

        demo_text.run(output, Console())
    else:
        from hubft.cli import demo

        demo.run(output, Console())


app.command(data.look, name="data")
app.command(data.features)
app.command(choosing.rank)
app.command(choosing.lr_find)
app.command(choosing.sweep)
app.command(soup.soup)
app.command(package.evaluate)
app.command(package.predict)
app.command(package.show)
app.command(reports.report)
app.command(reports.compare)
app.command(reports.track)
app.command(deploy.export)
app.command(deploy.benchmark)
app.command(trial.try_, name="try")
app.command(share.push)
app.command(share.pull)
app.command(families.app)
app.command(catalogue.publish)
app.command(catalogue.app)
app.command(catalogue.init_hub)
app.command(completion.of(app))
