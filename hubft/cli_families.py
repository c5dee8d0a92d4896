"""The commands on families: what is installed, whether it keeps the contract."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from cyclopts import App, Parameter

from hubft import plugins
from hubft.console import Console
from hubft.errors import FamilyError

app = App(name="families", help="List the installed model families, or check one.")


@app.default
def families(*, verify: bool = False) -> None:
    """List the installed model families.

    Parameters
    ----------
    verify
        Import each in a process of its own, and tell the hooks it implements, or why it is broken.
    """
    found = [plugins.verified(family) if verify else family for family in plugins.installed()]
    columns = ["family", "distribution", "version", "hooks" if verify else "module", "problem"]
    rows = [[f.name, f.distribution, f.version, ", ".join(f.hooks) if verify else f.module, f.problem] for f in found]
    Console().table(columns, rows)


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
    plugins.find(name)  # told at once, before seconds go into importing torch
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
