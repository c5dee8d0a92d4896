"""The command line, called in this process."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import rich.console

from hubft.cli import main


class Ran(NamedTuple):
    code: object
    out: str
    err: str

    def cells(self) -> list[list[str]]:
        """Return the rows of the tables in the output."""
        return [[cell.strip() for cell in line.split("│")[1:-1]] for line in self.out.splitlines() if line[:1] == "│"]


Hubft = Callable[..., Ran]


def exit_code(*arguments: object) -> object:
    """Return the exit code of a command that runs in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        for name, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("ORT_DISABLE_TELEMETRY", "1")):
            patch.setenv(name, value)  # main sets it where it is not set
        patch.setattr(sys, "argv", ["hubft", *map(str, arguments)])
        main.main()
    return ended.value.code


@pytest.fixture
def hubft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hubft:
    """The command, run in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(main.app, "console", rich.console.Console())  # the app keeps its first, with the width of then

    def run(*arguments: object) -> Ran:
        return Ran(exit_code(*arguments), *capsys.readouterr())

    return run


def in_folder(folder: Path, *arguments: object) -> Ran:
    """Run a command in a folder; what it prints is checked and returned."""
    before, streams = Path.cwd(), (io.StringIO(), io.StringIO())
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("COLUMNS", "4000")
        stack.callback(os.chdir, before)
        os.chdir(folder)
        stack.enter_context(contextlib.redirect_stdout(streams[0]))
        stack.enter_context(contextlib.redirect_stderr(streams[1]))
        code = exit_code(*arguments)
    ran = Ran(code, streams[0].getvalue(), streams[1].getvalue())
    check_lines(ran.out + ran.err)
    return ran


def check_lines(text: str) -> None:
    """Check that a text has no character that a terminal obeys or hides, and no line that a name began."""
    assert {c for c in text if not c.isprintable() and c != "\n"} == set()
    assert not {"\u034f", "💀"} & set(text)
    assert not re.search(r"^\s*(evil|---|# )", text, re.MULTILINE)
