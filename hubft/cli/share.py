"""The commands that share a package: to the Hugging Face Hub, and from it."""

from __future__ import annotations

from pathlib import Path

from hubft.base.console import Console
from hubft.cli.options import Private, Trust


def push(run: str, name: str, *, private: Private = None, revision: str = "", message: str = "") -> None:
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
    """
    from hubft.publish import lines
    from hubft.share import transfer

    pushed = transfer.push(run, name, private=private, revision=revision, message=message)
    console = Console()
    console.say(f"pushed   {pushed}, {'private: --public opens it to everyone' if pushed.private else 'public'}")
    console.say(f"load     {lines.here(str(pushed), pushed.trust)}")


def pull(source: str, *, output: Path | None = None, trust: Trust = False) -> None:
    """Download a package from the Hugging Face Hub, verify every file, and prove it by its self-test.

    Parameters
    ----------
    source
        owner/name, or owner/name@revision; a commit of 40 digits pins every byte.
    output
        New folder for a copy; without it, the package stays in the Hub's cache only.
    """
    from hubft.publish import lines, measured
    from hubft.share import transfer

    pulled = transfer.pull(source, output=output, trust=trust)
    manifest = pulled.package.manifest
    console = Console()
    reached = measured.headline(manifest.metrics)
    what = f"{manifest.job.reference} {manifest.task.summary()}"
    console.say(f"pulled   {what}, {reached}" if reached else f"pulled   {what}")
    console.say(f"proved   logits of the self-test differ by {pulled.difference:.2g}")
    name, foreign = f"{source.partition('@')[0]}@{pulled.revision}", lines.foreign(manifest)
    console.say(f"load     {lines.here(name, foreign)}")
    console.say(f"try      {lines.predict(str(output or name), 'IMAGE', foreign)}")
