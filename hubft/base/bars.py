"""Bars on a terminal: a row for each thing that goes on, with how far it is and the time that is left.

A row is there from `SOON` on, and goes when its thing is done: what is quick shows nothing. What a foreign library
prints has the terminal for itself in `Bars.aside`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock, Timer
from typing import Protocol, TypeVar

from rich.console import Console as RichConsole
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")

SOON = 1.0  # seconds that pass without a row


class Done(Protocol):
    """Called when something is done."""

    def __call__(self, number: int = 1, /) -> object:
        """Count so many things more."""


Counting = Callable[[str, int | None], AbstractContextManager[Done]]
"""Told what is counted, and how many there are in all or None where nobody knows, it gives what is called after each:
`Console.counting`, or `nobody`. What takes long takes one of these, and knows no terminal."""


def _nothing(number: int = 1, /) -> None:
    """Count nothing."""


def nobody(what: str, total: int | None) -> AbstractContextManager[Done]:
    """Count for nobody."""
    return nullcontext(_nothing)


def counted(counting: Counting, things: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Yield the things, each counted when the next one is asked for."""
    with counting(what, total) as done:
        for thing in things:
            yield thing
            done()


class Row:
    """What is told of one thing that goes on; nothing where there is no terminal."""

    def __init__(self, progress: Progress | None, task: TaskID, words: Callable[[int], str], number: int) -> None:
        self.progress, self.task, self.words, self.number = progress, task, words, number

    def __call__(self, number: int = 1, /) -> None:
        self.to(self.number + number)

    def to(self, number: int) -> None:
        """Tell how many things are done in all."""
        self.number = number
        if self.progress:
            self.progress.update(self.task, completed=number, description=self.words(number))


class Bars:
    """The rows of all that goes on, one below the other."""

    def __init__(self, screen: RichConsole, shown: bool) -> None:
        """:param shown: whether somebody looks at `screen`; else nothing is drawn, ever."""
        columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeRemainingColumn())
        self.screen, self.shown = screen, shown
        self.progress = Progress(*columns, console=screen)  # for its rows; `live` is what draws them
        self.lock, self.hidden = RLock(), 0
        self.live: Live | None = None

    @contextmanager
    def row(self, total: int | None, words: Callable[[int], str], number: int = 0) -> Iterator[Row]:
        """Give a row of `total` things, or of nobody knows how many, of which `number` are done.

        :param words: say what it tells when so many are done.
        """
        if not self.shown:
            yield Row(None, TaskID(0), words, number)
            return
        task = self.progress.add_task(words(number), total=total, completed=number, visible=False)
        timer = Timer(SOON, self._appear, (task,))
        timer.daemon = True
        timer.start()
        try:
            yield Row(self.progress, task, words, number)
        finally:
            timer.cancel()
            with self.lock:
                self.progress.remove_task(task)
                self._settle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Draw nothing, for the time of a `with`."""
        self._hide(1)
        try:
            yield
        finally:
            self._hide(-1)

    def _hide(self, more: int) -> None:
        with self.lock:
            self.hidden += more
            self._settle()

    def _appear(self, task: TaskID) -> None:
        with self.lock:
            if task in self.progress.task_ids:  # else it ended a moment ago
                self.progress.update(task, visible=True)
                self._settle()

    def _settle(self) -> None:
        """Draw if there is something to draw, and only then."""
        wanted = not self.hidden and any(task.visible for task in self.progress.tasks)
        if wanted and not self.live:
            # stdout and stderr stay what they are: others may be about to replace them, and to put them back
            self.live = Live(
                console=self.screen, get_renderable=self.progress.get_renderable, refresh_per_second=10,
                transient=True, redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self.live.start(refresh=True)
        elif self.live and not wanted:
            self.live.stop()
            self.live = None
