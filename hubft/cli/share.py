"""The commands that share a package: to the Hugging Face Hub, and from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hubft.base.console import Console
from hubft.base.errors import JobError, Option
from hubft.cli.options import Private, Trust
from hubft.cli.trial import Space

if TYPE_CHECKING:
    from hubft.deploy.sending import Exports


Data = Annotated[
    str, Parameter(help="Labelled images, as for `export`: int8 is calibrated on them, and the exports judged by them.")
]
Drop = Annotated[
    float | None,
    Parameter(help="Points of the score on the validation images that an export may lose; 1, if none is given."),
]
WithPage = Annotated[
    bool,
    Parameter(negative=(), help="Send the page of `hubft try` too, as a Space of the same name with this package."),
]
Examples = Annotated[
    str,
    Parameter(help="With --space: labelled data of which a few samples of each class are sent, beside the answers."),
]


def push(
    run: str,
    name: str,
    *,
    private: Private = None,
    revision: str = "",
    message: str = "",
    with_: Annotated[str, Parameter(name="--with")] = "",
    data: Data = "",
    max_drop: Drop = None,
    space: WithPage = False,
    examples: Examples = "",
    trust: Trust = False,
) -> None:
    """Push the package of RUN to the Hugging Face Hub, and print the line that loads it.

    Parameters
    ----------
    run
        Folder of a run or of a package.
    name
        owner/name of the repository; it is made if need be.
    revision
        Branch, made if need be; main, if none is given.
    message
        Of the commit.
    with_
        Exports to send along, by commas: onnx or openvino, with :int8 or :bf16 where the format has it. Each is proved
        first; one that fails sends nothing.
    """
    console = Console()
    page = Space(space, examples, run, console.counting)
    along = _along(with_, data, max_drop, trust, console)
    from hubft.publish import lines
    from hubft.share import transfer

    pushed = transfer.push(
        run, name, private=private, revision=revision, message=message, along=along, counting=console.counting
    )
    for line in pushed.taken():
        console.say(line)
    console.say(f"pushed   {pushed}, {'private: --public opens it to everyone' if pushed.private else 'public'}")
    console.say(f"load     {lines.here(str(pushed), pushed.trust)}")
    page.send(pushed, console)


def _along(words: str, data: str, max_drop: float | None, trust: bool, console: Console) -> Exports | None:
    """Return what makes the exports that are sent along; None where there are none."""
    if not words and (data or max_drop is not None or trust):
        given = "data" if data else "trust" if trust else "max_drop"
        raise JobError(Option(given), " is for the exports that are sent along: name them by ", Option("with"))
    if not words:
        return None
    if data:
        from hubft.data import reading

        reading.check(data)  # what is wrong is told before seconds go into importing torch
    from hubft.deploy.export.asked import Asked
    from hubft.deploy.sending import Exports

    drop = Asked.max_drop if max_drop is None else max_drop
    return Exports(tuple(words.split(",")), data, drop, trust, console)


def pull(source: str, *, output: Path | None = None, trust: Trust = False) -> None:
    """Download a package from the Hugging Face Hub, verify every file, and prove it by its self-test.

    Parameters
    ----------
    source
        owner/name, or owner/name@revision; a commit of 40 digits pins every byte.
    output
        New folder for a copy; without it, the package stays in the Hub's cache only.
    """
    from hubft import modality
    from hubft.publish import lines, measured
    from hubft.share import transfer

    console = Console()
    pulled = transfer.pull(source, output=output, trust=trust, counting=console.counting)
    manifest = pulled.package.manifest
    reached = measured.headline(manifest)
    what = f"{manifest.job.reference} {manifest.task.summary()}"
    console.say(f"pulled   {what}, {reached}" if reached else f"pulled   {what}")
    console.say(f"proved   logits of the self-test differ by {pulled.difference:.2g}")
    name, foreign = f"{source.partition('@')[0]}@{pulled.revision}", lines.foreign(manifest)
    console.say(f"load     {lines.here(name, foreign)}")
    word = modality.of(manifest.inputs).word
    console.say(f"try      {lines.predict(str(output or name), word.upper(), foreign)}")
