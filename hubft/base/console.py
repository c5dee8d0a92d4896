"""What a run shows on the terminal: a progress bar where there is one, plain lines where there is none."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, Self, TypeVar

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hubft.base.display import visible
from hubft.base.serialize import finite

T = TypeVar("T")

SOON = 1.0  # seconds that pass without a bar


class Meter(Protocol):
    """What a run knows of its steps since it was asked last."""

    def loss(self) -> float:
        """Return the mean loss."""

    def rate(self) -> float:
        """Return samples a second."""


class Output(RichConsole):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # where rich would exit with 1: `main` tells what it means


class Console:
    """Shows a run as it goes; `Console(quiet=True)` shows nothing.

    With `as_json` stdout is for one JSON object alone: lines and bars go to stderr, and no tables are drawn.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.as_json, stream = as_json, sys.stderr if as_json else sys.stdout
        self.rich = Output(quiet=quiet, stderr=as_json, highlight=False, emoji=False, soft_wrap=not stream.isatty())

    def say(self, text: str) -> None:
        """Print a line as it is, markup and control characters inert."""
        self.rich.print(escape(visible(text, 4000)))

    def warn(self, text: str) -> None:
        """Print a line on stderr, beside what a program reads on stdout; inert as that of `say`."""
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
        with self.counting(what, total, SOON) as done:
            for thing in things:
                yield thing
                done()

    @contextmanager
    def counting(self, what: str, total: int, wait: float = 0.0) -> Iterator[Callable[[], None]]:
        """Give what is called after each thing that is done; on a terminal there is a bar, from `wait` seconds on."""
        columns = (BarColumn(), TextColumn(f"{what} {{task.completed}}/{{task.total}}"), TimeRemainingColumn())
        progress = Progress(*columns, console=self.rich, transient=True)
        task, began = progress.add_task("", total=total), time.perf_counter()
        waiting = self.rich.is_terminal and not self.rich.quiet
        with ExitStack() as stack:

            def done(number: int = 1) -> None:
                nonlocal waiting
                progress.advance(task, number)
                if waiting and time.perf_counter() - began >= wait:
                    stack.enter_context(progress)
                    waiting = False

            done(0)
            yield done

    def bar(self, steps: int, done: int) -> Bar:
        """Return the progress bar of a run of `steps` steps of which `done` are done."""
        return Bar(self.rich, steps, done)

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

    def __init__(self, console: RichConsole, steps: int, done: int) -> None:
        self.shown = console.is_terminal and not console.quiet
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("step {task.completed}/{task.total}  loss {task.fields[loss]}  {task.fields[rate]} samples/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not self.shown,
            transient=True,
        )
        self.task = self.progress.add_task("", total=steps, completed=done, epoch=0, loss="-", rate="-")
        self.drawn = 0.0

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def step(self, number: int, epoch: int, meter: Meter) -> None:
        """Move on by a step; drawn ten times a second at most, for reading the loss waits for the device."""
        now = time.perf_counter()
        if self.shown and now - self.drawn >= 0.1:
            self.drawn = now
            loss, rate = f"{meter.loss():.4f}", f"{meter.rate():.0f}"
            self.progress.update(self.task, completed=number, epoch=epoch, loss=loss, rate=rate)


def give_up_output() -> None:
    """Send what is left to be printed nowhere, if it cannot be: at its exit Python would complain of it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
