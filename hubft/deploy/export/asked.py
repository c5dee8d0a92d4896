"""What a user asks of an export, and whether that can be done here; without torch."""

from __future__ import annotations

from dataclasses import dataclass

from hubft.base.errors import JobError, Option
from hubft.deploy.export import formats
from hubft.deploy.export.formats import Format


@dataclass(frozen=True)
class Asked:
    """What a file shall be."""

    format: str
    precision: str = "fp32"
    output: str = ""
    """Its path; empty for one in the working folder, named after the package."""
    data: str = ""
    """Labelled data: to calibrate on, and to judge by."""
    with_preprocess: bool = False
    """Whether it takes pixels and gives probabilities."""
    max_drop: float = 1.0
    """Points of the task's score on the validation part that it may lose."""
    python: str = ""
    """Of the environment that has the format's libraries, where the format may have one of its own."""


def check(asked: Asked) -> Format:
    """Return the format that is asked for, if it can be written here.

    :raises JobError: it cannot; says what can, or what to install.
    """
    form = formats.named(asked.format)
    if asked.python and not form.variable:
        own = [name for name in formats.FORMATS if formats.named(name).variable]
        raise JobError(Option("python"), f" is for {', '.join(own)}: the libraries of {form.name} lie beside torch")
    form = form.by(asked.python) if asked.python else form
    if asked.precision not in form.precisions:
        raise JobError(
            Option("precision"), f" {asked.precision!r}: {form.name} is written in {', '.join(form.precisions)}"
        )
    if not asked.max_drop >= 0:
        raise JobError(Option("max_drop"), f" {asked.max_drop!r}: must be points of the score, 0 or more")
    if asked.precision == "int8" and form.calibrates and not asked.data:
        raise JobError(
            Option("precision"),
            " int8 needs data to calibrate on and to judge by: give ",
            Option("data"),
            " DATA, as for finetune",
        )
    if asked.data and not formats.runs_here(form):
        raise JobError(
            Option("data"),
            f" {asked.data!r}: {form.name} does not run on this system, so nothing is judged here: leave it out",
        )
    quantizers = form.quantizers if asked.precision == "int8" else ()
    formats.require(form, (*form.writers, *quantizers, *form.runtime), f"to export to {form.name}")
    return form
