"""What a package may become, made as the commands make it; and what is there already to be compared with it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hubft import engine, methods
from hubft.base.console import Console
from hubft.base.display import listed
from hubft.base.errors import HubftError, JobError, Option, suggest
from hubft.compress import table
from hubft.deploy.export import asked, export, formats, opening
from hubft.deploy.export.asked import Asked
from hubft.deploy.export.proof import Judge
from hubft.families import plugins
from hubft.share import load
from hubft.share.opened import Opened
from hubft.tasks.task import Task

JOIN = "+"  # between methods that follow each other, and before the format: prune:0.5+int8, prune:0.5+onnx:int8
AGAINST = Option("against")
USUAL = ("onnx", "openvino")
"""Formats that are tried without --against where their libraries are here: those of servers and desktops."""


@dataclass(frozen=True)
class Candidate:
    """How a package is compressed and then exported, or one of both; or what is there already."""

    name: str
    """As it is typed."""
    methods: str = methods.NONE
    """As `--compress` takes them."""
    format: str = ""
    precision: str = "fp32"
    there: bool = False
    """Whether its name is that of an exported file, or of the folder of a run or of a package."""

    @property
    def label(self) -> str:
        """The name of its file."""
        return _label(self.name)


@dataclass(frozen=True)
class Made:
    """A candidate that is there, or why it is not."""

    name: str
    path: Path | None = None
    """Of the file, or of the folder of the package."""
    opened: Opened | None = None
    failure: str = ""


def parse(names: Sequence[str], family: str, option: Option = AGAINST) -> list[Candidate]:
    """Return what the words of an option mean, or what fits this machine where there are none.

    :param family: of the package, which may have methods of its own; empty for an exported file, of which nothing is
        made.
    :param option: which the words stand behind.
    :raises JobError: a word that stands twice, or that is no method, no format, and nothing that is there; a precision
        that the format has not; a library that is not installed.
    """
    own = plugins.declared(plugins.manager(family), family).methods if family else ()
    found = [_parsed(name.strip(), [*table.METHODS, *own], option) for name in names]
    if not family and (makes := [one.name for one in found if not one.there] or [""] * (not found)):
        of_it = "of an exported file nothing is made: name files to compare it with, or benchmark its package"
        raise JobError(option, f" {makes[0]!r}: {of_it}")
    found = found or list(_fitting())
    if twice := [one.name for place, one in enumerate(found) if one in found[:place]]:
        raise JobError(option, f" {twice[0]!r} stands twice")
    return found


def _parsed(name: str, known: Sequence[str], option: Option) -> Candidate:
    first = name.split(JOIN)[0].partition(":")[0]
    if first not in (*known, *formats.FORMATS) and Path(name).exists():
        return Candidate(name, there=True)
    before = name.split(JOIN)
    word, _, precision = before[-1].partition(":")
    form = word if word in formats.FORMATS else ""
    how = ",".join(before[:-1] if form else before) or methods.NONE
    asked_for = methods.parse(how)
    if strange := [one.name for one in asked_for if one.name not in known]:
        every = [*known, *formats.FORMATS]
        hint = suggest(strange[0], every)
        raise JobError(option, f" {strange[0]!r}: known are {', '.join(every)}.{hint}")
    table.check_order(asked_for)
    candidate = Candidate(name, how, form, precision if form and precision else "fp32")
    if form:
        asked.check(_export(candidate, Path(), "DATA", 0.0))
    return candidate


def _fitting() -> Iterator[Candidate]:
    """Yield what is worth a try here: a quarter of the size, and each usual format that can be written."""
    yield Candidate("int8", "int8")
    for name in USUAL:
        for precision in formats.named(name).precisions:
            one = Candidate(name if precision == "fp32" else f"{name}:{precision}", methods.NONE, name, precision)
            try:
                asked.check(_export(one, Path(), "DATA", 0.0))
            except JobError:  # a library is not here
                continue
            yield one


def check(wanted: Sequence[Candidate], task: Task, trust: bool = False) -> None:
    """Check that what is there already can be compared with a model of this task.

    :raises HubftError: it is neither an exported file nor a package, or of other labels.
    """
    for one in wanted:
        if one.there and not task.like(its := opening.opened(one.name, trust).manifest.task):
            its_words, words = (f"{one.kind} of {listed(one.names)}" for one in (its, task))
            raise JobError(
                AGAINST, f" {one.name!r}: a model of the kind {its_words}, where the first is one of {words}"
            )


def _export(one: Candidate, folder: Path, data: str, max_drop: float) -> Asked:
    """Return the export that a candidate ends with.

    :param max_drop: points that it may lose: of the ways to a precision the fastest that holds is taken.
    """
    form = formats.named(one.format)
    output = str(folder / f"{one.label}{form.suffix}")
    return Asked(one.format, one.precision, output, data, max_drop=max_drop)


@dataclass(frozen=True)
class Maker:
    """Makes candidates of a package."""

    source: str
    """As `share.load.load` takes it."""
    data: str
    """Labelled data: a method may be fine-tuned on them, a precision calibrated."""
    folder: Path
    """Where they shall lie."""
    max_drop: float
    """Points of the task's headline that an export may lose."""
    trust: bool = False
    console: Console = field(default_factory=lambda: Console(quiet=True))
    """For the lines of what is trained, and of what is refused on the way."""
    packages: dict[str, str] = field(default_factory=dict)
    """Methods -> the package that was made by them: once, however many candidates go on from it."""
    judges: dict[str, Judge | None] = field(default_factory=dict)
    """Package -> what its exports are judged by: asked once, however many there are."""

    def make(self, one: Candidate) -> Made:
        """Return a candidate that is there now; what cannot be made has the reason."""
        if one.there:
            return Made(one.name, Path(one.name), opening.opened(one.name, self.trust))
        try:
            source = self._compressed(one.methods)
            if one.format:
                form = _export(one, self.folder, self.data, self.max_drop)
                path = export.export(source, form, self.trust, self.console, self._judge(source, form)).path
                return Made(one.name, path, opening.opened(path, trust=True))
            return Made(one.name, Path(source), load.opened(load.package(source), self.trust))
        except HubftError as error:
            return Made(one.name, failure=" ".join(error.typed().split()))

    def _compressed(self, how: str) -> str:
        """Return the package that methods make."""
        if how == methods.NONE:
            return self.source
        if how not in self.packages:
            folder = self.folder / _label(how)
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier benchmark
            run = engine.compress(self.source, self.data, how, folder, self.console, trust=self.trust).run
            self.packages[how] = str(run.package)
        return self.packages[how]

    def _judge(self, source: str, asked: Asked) -> Judge | None:
        if source not in self.judges:
            self.judges[source] = export.judging(
                load.opened(load.package(source), self.trust), asked, self.console.counting
            )
        return self.judges[source]


def _label(text: str) -> str:
    """Return what is typed as the name of a file."""
    return re.sub("[+:,]", "-", text)
