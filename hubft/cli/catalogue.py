"""The commands of an organisation: publish entries to its catalogue, list and prove them, begin a repository."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from hubft.base.console import Console
from hubft.base.errors import HubftError
from hubft.cli.options import Json, Private, Trust

app = App(name="catalogue", help="List the entries of a catalogue, or prove them.")

Hub = Annotated[Path | None, Parameter(name="--hub")]


def publish(
    run: Path,
    *,
    name: Annotated[str, Parameter(name="--as")],
    to: str,
    description: str = "",
    private: Private = None,
    hub: Hub = None,
) -> None:
    """Push the package of RUN and make it an entry of your torch.hub repository.

    Parameters
    ----------
    run
        Folder of a run or of a package.
    name
        Of the entry: torch.hub.load("you/repository", "NAME").
    to
        owner/name on the Hugging Face Hub; it is made if need be.
    description
        One line; model, data, classes and accuracy, if none is given.
    hub
        Folder of the torch.hub repository, this one if none is given.
    """
    file = _catalogue(hub)
    from hubft.share import organisation

    entry, pushed = organisation.publish(run, name, to, file=file, description=description, private=private)
    console = Console()
    for line in pushed.taken():
        console.say(line)
    console.say(f"pushed   {entry.hub}")
    console.say(f"entry    {name}: {entry.description}")
    if pushed.private:
        console.say(f"private  nobody else can load it until you type: hubft push {run} {to} --public")
    options = "trust_repo=True, trust=True" if pushed.trust else "trust_repo=True"
    line = f'torch.hub.load("OWNER/REPOSITORY", "{name}", {options})'
    console.say(f"next     commit {file} and push it to GitHub, as OWNER/REPOSITORY; then {line}")


@app.default
def entries(*, hub: Hub = None, as_json: Json = False) -> None:
    """List the entries of a catalogue.

    Parameters
    ----------
    hub
        Folder of the torch.hub repository; this one, else the catalogue of hubft itself.
    """
    from hubft.share import catalogue

    file = _catalogue(hub, or_own=True)
    rows, known = [], []
    for name in catalogue.names(file):
        entry = catalogue.find(name, file)
        package = f"catalogue/{name}" if catalogue.own(name, file) else entry.hub or "none yet"
        known.append({"name": name, **asdict(entry), "package": package})
        rows.append([name, entry.description, entry.reference, package])
    console = Console(as_json=as_json)
    console.answer({"catalogue": str(file), "entries": known})
    console.table(["entry", "description", "base", "package"], rows, title=str(file))


@app.command
def verify(
    *names: str,
    hub: Hub = None,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Download the entries NAMES, or all, and prove each by its self-test.

    Parameters
    ----------
    hub
        Folder of the torch.hub repository; this one, else the catalogue of hubft itself.
    """
    from hubft.share import organisation

    file = _catalogue(hub, or_own=True)
    console = Console(as_json=as_json)
    verdicts = list(organisation.verify(names, file, trust, console.counting))
    console.answer({"catalogue": str(file), "entries": [asdict(verdict) for verdict in verdicts]})
    console.table(["entry", "result"], [[verdict.name, verdict] for verdict in verdicts], title=str(file))
    failed = [verdict.name for verdict in verdicts if verdict.problem]
    if failed:
        raise HubftError(f"{len(failed)} of {len(verdicts)} entries cannot be proved: {', '.join(failed)}")


def init_hub(folder: Path) -> None:
    """Begin a torch.hub repository of your own in FOLDER: hubconf.py, an empty catalogue, a README.

    Parameters
    ----------
    folder
        New or empty.
    """
    from hubft.share import organisation

    console = Console()
    for path in organisation.init(folder):
        console.say(f"written  {path}")
    console.say(f"next     hubft publish RUN --as NAME --to owner/name --hub {folder}")


def _catalogue(folder: Path | None, or_own: bool = False) -> Path:
    """Return the catalogue of a torch.hub repository.

    :param or_own: where no folder is named and this one is none, that of hubft itself.
    :raises HubftError: there is none.
    """
    from hubft.share import catalogue

    found = catalogue.of(folder or Path())
    if found is None and not (or_own and folder is None):
        raise HubftError(
            f"{folder or 'this folder'} is no torch.hub repository with a catalogue (hubconf.py and catalogue.json): "
            "name one with --hub DIR, or begin one: hubft init-hub DIR"
        )
    return found or catalogue.OWN
