"""What a run shows on the terminal: a progress bar where there is one, plain lines where there is none."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from stat import S_ISFIFO
from typing import Any, Protocol, TextIO, TypeVar

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table

from hubft.base.bars import Bars, Done, Row, counted
from hubft.base.display import visible
from hubft.base.serialize import finite

T = TypeVar("T")


class Meter(Protocol):
    """What a run knows of its steps since it was asked last."""

    def loss(self) -> float:
        """Return the mean loss."""

    def rate(self) -> float:
        """Return samples a second."""


class Output(RichConsole):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # where rich would exit with 1: `main` tells what it means


def _output(stream: TextIO, quiet: bool) -> Output:
    """Return what prints on a stream: a terminal stays that, also while others replace `sys.stdout`."""
    there, error = stream.isatty(), stream is sys.stderr
    return Output(
        file=stream if there else None, quiet=quiet, stderr=error, highlight=False, emoji=False, soft_wrap=not there
    )


def _is_pipe(stream: TextIO) -> bool:
    try:
        return S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it is no file of this machine
        return True


class Console:
    """Shows a run as it goes; `Console(quiet=True)` shows nothing.

    With `as_json` stdout is for one JSON object alone: lines and bars go to stderr, and no tables are drawn. Bars are
    drawn where lines go; where lines go into a file, on stderr. There are none where neither is a terminal, and none
    beside a pipe: what reads it may write to the same terminal.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.as_json, stream = as_json, sys.stderr if as_json else sys.stdout
        self.rich = _output(stream, quiet)
        aside = not stream.isatty() and sys.stderr.isatty() and not _is_pipe(stream)
        screen = _output(sys.stderr, quiet) if aside else self.rich
        self.bars = Bars(screen, not quiet and (aside or stream.isatty()))

    def say(self, text: str) -> None:
        """Print a line as it is, markup and control characters inert."""
        self.rich.print(escape(visible(text, 4000)))

    def warn(self, text: str) -> None:
        """Print a line on stderr, beside what a program reads on stdout; inert as that of `say`."""
        if self.bars.live and sys.stderr.isatty():
            self.bars.screen.out(visible(text, 4000), highlight=False)  # above them
        else:
            print(visible(text, 4000), file=sys.stderr)

    def raw(self, text: str) -> None:
        """Print a line that a program may read, of printable characters, not a character changed."""
        if self.rich.is_terminal and not self.as_json:
            self.rich.out(text, highlight=False)  # above a bar
        else:
            print(text)

    def answer(self, value: Mapping[str, Any]) -> None:
        """Print one JSON object, where that was asked for; numbers that JSON has not are null."""
        if self.as_json:
            self.raw(json.dumps(finite(value), allow_nan=False))

    def piece(self, text: str) -> None:
        """Print a part of a text at once; what steers a terminal is shown as escapes, but for new lines and tabs."""
        shown = "".join(c if c in "\n\t" else visible(c) for c in text)
        print(shown, end="", flush=True)

    def counted(self, things: Iterable[T], total: int, what: str) -> Iterator[T]:
        """Yield the things; where that takes long, and a terminal is there, under a bar of how many are done."""
        return counted(self.counting, things, total, what)

    @contextmanager
    def counting(self, what: str, total: int | None) -> Iterator[Done]:
        """Give what is called after each thing that is done; where that takes long there is a bar, on a terminal.

        :param total: of the things; None where nobody knows.
        """
        what = visible(what, 60)

        def words(number: int) -> str:
            if total is None:
                return f"{what} {number:,}" if number else what
            return f"{what} {number:,}/{total:,}"

        with self.bars.row(total, words) as row:
            yield row

    @contextmanager
    def bar(self, steps: int, done: int) -> Iterator[Bar]:
        """Give the progress bar of a run of `steps` steps of which `done` are done."""
        bar = Bar(steps)
        with self.bars.row(steps, bar.words, done) as bar.row:
            yield bar

    def hushed(self) -> Console:
        """Return a console that shows bars among these, and nothing else: for a run within a run."""
        made = Console(quiet=True, as_json=self.as_json)
        made.bars = self.bars
        return made

    def aside(self) -> AbstractContextManager[None]:
        """Have no bars, for the time of a `with`: a library shows its own."""
        return self.bars.aside()

    def epoch(self, line: dict[str, Any], epochs: int, score: str) -> None:
        """Print the line of an epoch that is over, from metrics.jsonl.

        :param score: what was reached, as `accuracy 0.948 [0.901, 0.974]`.
        """
        self.say(
            f"epoch {line['epoch']}/{epochs}  loss {line['loss']:.4f}  val {line['val_loss']:.4f}  "
            f"{score}  {line['images_per_second']:.0f} samples/s"
        )

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
        """Print a table; numbers stand to the right."""
        if self.as_json:
            return  # what it says is in the object
        rows = [list(row) for row in rows]
        table = Table(title=title and escape(visible(title, 200)), title_justify="left")
        for i, column in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
            table.add_column(escape(visible(column, 24)), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(f"{cell:,}" if isinstance(cell, int) else escape(visible(str(cell), 200)) for cell in row))
        self.rich.print(table)


class Bar:
    """Loss, samples a second and the time that is left, while the run goes; nothing where no terminal is."""

    row: Row

    def __init__(self, steps: int) -> None:
        self.steps, self.drawn = steps, 0.0
        self.epoch, self.loss, self.rate = 0, "-", "-"

    def step(self, number: int, epoch: int, meter: Meter) -> None:
        """Move on by a step; drawn ten times a second at most, for reading the loss waits for the device."""
        now = time.perf_counter()
        if self.row.progress and now - self.drawn >= 0.1:
            self.drawn = now
            self.epoch, self.loss, self.rate = epoch, f"{meter.loss():.4f}", f"{meter.rate():.0f}"
            self.row.to(number)

    def words(self, number: int) -> str:
        """Return what is told when so many steps are done."""
        told = f"epoch {self.epoch}  step {number}/{self.steps}"
        return f"{told}  loss {self.loss}  {self.rate} samples/s"


def give_up_output() -> None:
    """Send what is left to be printed nowhere, if it cannot be: at its exit Python would complain of it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
