"""The command that prints a script by which a shell completes the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cyclopts import App


def of(app: App) -> App:
    """Return the command `completion` of an app, which knows all of its commands and options."""
    from cyclopts import App

    command = App(name="completion", help="Print a script by which SHELL completes commands and options of hubft.")

    @command.default
    def completion(shell: Literal["bash", "zsh", "fish", "powershell"]) -> None:
        """Print a script by which SHELL completes commands and options of hubft.

        Parameters
        ----------
        shell
            The script is for; docs/cli.md says where each looks for it.
        """
        print(app.generate_completion(prog_name="hubft", shell=shell))

    return command
