"""A new family, as a package of its own that installs, trains and keeps the contract before a line of it is changed."""

from __future__ import annotations

import keyword
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Template

import hubft
from hubft.base import files, folders
from hubft.base.errors import FamilyError, HubftError, Option
from hubft.families import plugins
from hubft.hookspecs import API

TEMPLATES = Path(__file__).parent / "templates" / "family"
SUFFIX = ".txt"  # of a template, so that no tool takes it for a source of hubft itself
RESERVED = ("all", "hubft")  # they mean something else in HUBFT_DISABLE_FAMILIES


@dataclass(frozen=True)
class Made:
    """What `write` made."""

    folder: Path
    files: tuple[Path, ...]
    commands: tuple[str, ...]
    """To type next, from where it was made."""


def write(name: str, folder: Path | None = None) -> Made:
    """Return the plugin that now lies in a folder, written whole or not at all.

    :param name: of the family: an identifier in lower case that no installed family has.
    :param folder: must not exist; `hubft-NAME` in the working folder, if none is given.
    :raises FamilyError: a name that cannot be.
    :raises HubftError: the folder exists, or cannot be written.
    """
    _check(name)
    distribution = f"hubft-{name.replace('_', '-')}"
    folder = folder or Path(distribution)
    if folder.exists():
        raise HubftError(
            f"{str(folder)!r} exists, and nothing is overwritten; try: ", Option("output"), " ANOTHER_FOLDER"
        )
    module = f"hubft_{name}"
    values = {
        "name": name,
        "distribution": distribution,
        "module": module,
        "hubft": hubft.__version__,
        "api": str(API),
    }
    with files.writing(folder, "nothing was written; try: --output ANOTHER_FOLDER"), folders.new_folder(folder) as new:
        for template in sorted(TEMPLATES.rglob(f"*{SUFFIX}")):
            path = new / str(template.relative_to(TEMPLATES)).removesuffix(SUFFIX).replace("module", module)
            path.parent.mkdir(exist_ok=True)
            path.write_text(Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
    return Made(folder, tuple(sorted(path for path in folder.rglob("*") if path.is_file())), _commands(name, folder))


def _check(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name) or len(name) > 40:
        raise FamilyError(
            f"{name!r} cannot be the name of a family: take an identifier in lower case that is no keyword of Python, "
            "as in: hubft families new lenet"
        )
    if name in RESERVED:
        raise FamilyError(f"{name!r} means something else to hubft; try: hubft families new my_{name}")
    for family in plugins.installed():
        if family.name == name:
            raise FamilyError(
                f"{name!r} is the name of a family of {family.distribution}; try: hubft families new my_{name}"
            )


def _commands(name: str, folder: Path) -> tuple[str, ...]:
    return (
        f"pip install -e {shlex.quote(f'{folder}[test]')}",
        f"pytest {shlex.quote(str(folder))}",
        f"hubft finetune {name}:small YOUR_IMAGES/",
    )
