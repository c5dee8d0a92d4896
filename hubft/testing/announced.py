"""How a family is announced and imported. Importing one must do nothing else: runs and lists rely on it."""

from __future__ import annotations

import json
from typing import Any

from hubft.families import plugins
from hubft.hookspecs import API
from hubft.testing import import_probe
from hubft.testing.subject import Subject, expect, in_process, last_line, shown
from hubft.testing.trial import check


@check()
def entry_point(subject: Subject) -> None:
    """One distribution has the name; its module imports, fits the hooks, and declares what is known."""
    plugins.declared(plugins.manager(subject.family), subject.family)


@check(entry_point)
def api_version(subject: Subject) -> None:
    """The family says which version of the hooks it was written for."""
    declared = getattr(subject.plugin, "hubft_family", {})
    expect("api" in declared, f'its hubft_family says no version of the hooks; write in it: "api": {API}')


@check(entry_point)
def import_is_offline(subject: Subject) -> None:
    """Importing the family opens no connection and asks for no address."""
    asked = _probed(subject)["connections"]
    expect(not asked, f"importing it asked the network for {shown(asked)}")


@check(entry_point)
def import_is_quiet(subject: Subject) -> None:
    """Importing the family prints nothing and leaves no file in the working folder."""
    probed = _probed(subject)
    expect(not probed["output"], f"importing it prints {probed['output']!r}")
    expect(not probed["files"], f"importing it writes {shown(probed['files'])}")


@check(entry_point)
def import_changes_no_state(subject: Subject) -> None:
    """Importing the family starts no accelerator, draws no random number, and changes no setting of torch."""
    changed = _probed(subject)["changed"]
    expect(not changed, f"importing it changes {shown(changed)}")


def _probed(subject: Subject) -> dict[str, Any]:
    """Return what `hubft.testing.import_probe` finds, in a process of its own that the checks share."""
    return subject.once(_probe)


def _probe(subject: Subject) -> dict[str, Any]:
    done = in_process(import_probe.__file__, str(plugins.ROOT), subject.family)
    mark = import_probe.TOLD
    told = [line.removeprefix(mark) for line in done.stdout.splitlines() if line.startswith(mark)]
    expect(bool(told), f"importing it ends a fresh process with status {done.returncode}: {last_line(done.stderr)}")
    found: dict[str, Any] = json.loads(told[-1])
    return found


CHECKS = (entry_point, api_version, import_is_offline, import_is_quiet, import_changes_no_state)
