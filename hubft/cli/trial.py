"""The page on which a package is tried: served here, or sent as a Space of the Hub."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hubft.base.bars import Counting
from hubft.base.bounds import check
from hubft.base.console import Console
from hubft.base.errors import JobError, Option
from hubft.cli.options import Trust

if TYPE_CHECKING:
    from hubft.share.transfer import Pushed


def try_(
    package: str, *, examples: str = "", host: str = "127.0.0.1", port: int | None = None, trust: Trust = False
) -> None:
    """Serve a page to try PACKAGE on: drop an image or type a text, and see answer, confidence and examples.

    It ends with Ctrl-C. Nothing of it is sent anywhere: the page is for this machine, unless --host says otherwise.

    Parameters
    ----------
    package
        Folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or a file of `export`.
    examples
        Labelled data, as for `evaluate`, of which a few samples of the class stand beside each answer.
    host
        Address to listen on; 0.0.0.0 lets other machines in.
    port
        To listen on; a free one from 7860 on, if none is given.
    """
    check(port is None or 1 <= port <= 65535, "port", port, "1 to 65535")
    if examples:
        from hubft.data import reading

        reading.check(examples)  # what is wrong is told before seconds go into importing torch
    from hubft.deploy.trial import page, samples

    console = Console()
    with console.counting("starting the page", None):
        page.library()  # as above
    from hubft.deploy.export import opening

    opened = opening.opened(package, trust)
    beside = samples.of_data(opened.manifest, examples, console.counting) if examples else {}
    with console.counting("starting the page", None):
        made, address = page.serve(opened, beside, host, port, wait=False)
    console.say(f"page     {address}")
    console.say("end      Ctrl-C")
    with suppress(KeyboardInterrupt):
        made.block_thread()


class Space:
    """What `push --space` does around a push: it checks before, and sends the page after.

    :raises HubftError: what would be wrong later.
    """

    def __init__(self, wanted: bool, examples: str, run: str, counting: Counting) -> None:
        if examples and not wanted:
            raise JobError(Option("examples"), " is for the page that is sent along: ask for it by ", Option("space"))
        self.wanted = wanted
        if not wanted:
            return
        if examples:
            from hubft.data import reading

            reading.check(examples)
        from hubft.deploy.trial import samples, space
        from hubft.publish import hub
        from hubft.publish import package as packages

        self.manifest = packages.read(hub.here(run)).manifest
        space.check(self.manifest)
        self.examples = samples.of_data(self.manifest, examples, counting) if examples else {}

    def send(self, pushed: Pushed, console: Console) -> None:
        """Send the page of a package that was pushed, and say where it is."""
        if not self.wanted:
            return
        from hubft.deploy.trial import space

        console.say(f"space    {space.send(pushed, self.manifest, self.examples)}")
        if pushed.private:
            console.say("note: the package is private: give the Space a secret HF_TOKEN that may read it, or --public")
