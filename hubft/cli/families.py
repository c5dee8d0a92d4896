"""The commands on families: what is installed, whether it keeps the contract, and a new one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from hubft.base.console import Console
from hubft.base.distributions import DISABLED, Family
from hubft.base.errors import FamilyError
from hubft.cli.options import Json
from hubft.families import plugins, sandbox

app = App(name="families", help="List the installed model families, check one, or make a new one.")


@app.default
def families(
    *,
    verify: Annotated[bool, Parameter(negative=())] = False,
    strict: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> None:
    """List the installed model families.

    Parameters
    ----------
    verify
        Import each in a process of its own, and tell the hooks it implements, or why it is broken.
    strict
        The same, and exit code 2 if one is broken; those that HUBFT_DISABLE_FAMILIES names are not.
    """
    verify = verify or strict
    found = plugins.installed()
    console = Console(as_json=as_json)
    if verify:
        with console.counting("families", len(found)) as done:
            found = sandbox.verified(found, done)
    columns = ["family", "distribution", "version", "hooks" if verify else "module", "state"]
    console.answer({"families": list(map(dataclasses.asdict, found))})
    console.table(columns, [_row(family, verify) for family in found])
    broken = [family for family in found if family.problem and not family.disabled]
    for problem in dict.fromkeys(family.problem for family in broken):
        console.say(problem)
    if strict and broken:
        names = ", ".join(f"{family.name} of {family.distribution}".removeprefix(" of ") for family in broken)
        raise FamilyError(f"{len(broken)} of {len(found)} families are broken: {names}")


def _row(family: Family, verified: bool) -> list[str]:
    state = DISABLED if family.disabled else "broken" if family.problem else "ok" if verified else ""
    shown = ", ".join(family.hooks) if verified else family.module
    return [family.name, family.distribution, family.version, shown, state]


@app.command
def check(
    name: str, *, model: str = "", as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """Try the contract of hubft.testing on the family NAME, and say which of its checks fail.

    Parameters
    ----------
    model
        A model that the family knows; the example that it declares, if none is given.
    as_json
        One JSON object a check and line: check, status and reason.
    """
    plugins.find(name, typed=True)  # told at once, before seconds go into importing torch
    from hubft import testing

    console = Console()
    outcomes = testing.check_family(name, model)
    if as_json:
        for outcome in outcomes:
            print(json.dumps(dataclasses.asdict(outcome)))
    else:
        console.table(["check", "status", "reason"], [[o.check, o.status, o.reason] for o in outcomes])
    failed = [outcome.check for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise FamilyError(f"family {name!r} fails {len(failed)} of {len(outcomes)} checks: {', '.join(failed)}")


@app.command
def new(name: str, *, output: Path | None = None) -> None:
    """Write the family NAME as a package of its own that installs, runs and keeps the contract, to be filled in.

    Parameters
    ----------
    output
        Folder to write; hubft-NAME here, if none is given. It must not exist.
    """
    from hubft.families import scaffold

    console = Console()
    made = scaffold.write(name, output)
    console.say(f"wrote    {', '.join(str(file.relative_to(made.folder)) for file in made.files)} in {made.folder}")
    for command in made.commands:
        console.say(f"try      {command}")
