"""The commands that share a package: to the Hugging Face Hub, and from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hubft.console import Console, percent

Private = Annotated[bool | None, Parameter(negative="--public")]
Trust = Annotated[bool, Parameter(negative=(), help="Run the code of the torch.hub repository that was fine-tuned.")]


def push(run: str, name: str, *, private: Private = None, revision: str = "", message: str = "") -> None:
    """Push the package of RUN to the Hugging Face Hub, and print the line that loads it.

    Parameters
    ----------
    run
        Folder of a run or of a package.
    name
        owner/name of the repository; it is made if need be.
    private
        A new repository is private, unless --public; one that is there changes only if you say so.
    revision
        Branch, made if need be; main, if none is given.
    message
        Of the commit.
    """
    from hubft import share
    from hubft.publish import card

    pushed = share.push(run, name, private=private, revision=revision, message=message)
    console = Console()
    console.say(f"pushed   {pushed}, {'private: --public opens it to everyone' if pushed.private else 'public'}")
    console.say(f"load     {card.load_line(pushed.name, pushed.revision)}")


def pull(source: str, *, output: Path | None = None, trust: Trust = False) -> None:
    """Download a package from the Hugging Face Hub, verify every file, and prove it by its self-test.

    Parameters
    ----------
    source
        owner/name, or owner/name@revision; a commit of 40 digits pins every byte.
    output
        New folder for a copy; without it, the package stays in the Hub's cache only.
    """
    from hubft import share
    from hubft.publish import card, metadata

    pulled = share.pull(source, output=output, trust=trust)
    manifest = pulled.package.manifest
    console = Console()
    measured = manifest.metrics.get("accuracy")
    console.say(
        f"pulled   {manifest.job.reference}, {len(manifest.classes)} classes"
        + (f", accuracy {percent(measured)}" if metadata.share(measured) else "")
    )
    console.say(f"proved   logits of the self-test differ by {pulled.difference:.2g}")
    name = source.partition("@")[0]
    console.say(f"load     {card.load_line(name, pulled.revision)}")
    console.say(f"try      hubft predict {output or f'{name}@{pulled.revision}'} IMAGE")
