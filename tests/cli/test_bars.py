"""Bars with the time that is left: where a terminal is, and something takes long; and nowhere else."""

import io
import os
import pty
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import packages
import pictures
import pytest
from commands import Hubft, exit_code

from hubft.base import bars
from hubft.base.console import Console

LEFT = r"(\d:\d\d:\d\d|-:--:--)"


class Screen:
    """A terminal that a test looks at."""

    def __init__(self) -> None:
        self.own, self.other = pty.openpty()
        self.text, self.lock = "", Lock()
        self.reading = Thread(target=self._read)
        self.reading.start()

    def _read(self) -> None:
        """Read at once what is drawn: a terminal that nobody reads takes a few thousand characters, then waits."""
        with suppress(OSError):  # its other side was closed
            while read := os.read(self.own, 1 << 16):
                with self.lock:
                    self.text += read.decode(errors="replace")

    def stream(self) -> io.TextIOWrapper:
        return os.fdopen(os.dup(self.other), "w", buffering=1)

    def close(self) -> None:
        os.close(self.other)
        self.reading.join()
        os.close(self.own)

    def shown(self) -> str:
        """Return all that was drawn on it, colours left out."""
        mark = "\x07"
        os.write(self.other, mark.encode())  # all before it was read when it is
        while True:
            with self.lock:
                if self.text.endswith(mark):
                    self.text = self.text.removesuffix(mark)
                    return re.sub(r"\x1b\[[0-9;]*m", "", self.text)
            time.sleep(0.002)

    def lines(self) -> list[str]:
        """Return what stands on it when all is over: what was taken away is gone."""
        found = [""]
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", self.shown()):
            if part == "\n":
                found.append("")
            elif part == "\x1b[1A":
                found.pop()
            elif part == "\x1b[2K":
                found[-1] = ""
            elif part.isprintable():
                found[-1] += part
        return found


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    for name in ("TTY_COMPATIBLE", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    made = Screen()
    yield made
    made.close()


@contextmanager
def on(monkeypatch: pytest.MonkeyPatch, **streams: io.TextIOWrapper) -> Iterator[None]:
    """Have stdout and stderr be these, which are closed in the end."""
    with monkeypatch.context() as patch, ExitStack() as stack:
        for name, stream in streams.items():
            patch.setattr(sys, name, stack.enter_context(stream))
        yield


def test_lines_stand_above_a_bar_that_goes_when_its_thing_is_done(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "SOON", 0.05)
    with on(monkeypatch, stdout=screen.stream(), stderr=screen.stream()):
        console = Console()
        with console.counting("outer", 3) as done:
            for number in range(3):
                with redirect_stdout(io.StringIO()), console.counting("inner", None):  # a library that is kept quiet
                    time.sleep(0.15)
                console.say(f"line {number}")
                console.warn(f"warned {number}")
                done()
                console.say("and on")
            with console.aside():
                print("a library's own bar", flush=True)
                assert console.bars.live is None
    assert re.search(rf"outer 2/3 +{LEFT}", screen.shown()) and "inner" in screen.shown()
    said = [line for number in range(3) for line in (f"line {number}", f"warned {number}", "and on")]
    assert screen.lines() == [*said, "a library's own bar", ""]
    assert screen.shown().count("\x1b[?25l") == screen.shown().count("\x1b[?25h") > 0, "the cursor is back"


def test_nothing_is_drawn_of_what_is_quick_or_quiet_or_beside_a_pipe(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(**how: bool) -> None:
        assert list(Console(**how).counted(range(3), 3, "images")) == [0, 1, 2]

    reading, writing = os.pipe()
    with on(monkeypatch, stdout=screen.stream(), stderr=screen.stream()):
        count()  # quick
    monkeypatch.setattr(bars, "SOON", 0.0)
    monkeypatch.setattr(bars, "Timer", lambda _, call, its: _AtOnce(call, its))
    with on(monkeypatch, stdout=screen.stream(), stderr=screen.stream()):
        count(quiet=True)
    with on(monkeypatch, stdout=os.fdopen(writing, "w"), stderr=screen.stream()):
        count()
    os.close(reading)
    assert screen.shown() == ""
    with on(monkeypatch, stdout=Path(os.devnull).open("w"), stderr=screen.stream()):
        count()
        count(as_json=True)
    assert screen.shown().count("images 0/3") == 2, "lines go to a file: bars to stderr"


class _AtOnce:
    """In place of a timer: what it is for is done when it starts."""

    daemon = True

    def __init__(self, call: Callable[..., object], its: tuple[object, ...]) -> None:
        self.start = lambda: call(*its)

    def cancel(self) -> None:
        """There is nothing left to cancel."""


def test_evaluate_has_a_bar_with_the_time_left_and_takes_it_away(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages.write(tmp_path / "package", packages.toy_job())
    data = pictures.folder(tmp_path / "data", packages.CLASSES, 1, 30)
    monkeypatch.setattr(bars, "SOON", 0.0)
    with on(monkeypatch, stdout=screen.stream(), stderr=screen.stream()):
        assert exit_code("evaluate", tmp_path / "package", data) == 0, screen.shown()
    assert re.search(rf"images read \d+/90 +{LEFT}", screen.shown()) and re.search(
        rf"batch \d/3 +{LEFT}", screen.shown()
    )
    assert not [line for line in screen.lines() if "━━━" in line and "90" in line]


def test_what_may_take_long_is_counted(monkeypatch: pytest.MonkeyPatch, hubft: Hubft, tmp_path: Path) -> None:
    noted: list[str] = []
    row = bars.Bars.row

    def noting(self: bars.Bars, total: int | None, words: Callable[[int], str], number: int = 0) -> Any:
        noted.append(words(number))
        return row(self, total, words, number)

    monkeypatch.setattr(bars.Bars, "row", noting)
    data = pictures.folder(tmp_path / "insects", train=12, val=6)
    machine = ("--device", "cpu")

    def counted(*words: object) -> set[str]:
        """Return what is counted by a command, numbers left out."""
        noted.clear()
        ran = hubft(*words)
        assert ran.code == 0 and not set(ran.out + ran.err) & {"\r", "\x1b"}, ran.err
        return {re.sub(r"(epoch)? ?-?[\d,/]+.*", "", one) for one in noted}

    read, computed = {"files of insects", "images read"}, {"trying a step", "measuring this machine", "features"}
    trained = {"validation", "fits of the head", "pictures of the report", "package written", "proved by its self-test"}
    ran = counted("finetune", "toy:small", data, *machine, "--epochs", 1, "--output", "run", "--compress", "int8")
    assert ran >= {*read, *computed, *trained}, ran
    ran = counted("features", "toy:small", data, *machine, "-o", "f.safetensors", "--classifier", "knn")
    assert ran >= {*read, "measuring this machine", "classifiers fitted"}, ran  # features are in the cache
    ran = counted("export", "run", "--format", "torchscript", "--data", data)
    assert ran >= {*read, "run.ts written", "run.ts proved", "images answered"}, ran
    ran = counted("predict", "run", data / "val")
    assert ran == {"image"}
